package config

import (
	"math"
	"reflect"
	"strconv"
)

func (d *decoder) list(n *node, v reflect.Value, r rules, path string) {
	items := n.items
	switch n.kind {
	case nullNode:
		return
	case listNode:
	default:
		if !r.listify {
			d.at(n, path, "expected a list, found %s", n.kindName())
			return
		}
		items = []*node{n}
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		at := itemPath(path, i)
		if n.kind != listNode {
			at = path
		}
		d.value(item, out.Index(i), r.element(), at)
	}
	v.Set(out)
}

func (d *decoder) mapping(n *node, v reflect.Value, r rules, path string) {
	switch n.kind {
	case nullNode:
		return
	case mapNode:
	default:
		d.at(n, path, "expected a map, found %s", n.kindName())
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.entries))
	for _, e := range n.entries {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, elem, r.element(), keyPath(path, e.key))
		out.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), elem)
	}
	v.Set(out)
}

// filter reads `- cors` or `- cors: {…}`. The section is decoded later, by the
// filter it belongs to.
func (d *decoder) filter(n *node, v reflect.Value, path string) {
	var kind string
	body := &node{kind: mapNode, line: n.line, col: n.col}
	switch {
	case n.kind == scalarNode && n.style != number && n.style != boolean:
		x, ok := d.expanded(n, rules{}, path)
		if !ok {
			return
		}
		kind = x.text
	case n.kind == mapNode && len(n.entries) == 1:
		e := n.entries[0]
		kind = e.key
		if e.value == nil {
			return
		}
		if body = e.value; body.kind == nullNode {
			body = &node{kind: mapNode, line: e.line, col: e.col}
		}
	case n.kind == mapNode:
		d.at(n, path, "expected a map with one key, the filter's name, found %d keys: indent the filter's own keys further", len(n.entries))
		return
	default:
		d.at(n, path, "expected a filter, as its name or a map with one key, found %s", n.kindName())
		return
	}
	if kind == "" {
		d.at(n, path, "expected a filter's name, found an empty one")
		return
	}
	section := &Section{doc: d.doc, node: body, line: n.line, path: keyPath(path, kind)}
	if d.within != nil {
		d.within.adopt(section, d.dump)
	}
	if v.Type() == filterType {
		v.Set(reflect.ValueOf(Filter{Kind: kind, Section: section}))
		return
	}
	v.Addr().Interface().(filterHolder).SetFilter(kind, section)
}

// free decodes a value that has no type of its own.
func (d *decoder) free(n *node, path string) any {
	if n == nil {
		return nil
	}
	switch n.kind {
	case mapNode:
		out := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			out[e.key] = d.free(e.value, keyPath(path, e.key))
		}
		return out
	case listNode:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i] = d.free(item, itemPath(path, i))
		}
		return out
	case nullNode:
		return nil
	}
	x, ok := d.expanded(n, rules{}, path)
	if !ok {
		return nil
	}
	if x.whole || n.style != quoted && !x.env {
		return infer(x.text)
	}
	return x.text
}

// infer reads unquoted text as YAML 1.2 does.
func infer(s string) any {
	switch s {
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	case "":
		return s
	}
	if i, err := parseInt(s, 64); err == nil {
		return int(i)
	}
	if c := s[len(s)-1]; c >= '0' && c <= '9' || c == '.' {
		if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f
		}
	}
	return s
}
