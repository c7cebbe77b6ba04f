package cors

import (
	"fmt"
	"strconv"
	"strings"
)

// wide is an origin with stars: a scheme with "://", the end of the host name,
// and the port.
type wide struct {
	scheme string // https://
	host   string // ".example.com" for any name below it, or a whole host
	port   string // ":8443", "" for none, ":*" for any or none
}

// origin adds one of the configuration. An Origin field is a serialized origin
// (RFC 6454 section 6.2): lower case, without a default port, so it is compared
// as it is.
func (f *Filter) origin(s string) error {
	want := fmt.Errorf("found %q, want an origin like https://app.example.com, https://*.example.com or http://localhost:*, or *", s)
	scheme, rest, ok := strings.Cut(strings.ToLower(s), "://")
	if !ok || scheme == "" || !schemeLike(scheme) {
		return want
	}
	if strings.HasSuffix(rest, "/") {
		return fmt.Errorf("found %q: an origin ends with the host or the port, without a slash", s)
	}
	host, port := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.HasSuffix(rest, "]") {
		host, port = rest[:i], rest[i:]
		if n, err := strconv.ParseUint(port[1:], 10, 16); port != ":*" && (err != nil || n == 0 || port[1] == '0') {
			return want
		}
	}
	if scheme == "https" && port == ":443" || scheme == "http" && port == ":80" {
		port = ""
	}
	below, starred := strings.CutPrefix(host, "*.")
	switch {
	case starred && (!hostLike(below) || !strings.Contains(below, ".") && below != "localhost"):
		return fmt.Errorf("found %q: after *. want a name of at least two labels, as in https://*.example.com", s)
	case !starred && !hostLike(host):
		return want
	}
	if !starred && port != ":*" {
		f.exact[scheme+"://"+host+port] = true
		return nil
	}
	f.wide = append(f.wide, wide{scheme + "://", strings.TrimPrefix(host, "*"), port})
	return nil
}

func (w *wide) matches(origin string) bool {
	rest, ok := strings.CutPrefix(origin, w.scheme)
	if !ok {
		return false
	}
	if w.port == ":*" {
		if i := strings.LastIndexByte(rest, ':'); i >= 0 && digits(rest[i+1:]) {
			rest = rest[:i]
		}
	} else if rest, ok = strings.CutSuffix(rest, w.port); !ok {
		return false
	}
	if w.host[0] != '.' {
		return rest == w.host
	}
	name, ok := strings.CutSuffix(rest, w.host)
	// What stands before must be a name: "https://evil.com/.example.com" is not
	// below example.com.
	return ok && hostLike(name) && name[0] != '['
}

// hostLike reports whether s looks like a host name or an address in brackets,
// in lower case.
func hostLike(s string) bool {
	if s == "" {
		return false
	}
	if s[0] == '[' {
		return len(s) > 2 && s[len(s)-1] == ']' && strings.Trim(s[1:len(s)-1], "0123456789abcdef:.") == ""
	}
	label := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			label++
		case c == '.' && label > 0:
			label = 0
		default:
			return false
		}
	}
	return label > 0
}

func schemeLike(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return true
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 5
}
