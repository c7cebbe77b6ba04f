package jsonbody

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/template"
)

// edits is a compiled Edits. Each tree is walked beside the document.
type edits struct {
	keep, rename, set node
	wrap              []byte // quoted
	personal          bool   // values are the request's own
	about             string
}

// node is a member that a path names or goes through.
type node struct {
	children map[string]*node
	order    []string // of children, as sorted paths have it

	drop, pick bool
	picking    bool   // some member below is picked, so that others go
	name       []byte // new, quoted
	plain      []byte // the same as it is
	renames    bool   // a member right below is renamed
	value      *value
}

// value is what set puts in.
type value struct {
	json []byte
	text *template.Template
}

const maxDepth = 32

// at finds or makes the node of a path.
func (*edits) at(n *node, path string) (*node, error) {
	steps, err := split(path)
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		if n.children == nil {
			n.children = map[string]*node{}
		}
		if n.children[s] == nil {
			n.children[s] = &node{}
			n.order = append(n.order, s)
		}
		n = n.children[s]
	}
	return n, nil
}

// split takes a path apart at its dots; \. and \\ stand for themselves.
func split(path string) ([]string, error) {
	var steps []string
	var one strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && i+1 < len(path):
			i++
			one.WriteByte(path[i])
		case c == '.':
			steps = append(steps, one.String())
			one.Reset()
		default:
			one.WriteByte(c)
		}
	}
	steps = append(steps, one.String())
	if slices.Contains(steps, "") {
		return nil, fmt.Errorf("found the path %q, want names with dots between, as address.city", path)
	}
	if len(steps) > maxDepth {
		return nil, fmt.Errorf("the path has %d names, at most %d are allowed", len(steps), maxDepth)
	}
	return steps, nil
}

// settle notes where members are picked. A member picked whole stays whole.
func (n *node) settle() bool {
	for _, c := range n.children {
		below := c.settle()
		if c.pick || below {
			n.picking = true
		}
	}
	if n.pick {
		n.forget()
	}
	return n.picking
}

// forget leaves of the tree below only what is dropped.
func (n *node) forget() {
	n.picking = false
	for _, c := range n.children {
		c.pick = false
		c.forget()
	}
}

// renamed gives the member at path a new name.
func (e *edits) renamed(path, to string) error {
	n, err := e.at(&e.rename, path)
	if err != nil {
		return err
	}
	n.name, n.plain = quoted(to), []byte(to)
	steps, _ := split(path)
	above := &e.rename
	for _, s := range steps[:len(steps)-1] {
		above = above.children[s]
	}
	above.renames = true
	return nil
}

// overlaps: a value cannot be set both as a whole and in part.
func (n *node) overlaps() error {
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		c := n.children[name]
		if c.value != nil && len(c.children) > 0 {
			return errors.New(name + " is set as a whole and in part: give one of the two")
		}
		if err := c.overlaps(); err != nil {
			return err
		}
	}
	return nil
}

// append adds the value as JSON; false when it has none for x.
func (v *value) append(dst []byte, x *exchange.Exchange) ([]byte, bool) {
	if v.text == nil {
		return append(dst, v.json...), true
	}
	var room [256]byte
	b, missing := v.text.Append(room[:0], x, template.Text)
	if len(b) == 0 && missing != "" {
		return dst, false
	}
	return append(dst, quoted(string(b))...), true
}
