package template

import (
	"fmt"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Template is literal parts and placeholders by turns.
type Template struct{ parts []part }

type part struct {
	text string
	fact string // the placeholder's name; "" for literal text
	arg  string
	path []string // of a claim
}

// Max bounds a configured text, in bytes.
const Max = 4096

// plain are placeholders without an argument, named those with one.
var (
	plain = []string{"client_ip", "request_id", "trace_id", "route", "method", "scheme", "host", "path", "subject", "consumer"}
	named = []string{"claim", "param", "header", "query"}
)

const known = "{client_ip}, {request_id}, {trace_id}, {route}, {method}, {scheme}, {host}, {path}, {subject}, {consumer}, {claim:NAME}, {param:NAME}, {header:NAME} and {query:NAME}"

// Parse reads a text. A brace that opens no placeholder is itself, so JSON
// needs no escaping; an unknown placeholder is an error, and "{{word}}" is the
// text "{word}".
func Parse(s string) (*Template, error) {
	if len(s) > Max {
		return nil, fmt.Errorf("value of %d bytes, at most %d are allowed", len(s), Max)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return nil, fmt.Errorf("byte %#02x at offset %d: a value holds no control characters", c, i)
		}
	}
	t := &Template{}
	var text strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			text.WriteString(s)
			break
		}
		text.WriteString(s[:i])
		s = s[i:]
		if n := placeholder(s[1:]); strings.HasPrefix(s, "{{") && n == 0 {
			if m := placeholder(s[2:]); m > 0 && strings.HasPrefix(s[2+m:], "}}") {
				text.WriteString(s[1 : 3+m])
				s = s[4+m:]
				continue
			}
		} else if n > 0 && strings.HasPrefix(s[1+n:], "}") {
			p, err := parsePart(s[1 : 1+n])
			if err != nil {
				return nil, err
			}
			t.literal(&text)
			t.parts = append(t.parts, p)
			s = s[n+2:]
			continue
		}
		text.WriteByte('{')
		s = s[1:]
	}
	t.literal(&text)
	return t, nil
}

func (t *Template) literal(b *strings.Builder) {
	if b.Len() > 0 {
		t.parts = append(t.parts, part{text: b.String()})
		b.Reset()
	}
}

// placeholder is the length of a word, or of a word, a colon and an argument,
// that s begins with.
func placeholder(s string) int {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] == '_') {
		n++
	}
	if n == 0 || n == len(s) || s[n] != ':' {
		return n
	}
	arg := n + 1
	for arg < len(s) && argument(s[arg]) {
		arg++
	}
	if arg == n+1 {
		return n
	}
	return arg
}

// argument reports bytes of an argument: names of claims may be URLs.
func argument(c byte) bool {
	return c > ' ' && c < 0x7f && c != '{' && c != '}' && c != '"' && c != ','
}

func parsePart(s string) (part, error) {
	name, arg, has := strings.Cut(s, ":")
	switch {
	case has && slices.Contains(named, name):
		p := part{fact: name, arg: arg}
		if name == "claim" {
			p.path = strings.Split(arg, ".")
		}
		return p, nil
	case !has && slices.Contains(plain, name):
		return part{fact: name}, nil
	}
	return part{}, fmt.Errorf("unknown placeholder {%s}: known are %s; write {{%s}} for the text itself", s, known, s)
}

// Static returns the text of a template without placeholders.
func (t *Template) Static() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].fact == "":
		return t.parts[0].text, true
	}
	return "", false
}

// Uses reports whether it has a placeholder of that name.
func (t *Template) Uses(name string) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.fact == name })
}

// OfCaller reports whether its text says who is calling: a placeholder of an
// identity or a consumer, or of a header field that an authorizer may have set.
func (t *Template) OfCaller() bool {
	return t.Uses("subject") || t.Uses("consumer") || t.Uses("claim") || t.Uses("header")
}

// Params lists the path parameters it names.
func (t *Template) Params() []string {
	var out []string
	for _, p := range t.parts {
		if p.fact == "param" {
			out = append(out, p.arg)
		}
	}
	return out
}

// Place is where the text goes, which decides how values are written.
type Place int

// The places.
const (
	Field Place = iota // a header field's value: control characters are dropped
	Path               // one path segment: everything but unreserved characters is encoded
	Query              // a parameter's value in a query: encoded
	Text               // as it is, for who encodes the whole
)

// Append adds the text for x to b. missing is the first placeholder that has no
// value there, as "claim:sub".
func (t *Template) Append(b []byte, x *exchange.Exchange, to Place) (out []byte, missing string) {
	for i := range t.parts {
		p := &t.parts[i]
		if p.fact == "" {
			b = append(b, p.text...)
			continue
		}
		start := len(b)
		b = p.value(b, x)
		if len(b) == start && missing == "" && !(p.fact == "param" && p.arg == "rest") {
			missing = p.fact
			if p.arg != "" {
				missing += ":" + p.arg
			}
			continue
		}
		b = write(b, start, to, p.fact == "param" || p.fact == "path")
	}
	return b, missing
}

// Expand is Append to memory of the request's fields, which lasts as long as
// the exchange; "" when every placeholder is empty and there is nothing else.
func (t *Template) Expand(x *exchange.Exchange, to Place) string {
	if s, ok := t.Static(); ok {
		return s
	}
	if p := t.parts[0]; len(t.parts) == 1 && to == Field && (p.fact == "request_id" || p.fact == "route") {
		s := x.ID
		if p.fact == "route" {
			s = x.Route
		}
		if strings.IndexFunc(s, control) < 0 {
			return s
		}
	}
	var room [256]byte
	b, _ := t.Append(room[:0], x, to)
	return x.Request.Header.Own(b)
}

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
