package tracing

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// line is one access log line in the making, as JSON or as key=value text.
type line struct {
	buf  []byte
	text bool
}

const lineTime = "2006-01-02T15:04:05.000Z"

func (l *line) begin(t time.Time) {
	if l.text {
		l.buf = append(l.buf, "time="...)
		l.buf = t.UTC().AppendFormat(l.buf, lineTime)
		l.buf = append(l.buf, " level=INFO msg=access"...)
		return
	}
	l.buf = append(l.buf, `{"time":"`...)
	l.buf = t.UTC().AppendFormat(l.buf, lineTime)
	l.buf = append(l.buf, `","level":"INFO","msg":"access"`...)
}

func (l *line) end() {
	if !l.text {
		l.buf = append(l.buf, '}')
	}
	l.buf = append(l.buf, '\n')
}

func (l *line) key(k string) {
	if l.text {
		l.buf = append(l.buf, ' ')
		l.buf = append(l.buf, k...)
		l.buf = append(l.buf, '=')
		return
	}
	l.buf = append(l.buf, ',', '"')
	l.buf = append(l.buf, k...)
	l.buf = append(l.buf, '"', ':')
}

func (l *line) num(k string, v int64) {
	l.key(k)
	l.buf = strconv.AppendInt(l.buf, v, 10)
}

// seconds writes d with microseconds.
func (l *line) seconds(k string, d time.Duration) {
	l.key(k)
	l.buf = strconv.AppendFloat(l.buf, max(d, 0).Seconds(), 'f', 6, 64)
}

// opt is str for values that may be missing.
func (l *line) opt(k, v string, limit int) {
	if v != "" {
		l.str(k, v, limit)
	}
}

// str writes at most limit bytes of v.
func (l *line) str(k, v string, limit int) {
	l.key(k)
	v = cut(v, limit)
	if l.text && plain(v) {
		l.buf = append(l.buf, v...)
		return
	}
	l.quote(v)
}

func (l *line) hex(k string, v []byte) {
	l.key(k)
	l.mark()
	l.buf = hex.AppendEncode(l.buf, v)
	l.mark()
}

func (l *line) addr(k string, v netip.Addr) {
	if !v.IsValid() {
		return
	}
	// A zone is whatever the system calls an interface, so it is left out.
	l.key(k)
	l.mark()
	l.buf = v.Unmap().WithZone("").AppendTo(l.buf)
	l.mark()
}

func (l *line) mark() {
	if !l.text {
		l.buf = append(l.buf, '"')
	}
}

// plain reports whether text format needs no quotes for v.
func plain(v string) bool {
	if v == "" {
		return false
	}
	for i := range len(v) {
		if c := v[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\' {
			return false
		}
	}
	return true
}

// quote writes a JSON string in which nothing can end the line, move a
// terminal's cursor or change how the text reads: control characters of both
// sets, format characters (which turn its direction) and separators are
// escaped, invalid UTF-8 is replaced.
func (l *line) quote(v string) {
	b := append(l.buf, '"')
	from := 0
	for i := 0; i < len(v); {
		c := v[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(v[i:])
			if (r != utf8.RuneError || size > 1) && !risky(r) {
				i += size
				continue
			}
			b = append(b, v[from:i]...)
			b = appendRune(b, r)
		} else {
			b = append(b, v[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = appendRune(b, rune(c))
			}
		}
		i += size
		from = i
	}
	b = append(b, v[from:]...)
	l.buf = append(b, '"')
}

func risky(r rune) bool {
	return r < 0xa0 || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// appendRune writes \uXXXX, as a surrogate pair where one is needed.
func appendRune(b []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		b = appendUnit(b, 0xd800+r>>10)
		return appendUnit(b, 0xdc00+r&0x3ff)
	}
	return appendUnit(b, r)
}

func appendUnit(b []byte, u rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
}
