package firewall

import (
	"fmt"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// maxName bounds a pattern, and so how much of a name has to be folded.
const maxName = 96

// Set is a set of header names, compared without regard to disguise. It is
// read-only once made and safe for concurrent use.
type Set struct {
	names   []string  // as configured, sorted
	allowed []string  // exceptions, as configured, sorted
	exact   words     // whole names
	prefix  words     // beginnings: of themselves and of any further words
	first   [256]bool // folded first bytes that occur at all
	fold    [256]byte // what a byte counts as: invalid, separator or a lower-case letter
}

// words are folded names. Which lengths and which first and last bytes occur
// tells nearly every other name apart without a look into the map.
type words struct {
	set         map[string]struct{}
	first, last [maxName + 1]uint64 // by length, one bit for each byte that occurs
}

func (w *words) add(name string) {
	if w.set == nil {
		w.set = map[string]struct{}{}
	}
	w.set[name] = struct{}{}
	w.first[len(name)] |= 1 << (name[0] & 63)
	w.last[len(name)] |= 1 << (name[len(name)-1] & 63)
}

// has is asked for names of 1 to maxName bytes.
func (w *words) has(name []byte) bool {
	n := len(name)
	if w.first[n]&(1<<(name[0]&63)) == 0 || w.last[n]&(1<<(name[n-1]&63)) == 0 {
		return false
	}
	_, ok := w.set[string(name)]
	return ok
}

// What fold says of bytes that are no letter or digit.
const (
	invalid   = 0 // cannot be in a field name
	separator = ' '
)

// NewSet compiles patterns. A pattern is a header name, or the beginning of one
// with "-*": "X-User-*" means X-User and every name that has more words after
// it.
func NewSet(patterns ...string) (*Set, error) {
	s := &Set{}
	for i := range s.fold {
		switch c := byte(i); {
		case 'A' <= c && c <= 'Z':
			s.fold[i] = c | 0x20
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			s.fold[i] = c
		case isToken(c):
			s.fold[i] = separator
		}
	}
	for _, p := range patterns {
		name, many := strings.CutSuffix(p, "-*")
		if err := checkPattern(p, name); err != nil {
			return nil, err
		}
		folded := foldString(name)
		if many {
			s.prefix.add(folded)
		} else {
			s.exact.add(folded)
		}
		s.first[folded[0]] = true
		s.names = append(s.names, p)
	}
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	return s, nil
}

// Except returns a set without what the patterns name. Only the ordinary
// spelling is let through: a disguise of an excepted name stays in the set.
func (s *Set) Except(patterns ...string) (*Set, error) {
	for _, p := range patterns {
		if err := checkPattern(p, strings.TrimSuffix(p, "-*")); err != nil {
			return nil, err
		}
	}
	c := *s
	c.allowed = append(slices.Clone(s.allowed), patterns...)
	slices.Sort(c.allowed)
	c.allowed = slices.Compact(c.allowed)
	return &c, nil
}

// Names lists the patterns of the set, sorted.
func (s *Set) Names() []string { return slices.Clone(s.names) }

// Allowed lists the patterns excepted from it, sorted.
func (s *Set) Allowed() []string { return slices.Clone(s.allowed) }

// Match reports whether name, in any disguise, is in the set. A name that is no
// token (RFC 9110 section 5.1) is always in: nobody can say what an application
// would make of it.
func (s *Set) Match(name string) bool {
	var buf [maxName]byte
	n := 0        // folded bytes
	gap := false  // a separator is due before the next letter
	whole := true // all of the name fitted into buf
	hit := false  // a prefix ended at a word's end
	for i := 0; i < len(name); i++ {
		c := s.fold[name[i]]
		switch c {
		case invalid:
			return true
		case separator:
			if n > 0 && !gap && whole {
				hit = hit || s.prefix.has(buf[:n])
				gap = true
			}
			continue
		}
		if n == 0 && !s.first[c] {
			return !s.isTokens(name[i:])
		}
		if gap {
			gap = false
			if n < maxName {
				buf[n] = ' '
				n++
			}
		}
		if n == maxName {
			whole = false
			continue
		}
		buf[n] = c
		n++
	}
	if n == 0 {
		return true // empty, or separators alone
	}
	if whole && !hit {
		hit = s.exact.has(buf[:n]) || s.prefix.has(buf[:n])
	}
	return hit && !s.excepted(name)
}

// excepted compares plainly, case aside.
func (s *Set) excepted(name string) bool {
	for _, p := range s.allowed {
		start, many := strings.CutSuffix(p, "-*")
		if exchange.EqualFold(start, name) {
			return true
		}
		if many && len(name) > len(start) && name[len(start)] == '-' && exchange.EqualFold(start, name[:len(start)]) {
			return true
		}
	}
	return false
}

// Strip removes every line whose name is in the set and reports how many.
func (s *Set) Strip(h *exchange.Fields) int {
	for i := range h.Len() {
		if s.Match(h.At(i).Name) {
			return h.Filter(func(name, _ string) bool { return !s.Match(name) })
		}
	}
	return 0 // as good as always
}

func checkPattern(p, name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("firewall: header name %q is longer than %d bytes", p, maxName)
	case name == "" || !isTokens(name):
		return fmt.Errorf("firewall: %q is no header name: want letters, digits and dashes, and at most one \"-*\" at the end", p)
	case strings.Contains(name, "*"):
		return fmt.Errorf("firewall: %q: a star stands for whole words at the end only, as in \"X-User-*\"", p)
	case foldString(name) == "":
		return fmt.Errorf("firewall: header name %q has no letter or digit", p)
	}
	return nil
}

// foldString is the form names are compared in: lower-case words with one
// space between them.
func foldString(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	return strings.ToLower(strings.Join(words, " "))
}

func (s *Set) isTokens(name string) bool {
	for i := 0; i < len(name); i++ {
		if s.fold[name[i]] == invalid {
			return false
		}
	}
	return true
}

func isTokens(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isToken(s[i]) {
			return false
		}
	}
	return true
}

// isToken is tchar of RFC 9110 section 5.6.2.
func isToken(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
