package headers

import (
	"encoding/hex"
	"fmt"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// template is a header value: literal parts and placeholders by turns.
type template struct{ parts []part }

type part struct {
	text string
	fact string // the placeholder's name; "" for literal text
}

// maxValue bounds a configured value, in bytes.
const maxValue = 4096

// parse reads a value. A brace that opens no placeholder is itself, so JSON
// values need no escaping; an unknown placeholder is an error.
func parse(s string) (template, error) {
	if len(s) > maxValue {
		return template{}, fmt.Errorf("value of %d bytes, at most %d are allowed", len(s), maxValue)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return template{}, fmt.Errorf("byte %#02x at offset %d: a header value holds no control characters", c, i)
		}
	}
	if strings.Trim(s, " \t") != s {
		return template{}, fmt.Errorf("%q begins or ends with white space, which is lost on the wire", s)
	}
	var t template
	var text strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			text.WriteString(s)
			break
		}
		text.WriteString(s[:i])
		s = s[i:]
		if n := wordLen(s[1:]); n == 0 || !strings.HasPrefix(s[1+n:], "}") {
			// "{{word}}" is the literal "{word}"; any other brace is itself.
			if m := 0; strings.HasPrefix(s, "{{") {
				if m = wordLen(s[2:]); m > 0 && strings.HasPrefix(s[2+m:], "}}") {
					text.WriteString(s[1 : 3+m])
					s = s[4+m:]
					continue
				}
			}
			text.WriteByte('{')
			s = s[1:]
			continue
		}
		name := s[1:strings.IndexByte(s, '}')]
		switch name {
		case "client_ip", "request_id", "trace_id", "route":
		default:
			return template{}, fmt.Errorf("unknown placeholder {%s}: known are {client_ip}, {request_id}, {trace_id} and {route}; write {{%s}} for the text itself", name, name)
		}
		t.literal(&text)
		t.parts = append(t.parts, part{fact: name})
		s = s[len(name)+2:]
	}
	t.literal(&text)
	return t, nil
}

func (t *template) literal(b *strings.Builder) {
	if b.Len() > 0 {
		t.parts = append(t.parts, part{text: b.String()})
		b.Reset()
	}
}

func wordLen(s string) int {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] == '_') {
		n++
	}
	return n
}

// static reports whether the value is the same for every exchange.
func (t *template) static() bool {
	return len(t.parts) == 0 || len(t.parts) == 1 && t.parts[0].fact == ""
}

// expand returns the value for x; "" when every placeholder is empty and there
// is nothing else.
func (t *template) expand(x *exchange.Exchange) string {
	switch {
	case len(t.parts) == 0:
		return ""
	case len(t.parts) == 1 && t.parts[0].fact == "":
		return t.parts[0].text
	case len(t.parts) == 1 && t.parts[0].fact == "request_id":
		return printable(x.ID)
	}
	var room [256]byte
	b := room[:0]
	for _, p := range t.parts {
		if p.fact == "" {
			b = append(b, p.text...)
		} else {
			b = appendFact(b, x, p.fact)
		}
	}
	return x.Request.Header.Own(b) // lives as long as the answer's fields too
}

func appendFact(b []byte, x *exchange.Exchange, name string) []byte {
	switch name {
	case "client_ip":
		if x.ClientIP.IsValid() {
			return x.ClientIP.AppendTo(b)
		}
	case "request_id":
		return append(b, printable(x.ID)...)
	case "trace_id":
		if x.Trace.Valid() {
			return hex.AppendEncode(b, x.Trace.ID[:])
		}
	case "route":
		return append(b, printable(x.Route)...)
	}
	return b
}

// printable drops control characters, should an engine or a config have let
// one through: a value never ends its line.
func printable(s string) string {
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if control(r) {
			return -1
		}
		return r
	}, s)
}

func control(r rune) bool { return r < ' ' || r == 0x7f }
