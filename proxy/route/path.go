package route

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Mode says what to do with encoded separators in a path.
type Mode int

// Strict refuses %2F, %5C and %00, a raw backslash, and path parameters (";" and
// %3B), which servers behind a proxy are known to read in different ways: one
// that takes parameters off has /admin;x be /admin. KeepEncoded lets them pass:
// never decoded, never a separator.
const (
	Strict Mode = iota
	KeepEncoded
)

var errParameter = errors.New(`route: path has a ";" or %3B, which servers read in different ways (path: keep_encoded on the listener allows path parameters)`)

const hexDigits = "0123456789ABCDEF"

// NormalizePath returns the one form of an escaped path that is both matched
// and forwarded (RFC 3986 section 6.2.2): characters that may stand
// in a segment literally decoded, characters that no URI may hold encoded, hex
// digits upper case, dot segments resolved, empty segments merged. A path that
// is in that form already is returned as it is, without allocating. The RFC lets
// "%3A" mean something else than ":", but servers decode both before they look,
// so a route for one must not be passed by with the other.
func NormalizePath(p string, mode Mode) (string, error) {
	if p == "" || p[0] != '/' {
		return "", fmt.Errorf("route: path %.40q does not begin with a slash", p)
	}
	clean, err := inNormalForm(p, mode)
	if err != nil {
		return "", err
	}
	if !clean {
		p = resolve(decodeLiteral(p))
	}
	return p, nil
}

// inNormalForm reports whether p needs no change, and refuses what no mode or
// this mode does not allow.
func inNormalForm(p string, mode Mode) (bool, error) {
	clean := true
	for i := 0; i < len(p); i++ {
		if unremarkable[p[i]] {
			continue
		}
		switch c := p[i]; {
		case c == '%':
			b, ok := unhex(p, i)
			if !ok {
				return false, fmt.Errorf("route: path has a broken percent-encoding at byte %d", i)
			}
			if mode == Strict && (b == '/' || b == '\\' || b == 0) {
				return false, fmt.Errorf("route: path has an encoded separator %s", p[i:i+3])
			}
			if mode == Strict && b == ';' {
				return false, errParameter
			}
			if literal(b) || isLower(p[i+1]) || isLower(p[i+2]) {
				clean = false
			}
			i += 2
		case c <= ' ' || c == 0x7f || c == '#' || c == '?':
			return false, fmt.Errorf("route: path has a forbidden character %q", c)
		case c == ';' && mode == Strict:
			return false, errParameter
		case c == '\\':
			if mode == Strict {
				return false, fmt.Errorf("route: path has a backslash")
			}
			clean = false
		case foreign(c):
			clean = false
		case c == '/' && i+1 < len(p) && (p[i+1] == '/' || dotSegment(p[i+1:])):
			clean = false
		}
	}
	return clean, nil
}

// unremarkable are the bytes that are in normal form wherever they stand.
var unremarkable = func() (t [256]bool) {
	for c := range t {
		t[c] = literal(byte(c))
	}
	return t
}()

// dotSegment reports whether s begins with a whole "." or ".." segment.
func dotSegment(s string) bool {
	if s == "" || s[0] != '.' {
		return false
	}
	s = s[1:]
	if s != "" && s[0] == '.' {
		s = s[1:]
	}
	return s == "" || s[0] == '/'
}

func decodeLiteral(p string) string {
	var b strings.Builder
	b.Grow(len(p) + 8)
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '%' {
			v, _ := unhex(p, i)
			i += 2
			if literal(v) {
				b.WriteByte(v)
				continue
			}
			c = v
		} else if !foreign(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// resolve removes dot segments and empty segments. A trailing slash stays.
func resolve(p string) string {
	out := make([]byte, 0, len(p))
	rest := p
	for rest != "" {
		rest = rest[1:] // the slash
		seg := rest
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			seg, rest = rest[:i], rest[i:]
		} else {
			rest = ""
		}
		last := rest == ""
		switch seg {
		case "", ".":
			if last {
				out = append(out, '/')
			}
		case "..":
			out = out[:max(0, bytes.LastIndexByte(out, '/'))]
			if last {
				out = append(out, '/')
			}
		default:
			out = append(append(out, '/'), seg...)
		}
	}
	if len(out) == 0 {
		return "/"
	}
	return string(out)
}

// literal reports whether c stands for itself in a segment: the unreserved
// characters, and those of the reserved that separate nothing in a path (RFC
// 3986 section 3.3, pchar without ";").
func literal(c byte) bool {
	switch c {
	case '-', '.', '_', '~', ':', '@', '!', '$', '&', '\'', '(', ')', '*', '+', ',', '=':
		return true
	}
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// foreign reports whether c may stand in no URI unless encoded (RFC 3986
// section 2), control characters and delimiters of the path aside.
func foreign(c byte) bool {
	switch c {
	case '"', '<', '>', '\\', '^', '`', '{', '|', '}':
		return true
	}
	return c >= 0x80
}

func isLower(c byte) bool { return c >= 'a' && c <= 'f' }

func unhex(p string, i int) (byte, bool) {
	if i+2 >= len(p) {
		return 0, false
	}
	h, ok1 := nibble(p[i+1])
	l, ok2 := nibble(p[i+2])
	return h<<4 | l, ok1 && ok2
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// Host returns an authority's host in the form that is matched: lower case,
// without port and trailing dot. It reports false for what is no authority.
func Host(authority string) (string, bool) {
	h := authority
	if strings.HasPrefix(h, "[") {
		end := strings.IndexByte(h, ']')
		if end < 0 || !validPort(h[end+1:]) {
			return "", false
		}
		h = h[:end+1]
	} else if i := strings.IndexByte(h, ':'); i >= 0 {
		if !validPort(h[i:]) {
			return "", false
		}
		h = h[:i]
	}
	lower := true
	for i := 0; i < len(h); i++ {
		c := h[i]
		switch {
		case c >= 'A' && c <= 'Z':
			lower = false
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		case h[0] == '[' && (c == '[' || c == ']' || c == ':' || c == '%'):
		default:
			return "", false
		}
		if c == '.' && (i == 0 || h[i-1] == '.') {
			return "", false // an empty label
		}
	}
	if strings.HasPrefix(h, "[") {
		if a, err := netip.ParseAddr(h[1 : len(h)-1]); err != nil || !a.Is6() {
			return "", false
		}
	}
	if !lower {
		h = strings.ToLower(h)
	}
	if len(h) > 1 && h[len(h)-1] == '.' {
		h = h[:len(h)-1]
	}
	return h, h != ""
}

func validPort(s string) bool {
	if s == "" || s == ":" {
		return true
	}
	if s[0] != ':' || s[1] < '0' || s[1] > '9' || len(s) > 6 {
		return false
	}
	_, err := strconv.ParseUint(s[1:], 10, 16)
	return err == nil
}
