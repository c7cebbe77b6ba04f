package jsonbody

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"lintel.dev/lintel/proxy/exchange"
)

var errMalformed = errors.New("the body is not well-formed JSON")

// prepared is edits with the values of one exchange, so that they can be made
// where the exchange must not be touched.
type prepared struct {
	*edits
	values map[*node][]byte // nil: the member is removed
}

func (e *edits) prepare(x *exchange.Exchange) *prepared {
	p := &prepared{edits: e}
	if e.set.children != nil {
		p.values = map[*node][]byte{}
		p.collect(&e.set, x)
	}
	return p
}

func (p *prepared) collect(n *node, x *exchange.Exchange) {
	if n.value != nil {
		if b, ok := n.value.append(nil, x); ok {
			p.values[n] = b
		}
	}
	for _, c := range n.children {
		p.collect(c, x)
	}
}

// apply makes the edits. The document must be one JSON value; names are compared
// exactly, once their escapes are resolved.
func (p *prepared) apply(doc []byte) ([]byte, error) {
	if !json.Valid(doc) {
		return nil, errMalformed
	}
	for _, pass := range []struct {
		n      *node
		object func(*walk, *node)
	}{{&p.keep, (*walk).prune}, {&p.rename, (*walk).rename}, {&p.set, (*walk).set}} {
		if pass.n.children != nil {
			w := walk{p: p, src: doc, dst: make([]byte, 0, len(doc)+256), object: pass.object}
			w.value(pass.n)
			doc = w.dst
		}
	}
	if p.wrap != nil {
		out := make([]byte, 0, len(doc)+len(p.wrap)+3)
		out = append(append(append(out, '{'), p.wrap...), ':')
		doc = append(append(out, doc...), '}')
	}
	return doc, nil
}

// walk copies a well-formed document from src to dst, changing objects on the
// way. How often a byte is looked at depends on the length of the configured
// paths alone, however the document is nested.
type walk struct {
	p      *prepared
	src    []byte
	pos    int
	dst    []byte
	object func(*walk, *node)
}

// value copies the next value as n has it.
func (w *walk) value(n *node) {
	w.space()
	switch w.src[w.pos] {
	case '{':
		w.object(w, n)
	case '[':
		w.pos++
		w.dst = append(w.dst, '[')
		for first := true; w.more(']'); {
			if n.picking && !w.composite() {
				w.skip() // it has no members, so none that was picked
				continue
			}
			if !first {
				w.dst = append(w.dst, ',')
			}
			first = false
			w.value(n)
		}
		w.dst = append(w.dst, ']')
	default:
		w.dst = append(w.dst, w.skip()...)
	}
}

// composite reports whether an object or a list comes next.
func (w *walk) composite() bool { return w.src[w.pos] == '{' || w.src[w.pos] == '[' }

// more stands at the next element or member and reports whether there is one,
// past the closing bracket otherwise.
func (w *walk) more(end byte) bool {
	w.space()
	if w.src[w.pos] == ',' {
		w.pos++
		w.space()
	}
	if w.src[w.pos] == end {
		w.pos++
		return false
	}
	return true
}

// key reads a member's name and stands at its value.
func (w *walk) key() (raw, name []byte) {
	raw = w.skip()
	if name = raw[1 : len(raw)-1]; bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		_ = json.Unmarshal(raw, &plain) // it is well-formed
		name = []byte(plain)
	}
	w.space()
	w.pos++ // the colon
	w.space()
	return raw, name
}

// skip returns the next value as it is written.
func (w *walk) skip() []byte {
	start, depth := w.pos, 0
	for w.pos < len(w.src) {
		switch c := w.src[w.pos]; c {
		case '"':
			w.pos++
			for w.src[w.pos] != '"' {
				if w.src[w.pos] == '\\' {
					w.pos++
				}
				w.pos++
			}
			w.pos++
			if depth == 0 {
				return w.src[start:w.pos]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return w.src[start:w.pos] // the end of what holds a bare value
			}
			if depth--; depth == 0 {
				w.pos++
				return w.src[start:w.pos]
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return w.src[start:w.pos]
			}
		}
		w.pos++
	}
	return w.src[start:]
}

