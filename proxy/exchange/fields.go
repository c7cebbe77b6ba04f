package exchange

import (
	"iter"
	"strings"
)

// Field is one header or trailer field line.
type Field struct {
	Name  string // as spelled on the wire
	Value string // surrounding white space removed
}

// Fields is an ordered list of field lines (RFC 9110 section 5). Look-ups are
// case-insensitive; names keep their spelling. Strings may be views into an
// engine's read buffer: they die with the exchange, so whoever keeps one
// longer calls strings.Clone.
//
// The zero value is empty and ready to use.
type Fields struct {
	list    []Field
	own     []byte // the memory of Own
	recycle bool   // own outlives Reset
}

// Len reports the number of field lines.
func (f *Fields) Len() int { return len(f.list) }

// At returns field line i, in wire order.
func (f *Fields) At(i int) Field { return f.list[i] }

// All yields every field line in wire order. Lines must not be added or
// removed while ranging; use Filter for that.
func (f *Fields) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range f.list {
			if !yield(f.list[i].Name, f.list[i].Value) {
				return
			}
		}
	}
}

// Get returns the first value of name, or "".
func (f *Fields) Get(name string) string {
	for i := range f.list {
		if EqualFold(f.list[i].Name, name) {
			return f.list[i].Value
		}
	}
	return ""
}

// Has reports whether a line of that name exists, even an empty one.
func (f *Fields) Has(name string) bool {
	for i := range f.list {
		if EqualFold(f.list[i].Name, name) {
			return true
		}
	}
	return false
}

// Count reports how many lines carry name.
func (f *Fields) Count(name string) int {
	n := 0
	for i := range f.list {
		if EqualFold(f.list[i].Name, name) {
			n++
		}
	}
	return n
}

// Values yields every value of name, in order.
func (f *Fields) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range f.list {
			if EqualFold(f.list[i].Name, name) && !yield(f.list[i].Value) {
				return
			}
		}
	}
}

// Joined returns all values of name combined with ", " (RFC 9110 section 5.3).
// It allocates only when there are several.
func (f *Fields) Joined(name string) string {
	first, many := "", []string(nil)
	seen := false
	for i := range f.list {
		if !EqualFold(f.list[i].Name, name) {
			continue
		}
		switch {
		case !seen:
			first, seen = f.list[i].Value, true
		case many == nil:
			many = append(many, first, f.list[i].Value)
		default:
			many = append(many, f.list[i].Value)
		}
	}
	if many != nil {
		return strings.Join(many, ", ")
	}
	return first
}

// Add appends a line.
func (f *Fields) Add(name, value string) {
	f.list = append(f.list, Field{name, value})
}

// Set replaces the first line of name and removes its others, or appends one.
func (f *Fields) Set(name, value string) {
	for i := range f.list {
		if EqualFold(f.list[i].Name, name) {
			f.list[i].Value = value
			f.delFrom(i+1, name)
			return
		}
	}
	f.Add(name, value)
}

// Del removes every line of name and reports how many there were.
func (f *Fields) Del(name string) int { return f.delFrom(0, name) }

func (f *Fields) delFrom(from int, name string) int {
	kept := from
	for kept < len(f.list) && !EqualFold(f.list[kept].Name, name) {
		kept++
	}
	if kept == len(f.list) {
		return 0
	}
	for i := kept + 1; i < len(f.list); i++ {
		if !EqualFold(f.list[i].Name, name) {
			f.list[kept] = f.list[i]
			kept++
		}
	}
	n := len(f.list) - kept
	clear(f.list[kept:])
	f.list = f.list[:kept]
	return n
}

// Remove removes line i.
func (f *Fields) Remove(i int) {
	last := len(f.list) - 1
	copy(f.list[i:], f.list[i+1:])
	f.list[last] = Field{}
	f.list = f.list[:last]
}

// Filter keeps the lines for which keep answers true and reports how many went.
func (f *Fields) Filter(keep func(name, value string) bool) int {
	kept := 0
	for kept < len(f.list) && keep(f.list[kept].Name, f.list[kept].Value) {
		kept++ // almost always all of them: nothing is moved
	}
	if kept == len(f.list) {
		return 0
	}
	for i := kept + 1; i < len(f.list); i++ {
		if keep(f.list[i].Name, f.list[i].Value) {
			f.list[kept] = f.list[i]
			kept++
		}
	}
	n := len(f.list) - kept
	clear(f.list[kept:])
	f.list = f.list[:kept]
	return n
}

// Reset empties the list, keeping its memory.
func (f *Fields) Reset() {
	clear(f.list)
	f.list = f.list[:0]
	f.disown()
}

// Clone returns a copy that outlives the exchange: its strings are copied too.
func (f *Fields) Clone() Fields {
	c := Fields{list: make([]Field, len(f.list))}
	for i := range f.list {
		c.list[i] = Field{strings.Clone(f.list[i].Name), strings.Clone(f.list[i].Value)}
	}
	return c
}

// Replace makes f hold the same lines as from; the strings are shared.
func (f *Fields) Replace(from *Fields) {
	n := len(f.list)
	f.list = append(f.list[:0], from.list...)
	if n > len(f.list) {
		clear(f.list[len(f.list):n])
	}
}

// HasToken reports whether any line of name has token in its comma-separated
// list, case-insensitively (RFC 9110 section 5.6.1).
func (f *Fields) HasToken(name, token string) bool {
	for i := range f.list {
		if !EqualFold(f.list[i].Name, name) {
			continue
		}
		if Lists(f.list[i].Value, token) {
			return true
		}
	}
	return false
}

// Trim takes off the white space that may surround a field's value or a list's
// member (RFC 9110 section 5.6.3). strings.Trim would first make a set of two.
func Trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// EqualFold compares two field names or tokens: ASCII only, as RFC 9110
// section 5.1 has it, so no Unicode folding makes two names meet.
func EqualFold(a, b string) bool {
	// Apart, so that this much is inlined: nearly all comparisons of a look-up
	// end here.
	return len(a) == len(b) && equalFold(a, b)
}

func equalFold(a, b string) bool {
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// SameName compares a field name with one in lower case as services do that read
// X_Forwarded_For as X-Forwarded-For: case and separators do not count.
func SameName(name, lower string) bool {
	return len(name) == len(lower) && sameName(name, lower)
}

func sameName(name, lower string) bool {
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '_' || c == '.':
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
