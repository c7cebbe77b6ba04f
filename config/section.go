package config

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
)

// Filter is one entry of a filter chain: `- cors` or `- rate_limit: {…}`.
type Filter struct {
	Kind    string
	Section *Section
}

// Section is a piece of a file that is decoded later, by whoever knows its
// type. It satisfies proxy/filter's Section.
type Section struct {
	doc  *document
	node *node
	line int // of the entry it belongs to
	path string
	typ  atomic.Pointer[reflect.Type] // what it was decoded into last, for Dump

	inner sync.Map // sections within by path: *Section, for Dump to find their types
}

// Decode fills the struct that into points to, strictly, by the tags that the
// package's documentation lists. The error is an Errors.
func (s *Section) Decode(into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("config: a section decodes into a pointer to a struct, not %T", into)
	}
	t := v.Elem().Type()
	s.typ.Store(&t)
	d := &decoder{collector: &collector{doc: s.doc}, within: s}
	d.value(s.node, v.Elem(), rules{}, s.path)
	return d.err()
}

// adopt notes a section within s. It learns what the one before it was decoded
// into, because a dump decodes s once more and nobody decodes what is within.
func (s *Section) adopt(within *Section, dump bool) {
	if before, ok := s.inner.Load(within.path); ok {
		before := before.(*Section)
		within.typ.Store(before.typ.Load())
		before.inner.Range(func(path, v any) bool { within.inner.Store(path, v); return true })
	}
	if !dump {
		s.inner.Store(within.path, within)
	}
}

// Pos says where the value at path (as "keys[0].file") stands, as file:line;
// the section itself for "". A path that the file does not have gives the
// deepest part that it has.
func (s *Section) Pos(path string) string {
	if path == "" {
		return fmt.Sprintf("%s:%d", s.doc.name, s.line)
	}
	return s.doc.pos(s.node, path)
}