func (w *walk) space() {
	for w.pos < len(w.src) {
		switch w.src[w.pos] {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return
		}
	}
}

// open begins an object.
func (w *walk) open() (first bool) {
	w.pos++
	w.dst = append(w.dst, '{')
	return true
}

// member writes the name of a further member.
func (w *walk) member(first *bool, name []byte) {
	if !*first {
		w.dst = append(w.dst, ',')
	}
	*first = false
	w.dst = append(append(w.dst, name...), ':')
}

// below copies a member's value as c has it, nil being as it is.
func (w *walk) below(c *node) {
	if c == nil || c.children == nil {
		w.dst = append(w.dst, w.skip()...)
		return
	}
	w.value(c)
}

func (w *walk) prune(n *node) {
	first := w.open()
	for w.more('}') {
		raw, name := w.key()
		c := n.children[string(name)]
		switch {
		case c == nil && n.picking, c != nil && (c.drop || n.picking && !c.pick && !c.picking), c != nil && c.picking && !w.composite():
			w.skip()
		default:
			w.member(&first, raw)
			w.below(c)
		}
	}
	w.dst = append(w.dst, '}')
}

func (w *walk) rename(n *node) {
	// A name that another member takes over is given up by whoever has it.
	var taken [][]byte
	at := w.pos
	if n.renames {
		for w.pos++; w.more('}'); w.skip() {
			if _, name := w.key(); n.children[string(name)] != nil && n.children[string(name)].name != nil {
				taken = append(taken, n.children[string(name)].plain)
			}
		}
	}
	w.pos = at
	first := w.open()
	for w.more('}') {
		raw, name := w.key()
		c := n.children[string(name)]
		switch {
		case c != nil && c.name != nil:
			w.member(&first, c.name)
		case slices.ContainsFunc(taken, func(t []byte) bool { return bytes.Equal(t, name) }):
			w.skip()
			continue
		default:
			w.member(&first, raw)
		}
		w.below(c)
	}
	w.dst = append(w.dst, '}')
}

func (w *walk) set(n *node) {
	first := w.open()
	var room [8]*node
	seen := room[:0]
	for w.more('}') {
		raw, name := w.key()
		c := n.children[string(name)]
		if c == nil {
			w.member(&first, raw)
			w.dst = append(w.dst, w.skip()...)
			continue
		}
		again := slices.Contains(seen, c)
		if !again {
			seen = append(seen, c)
		}
		switch {
		case c.value == nil:
			w.member(&first, raw)
			w.below(c)
		case again || w.p.values[c] == nil:
			w.skip()
		default:
			w.skip()
			w.member(&first, raw)
			w.dst = append(w.dst, w.p.values[c]...)
		}
	}
	for _, name := range n.order {
		if c := n.children[name]; !slices.Contains(seen, c) && w.p.has(c) {
			w.member(&first, quoted(name))
			w.fresh(c)
		}
	}
	w.dst = append(w.dst, '}')
}

// has reports whether there is a value at c or below.
func (p *prepared) has(c *node) bool {
	if p.values[c] != nil {
		return true
	}
	for _, below := range c.children {
		if p.has(below) {
			return true
		}
	}
	return false
}

// fresh writes what is set where the document has nothing.
func (w *walk) fresh(c *node) {
	if c.value != nil {
		w.dst = append(w.dst, w.p.values[c]...)
		return
	}
	w.dst = append(w.dst, '{')
	first := true
	for _, name := range c.order {
		if below := c.children[name]; w.p.has(below) {
			w.member(&first, quoted(name))
			w.fresh(below)
		}
	}
	w.dst = append(w.dst, '}')
}
