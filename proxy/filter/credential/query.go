package credential

import (
	"net/url"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// cutPair takes the first pair off a query. A semicolon parts pairs as an
// ampersand does: to some services it does, and a credential that only they find
// would have been verified by nobody.
func cutPair(query string) (pair, rest string) {
	if i := strings.IndexAny(query, "&;"); i >= 0 {
		return query[:i], query[i+1:]
	}
	return query, ""
}

// findQuery reads pairs as application/x-www-form-urlencoded has them: names and
// values percent-encoded, a plus for a space.
func findQuery(query, name string) (value string, n int) {
	for query != "" {
		var pair string
		pair, query = cutPair(query)
		key, v, _ := strings.Cut(pair, "=")
		if !decodesTo(key, name) || v == "" {
			continue
		}
		if n++; n == 1 {
			value = v
			if d, err := decode(v); err == nil {
				value = d
			}
		}
	}
	return value, n
}

// withoutParameter leaves every other pair as it was written. The string lives
// as long as h does.
func withoutParameter(h *exchange.Fields, query, name string) string {
	if !mentions(query, name) {
		return query
	}
	var room [512]byte
	kept := room[:0]
	before := byte('&') // what parts a pair from the one before it
	for rest := query; rest != ""; {
		var pair string
		from, parted := rest, before
		if pair, rest = cutPair(rest); len(pair) < len(from) {
			before = from[len(pair)]
		}
		if key, _, _ := strings.Cut(pair, "="); decodesTo(key, name) {
			continue
		}
		if len(kept) > 0 {
			kept = append(kept, parted)
		}
		kept = append(kept, pair...)
	}
	return h.Own(kept)
}

func mentions(query, name string) bool {
	for query != "" {
		var pair string
		pair, query = cutPair(query)
		if key, _, _ := strings.Cut(pair, "="); decodesTo(key, name) {
			return true
		}
	}
	return false
}

// decodesTo compares a name as a service would read it.
func decodesTo(key, name string) bool {
	if key == name {
		return true
	}
	if len(key) <= len(name) {
		return false // an escape is longer than what it stands for, and a name has no space
	}
	d, err := decode(key)
	return err == nil && d == name
}

func decode(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	return url.QueryUnescape(s)
}
