package config

import (
	"reflect"
)

// Validator is a struct that checks itself once it was decoded. Paths are
// relative to it; "" is the struct itself. What concerns a value that already
// has an error is dropped.
type Validator interface {
	Validate(report func(path, msg string))
}

// decoder fills Go values from nodes.
type decoder struct {
	*collector
	within *Section // that is decoded, nil for the file itself
	dump   bool     // for Dump: secret files are not read, environment errors not reported
}

// value decodes n into v. A nil node was reported where it stands.
func (d *decoder) value(n *node, v reflect.Value, r rules, path string) {
	if n == nil {
		return
	}
	if v.Kind() == reflect.Pointer {
		if n.kind == nullNode {
			d.at(n, path, "expected %s, found nothing: remove the key%s", describe(v.Type().Elem(), r), orBraces(v.Type().Elem()))
			return
		}
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), r, path)
		v.Set(p)
		return
	}
	switch classOf(v.Type(), r) {
	case classList:
		d.list(n, v, r, path)
	case classMap:
		d.mapping(n, v, r, path)
	case classStruct:
		d.structure(n, v, r, path)
	case classFilter:
		d.filter(n, v, path)
	case classAny:
		if free := d.free(n, path); free != nil {
			v.Set(reflect.ValueOf(free))
		}
	case classUnknown:
		d.at(n, path, "cannot be set: %s is no type a configuration can hold", v.Type())
	default:
		d.scalar(n, v, r, path)
	}
}

func orBraces(t reflect.Type) string {
	if t.Kind() == reflect.Struct {
		return ", or write {} for its defaults"
	}
	return " or give a value"
}

// describe says in words what a type is written as.
func describe(t reflect.Type, r rules) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch classOf(t, r) {
	case classString:
		return "a string"
	case classBool:
		return "true or false"
	case classInt, classUint:
		return "a whole number"
	case classFloat:
		return "a number"
	case classDuration:
		return "a duration like 5s"
	case classSize:
		return "a size like 64KiB"
	case classText:
		return describeText(t)
	case classList:
		return "a list"
	case classFilter:
		return "a filter, as its name or a map with one key"
	case classAny:
		return "a value"
	}
	return "a map"
}

// defaults gives a field that the file leaves out its default, written as in
// YAML; a struct's fields get theirs.
func (d *decoder) defaults(v reflect.Value, f fieldInfo, at *node, path string) {
	if f.hasDefault {
		n := defaultNode(f, at)
		if n == nil {
			d.at(at, path, "its default %q is not valid YAML", f.def)
			return
		}
		d.value(n, v, f.rules, path)
		return
	}
	if v.Kind() == reflect.Struct && classOf(v.Type(), f.rules) == classStruct {
		for _, in := range fieldsOf(v.Type()) {
			d.defaults(v.FieldByIndex(in.index), in, at, keyPath(path, in.name))
		}
	}
}

// defaultNode is the default as if it stood at the place of at. A lone string
// is taken as it is: it may hold what YAML would read otherwise.
func defaultNode(f fieldInfo, at *node) *node {
	t := f.typ
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch classOf(t, f.rules) {
	case classList, classMap, classStruct, classAny:
		n := parseTag(f.def)
		n.moveTo(at)
		return n
	case classString, classText:
		return &node{kind: scalarNode, style: quoted, line: at.line, col: at.col, text: f.def}
	case classBool:
		return &node{kind: scalarNode, style: boolean, line: at.line, col: at.col, text: f.def}
	case classInt, classUint, classFloat:
		return &node{kind: scalarNode, style: number, line: at.line, col: at.col, text: f.def}
	}
	return &node{kind: scalarNode, style: word, line: at.line, col: at.col, text: f.def}
}

// parseTag reads the YAML of a tag, or returns nil.
func parseTag(yaml string) *node {
	c := &collector{doc: &document{source: yaml}}
	n := parseYAML(c)
	if len(c.errs) > 0 {
		return nil
	}
	return n
}

func (n *node) moveTo(at *node) {
	if n == nil {
		return
	}
	n.line, n.col = at.line, at.col
	for i := range n.entries {
		n.entries[i].line, n.entries[i].col = at.line, at.col
		n.entries[i].value.moveTo(at)
	}
	for _, item := range n.items {
		item.moveTo(at)
	}
}
