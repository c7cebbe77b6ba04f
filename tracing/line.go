package tracing

import (
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// line is one access log line in the making, as JSON or as key=value text.
type line struct {
	buf  []byte
	text bool
}

const lineSecond = "2006-01-02T15:04:05" // in UTC; milliseconds and Z follow

// second is the text of one, kept because many lines begin with the same.
type second struct {
	unix int64
	text string
}

var latest atomic.Pointer[second]

func appendTime(dst []byte, t time.Time) []byte {
	unix := t.Unix()
	s := latest.Load()
	switch {
	case s != nil && s.unix == unix:
		dst = append(dst, s.text...)
	case s != nil && s.unix > unix: // a long exchange: the newer one is what others look for
		dst = t.UTC().AppendFormat(dst, lineSecond)
	default:
		s = &second{unix, t.UTC().Format(lineSecond)}
		latest.Store(s)
		dst = append(dst, s.text...)
	}
	ms := t.Nanosecond() / 1e6
	return append(dst, '.', digit(ms/100), digit(ms/10), digit(ms), 'Z')
}

func digit(n int) byte { return '0' + byte(n%10) }

func (l *line) begin(t time.Time) {
	if l.text {
		l.buf = append(l.buf, "time="...)
		l.buf = appendTime(l.buf, t)
		l.buf = append(l.buf, " level=INFO msg=access"...)
		return
	}
	l.buf = append(l.buf, `{"time":"`...)
	l.buf = appendTime(l.buf, t)
	l.buf = append(l.buf, `","level":"INFO","msg":"access"`...)
}

func (l *line) end() {
	if !l.text {
		l.buf = append(l.buf, '}')
	}
	l.buf = append(l.buf, '\n')
}

// key is a line's key as either format writes it.
type key struct{ json, text string }

func newKey(name string) key { return key{`,"` + name + `":`, ` ` + name + `=`} }

func (l *line) key(k *key) {
	if l.text {
		l.buf = append(l.buf, k.text...)
	} else {
		l.buf = append(l.buf, k.json...)
	}
}

func (l *line) num(k *key, v int64) {
	l.key(k)
	l.buf = strconv.AppendInt(l.buf, v, 10)
}

// seconds writes d with microseconds.
func (l *line) seconds(k *key, d time.Duration) {
	l.key(k)
	us := int((max(d, 0) + time.Microsecond/2) / time.Microsecond)
	l.buf = strconv.AppendInt(l.buf, int64(us/1e6), 10)
	l.buf = append(l.buf, '.', digit(us/1e5), digit(us/1e4), digit(us/1e3), digit(us/100), digit(us/10), digit(us))
}

// opt is str for values that may be missing.
func (l *line) opt(k *key, v string, limit int) {
	if v != "" {
		l.str(k, v, limit)
	}
}

// str writes at most limit bytes of v.
func (l *line) str(k *key, v string, limit int) {
	l.key(k)
	v = cut(v, limit)
	if l.text && plain(v) {
		l.buf = append(l.buf, v...)
		return
	}
	l.quote(v)
}

func (l *line) hex(k *key, v []byte) {
	l.key(k)
	l.mark()
	l.buf = appendHex(l.buf, v)
	l.mark()
}

func (l *line) addr(k *key, v netip.Addr) {
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

// asItIs are the bytes that a JSON string takes unchanged.
var asItIs = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// quote writes a JSON string in which nothing can end the line, move a
// terminal's cursor or change how the text reads: control characters of both
// sets, format characters (which turn its direction) and separators are
// escaped, invalid UTF-8 is replaced.
func (l *line) quote(v string) {
	l.buf = append(l.buf, '"')
	if i := plainUntil(v); i < len(v) {
		l.buf = append(l.buf, v[:i]...)
		l.escape(v[i:])
	} else {
		l.buf = append(l.buf, v...)
	}
	l.buf = append(l.buf, '"')
}

// plainUntil returns where the first byte is that may need escaping, len(v) when
// there is none. It takes eight bytes at a time: most of a line are values in
// which nothing has to be escaped.
func plainUntil(v string) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(v); i += 8 {
		w := uint64(v[i]) | uint64(v[i+1])<<8 | uint64(v[i+2])<<16 | uint64(v[i+3])<<24 |
			uint64(v[i+4])<<32 | uint64(v[i+5])<<40 | uint64(v[i+6])<<48 | uint64(v[i+7])<<56
		quote, slash, del := w^ones*'"', w^ones*'\\', w^ones*0x7f
		// A byte of x-ones gets its high bit from a borrow where x has a zero byte;
		// of w-ones*' ' where w has one below a space.
		if ((w-ones*' ')|(quote-ones)|(slash-ones)|(del-ones)|w)&highs != 0 {
			break
		}
	}
	for i < len(v) && asItIs[v[i]] {
		i++
	}
	return i
}

// escape writes v with what is not plain escaped.
func (l *line) escape(v string) {
	b := l.buf
	from := 0
	for i := 0; i < len(v); {
		c := v[i]
		if asItIs[c] {
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
	l.buf = append(b, v[from:]...)
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
