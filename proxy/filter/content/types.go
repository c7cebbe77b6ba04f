package content

import (
	"fmt"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Types is a list of media types as configuration has them: application/json,
// text/*, application/*+json, or */* for any. The zero value holds none.
type Types struct{ list []pattern }

// pattern is one of them in lower case. An empty subtype is any.
type pattern struct{ typ, subtype, suffix string }

// ParseTypes reads a list and says which entry is wrong.
func ParseTypes(list []string) (t Types, at int, err error) {
	for i, s := range list {
		typ, sub, ok := strings.Cut(strings.ToLower(s), "/")
		p := pattern{typ: typ, subtype: sub}
		switch suffix, star := strings.CutPrefix(sub, "*"); {
		case !star:
		case suffix == "":
			p.subtype = ""
		case suffix[0] == '+' && IsToken(suffix[1:]):
			p.subtype, p.suffix = "", suffix
		default:
			ok = false
		}
		if typ == "*" && sub == "*" {
			p.typ = ""
		} else if !IsToken(typ) || strings.Contains(typ, "*") || sub == "" || p.subtype != "" && (!IsToken(sub) || strings.Contains(sub, "*")) {
			ok = false
		}
		if !ok {
			return t, i, fmt.Errorf("found %q, want a media type like application/json, text/*, application/*+json or */*", s)
		}
		t.list = append(t.list, p)
	}
	return t, 0, nil
}

// Empty reports whether the list has no entries.
func (t *Types) Empty() bool { return len(t.list) == 0 }

// Has reports whether a Content-Type field's value is on the list. Parameters
// do not count; a value that is no media type is never on it.
func (t *Types) Has(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	typ, sub, ok := strings.Cut(exchange.Trim(media), "/")
	if !ok || typ == "" || sub == "" {
		return false
	}
	for i := range t.list {
		p := &t.list[i]
		switch {
		case p.typ != "" && !exchange.EqualFold(p.typ, typ):
		case p.subtype != "":
			if exchange.EqualFold(p.subtype, sub) {
				return true
			}
		case p.suffix == "":
			return true
		case len(sub) > len(p.suffix) && exchange.EqualFold(sub[len(sub)-len(p.suffix):], p.suffix):
			return true
		}
	}
	return false
}

// IsJSON reports whether the Content-Type says application/json or anything
// with the suffix +json (RFC 6839 section 3.1).
func IsJSON(contentType string) bool { return jsonTypes.Has(contentType) }

var jsonTypes = Types{list: []pattern{{typ: "application", subtype: "json"}, {suffix: "+json"}}}

// IsToken reports whether s is a token (RFC 9110 section 5.6.2).
func IsToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
