package cache

import "strings"

// kind is a type of structured field values (RFC 9651 section 3), as far as
// cache directives tell them apart.
type kind byte

const (
	boolean kind = iota
	integer
	text  // a String
	other // Decimal, Token, Byte Sequence, Date, Display String, Inner List
)

// item is a member's value, without its parameters.
type item struct {
	kind   kind
	number int64 // of an integer; 1 for a boolean that is true
	text   string
}

// readDictionary parses a Dictionary (RFC 9651 section 4.2.2) and tells each of
// its members. It reports false when the field is malformed, and then all of it
// is to be ignored.
func readDictionary(s string, member func(key string, v item)) bool {
	p := &parser{s}
	p.space()
	for p.s != "" {
		key := p.key()
		if key == "" {
			return false
		}
		v, ok := item{kind: boolean, number: 1}, true
		if p.take('=') {
			if v, ok = p.value(); !ok {
				return false
			}
		}
		if !p.parameters() {
			return false
		}
		member(key, v)
		p.blank()
		if p.s == "" {
			return true
		}
		if !p.take(',') {
			return false
		}
		if p.blank(); p.s == "" {
			return false // a comma and nothing behind it
		}
	}
	return true
}

// parser holds what is left to read.
type parser struct{ s string }

func (p *parser) take(c byte) bool {
	if p.s == "" || p.s[0] != c {
		return false
	}
	p.s = p.s[1:]
	return true
}

func (p *parser) space() { p.s = strings.TrimLeft(p.s, " ") }
func (p *parser) blank() { p.s = strings.TrimLeft(p.s, " \t") }

func (p *parser) span(in func(c byte) bool) string {
	n := 0
	for n < len(p.s) && in(p.s[n]) {
		n++
	}
	out := p.s[:n]
	p.s = p.s[n:]
	return out
}

func lower(c byte) bool { return c >= 'a' && c <= 'z' }
func digit(c byte) bool { return c >= '0' && c <= '9' }

// key is "" when there is none.
func (p *parser) key() string {
	if p.s == "" || !lower(p.s[0]) && p.s[0] != '*' {
		return ""
	}
	return p.span(func(c byte) bool { return lower(c) || digit(c) || c == '_' || c == '-' || c == '.' || c == '*' })
}

// value is an Item's bare value or an Inner List.
func (p *parser) value() (item, bool) {
	if !p.take('(') {
		return p.bare()
	}
	for {
		p.space()
		if p.take(')') {
			return item{kind: other}, true
		}
		if _, ok := p.bare(); !ok || !p.parameters() {
			return item{}, false
		}
		if p.s == "" || p.s[0] != ' ' && p.s[0] != ')' {
			return item{}, false
		}
	}
}

// parameters are read and forgotten.
func (p *parser) parameters() bool {
	for p.take(';') {
		p.space()
		if p.key() == "" {
			return false
		}
		if p.take('=') {
			if _, ok := p.bare(); !ok {
				return false
			}
		}
	}
	return true
}

func (p *parser) bare() (item, bool) {
	if p.s == "" {
		return item{}, false
	}
	switch c := p.s[0]; {
	case c == '-' || digit(c):
		return p.number()
	case c == '"':
		return p.quoted()
	case c == '?':
		if len(p.s) < 2 || p.s[1] != '0' && p.s[1] != '1' {
			return item{}, false
		}
		v := item{kind: boolean, number: int64(p.s[1] - '0')}
		p.s = p.s[2:]
		return v, true
	case c == ':':
		p.s = p.s[1:]
		p.span(func(c byte) bool {
			return c|0x20 >= 'a' && c|0x20 <= 'z' || digit(c) || c == '+' || c == '/' || c == '='
		})
		return item{kind: other}, p.take(':')
	case c == '@':
		p.s = p.s[1:]
		v, ok := p.number()
		return item{kind: other}, ok && v.kind == integer
	case c == '%':
		return p.display()
	case c|0x20 >= 'a' && c|0x20 <= 'z' || c == '*':
		p.span(func(c byte) bool { return c > ' ' && c < 0x7f && strings.IndexByte(`"(),;<=>?@[\]{}`, c) < 0 })
		return item{kind: other}, true
	}
	return item{}, false
}

// number is an Integer of at most 15 digits or a Decimal of 12 and 3.
func (p *parser) number() (item, bool) {
	sign := int64(1)
	if p.take('-') {
		sign = -1
	}
	whole := p.span(digit)
	if whole == "" || len(whole) > 15 {
		return item{}, false
	}
	if p.take('.') {
		part := p.span(digit)
		return item{kind: other}, part != "" && len(part) <= 3 && len(whole) <= 12
	}
	n := int64(0)
	for i := range len(whole) {
		n = n*10 + int64(whole[i]-'0')
	}
	return item{kind: integer, number: sign * n}, true
}

func (p *parser) quoted() (item, bool) {
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			v := item{kind: text, text: p.s[1:i]}
			p.s = p.s[i+1:]
			return v, true
		case c == '\\':
			if i++; i == len(p.s) || p.s[i] != '"' && p.s[i] != '\\' {
				return item{}, false
			}
		case c < ' ' || c >= 0x7f:
			return item{}, false
		}
	}
	return item{}, false
}

func (p *parser) display() (item, bool) {
	if !strings.HasPrefix(p.s, `%"`) {
		return item{}, false
	}
	end := strings.IndexByte(p.s[2:], '"')
	if end < 0 {
		return item{}, false
	}
	body := p.s[2 : 2+end]
	p.s = p.s[2+end+1:]
	for i := 0; i < len(body); i++ {
		c := body[i]
		if c < ' ' || c >= 0x7f {
			return item{}, false
		}
		if c == '%' && (i+2 >= len(body) || !hex(body[i+1]) || !hex(body[i+2])) {
			return item{}, false
		}
	}
	return item{kind: other}, true
}

func hex(c byte) bool { return digit(c) || c >= 'a' && c <= 'f' }
