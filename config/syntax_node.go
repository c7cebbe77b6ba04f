package config

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// syntax turns the parser's tree into ours, resolving aliases and merge keys.
type syntax struct {
	*collector
	anchors map[string]ast.Node
	open    []string // anchors being resolved, against cycles
	aliased int      // nodes made within aliases
}

// node returns nil when what stands there was reported; maps and lists keep
// such nils, so that paths and unknown keys are still right.
func (s *syntax) node(a ast.Node, path string, depth int) *node {
	line, col := position(a)
	if depth > maxDepth {
		s.add(line, col, path, "nested more than %d deep", maxDepth)
		return nil
	}
	if len(s.open) > 0 {
		if s.aliased++; s.aliased > maxAliased {
			if s.aliased == maxAliased+1 {
				s.add(line, col, path, "aliases expand to more than %d values", maxAliased)
			}
			return nil
		}
	}
	n := &node{kind: scalarNode, line: line, col: col}
	switch a := a.(type) {
	case nil:
		n.kind = nullNode
	case *ast.MappingNode:
		return s.mapping(n, a.Values, path, depth)
	case *ast.MappingValueNode:
		return s.mapping(n, []*ast.MappingValueNode{a}, path, depth)
	case *ast.SequenceNode:
		n.kind = listNode
		for i, item := range a.Values {
			n.items = append(n.items, s.node(item, itemPath(path, i), depth+1))
		}
	case *ast.AnchorNode:
		s.anchors[anchorName(a.Name)] = a.Value
		return s.node(a.Value, path, depth)
	case *ast.AliasNode:
		return s.alias(a, path, depth)
	case *ast.TagNode:
		s.add(line, col, path, "YAML tags are not supported: remove the tag")
		return nil
	case *ast.NullNode:
		n.kind = nullNode
	case *ast.LiteralNode:
		n.text = a.Value.Value
	case *ast.StringNode:
		n.text = a.Value
		if t := a.Token; t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType {
			n.style = word
		}
	case *ast.IntegerNode:
		n.text, n.style = a.Token.Value, number
	case *ast.FloatNode:
		n.text, n.style = a.Token.Value, number
	case *ast.InfinityNode:
		n.text, n.style = a.Token.Value, number
	case *ast.NanNode:
		n.text, n.style = a.Token.Value, number
	case *ast.BoolNode:
		n.text, n.style = a.Token.Value, boolean
	default:
		s.add(line, col, path, "not supported here: expected a scalar, a list or a map")
		return nil
	}
	return n
}

func (s *syntax) alias(a *ast.AliasNode, path string, depth int) *node {
	line, col := position(a)
	name := anchorName(a.Value)
	target, ok := s.anchors[name]
	if !ok {
		s.add(line, col, path, "no anchor &%s stands before the alias *%s", name, name)
		return nil
	}
	for _, o := range s.open {
		if o == name {
			s.add(line, col, path, "the alias *%s contains itself", name)
			return nil
		}
	}
	s.open = append(s.open, name)
	defer func() { s.open = s.open[:len(s.open)-1] }()
	return s.node(target, path, depth+1)
}

// mapping reads a map; keys written in it win over those merged in with <<.
func (s *syntax) mapping(n *node, values []*ast.MappingValueNode, path string, depth int) *node {
	n.kind = mapNode
	index := make(map[string]int, len(values))
	var merges []*ast.MappingValueNode
	for i, v := range values {
		line, col := position(v.Key)
		if i == 0 {
			n.line, n.col = line, col
		}
		if v.Key.IsMergeKey() {
			merges = append(merges, v)
			continue
		}
		key, ok := scalarKey(v.Key)
		if !ok {
			s.add(line, col, path, "expected a plain word as key, found something else")
			continue
		}
		at := keyPath(path, key)
		if i, dup := index[key]; dup {
			s.add(line, col, at, "this key was already set on line %d", n.entries[i].line)
			continue
		}
		index[key] = len(n.entries)
		n.entries = append(n.entries, entry{key: key, line: line, col: col})
		if value := s.node(v.Value, at, depth+1); value != nil {
			n.entries[index[key]].value = value
		}
	}
	for _, m := range merges {
		s.merge(n, index, m, path, depth)
	}
	return n
}

func (s *syntax) merge(n *node, index map[string]int, m *ast.MappingValueNode, path string, depth int) {
	v := s.node(m.Value, path, depth+1)
	if v == nil {
		return
	}
	sources := []*node{v}
	if v.kind == listNode {
		sources = v.items
	}
	for _, src := range sources {
		if src == nil {
			continue
		}
		if src.kind != mapNode {
			s.at(src, path, "expected a map to merge with <<, found %s", src.kindName())
			continue
		}
		for _, e := range src.entries {
			if _, ok := index[e.key]; !ok {
				index[e.key] = len(n.entries)
				n.entries = append(n.entries, e)
			}
		}
	}
}

func anchorName(n ast.Node) string {
	if n == nil || n.GetToken() == nil {
		return ""
	}
	return n.GetToken().Value
}

func scalarKey(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return k.GetToken().Value, true
	}
	return "", false
}
