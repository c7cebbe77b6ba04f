package credential

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// findCookie reads pairs as RFC 6265 section 5.4 has them; HTTP/2 may spread
// them over several lines (RFC 9113 section 8.2.3). Names count by case.
func findCookie(h *exchange.Fields, name string) (value string, n int) {
	for i := range h.Len() {
		line := h.At(i)
		if !exchange.EqualFold(line.Name, "Cookie") {
			continue
		}
		for rest := line.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			key, v, _ := strings.Cut(exchange.Trim(pair), "=")
			if exchange.Trim(key) != name {
				continue
			}
			if v = unquote(exchange.Trim(v)); v == "" {
				continue // as a browser keeps a cookie that was taken away
			}
			if n++; n == 1 {
				value = v
			}
		}
	}
	return value, n
}

// removeCookie joins what is left of all lines to one.
func removeCookie(h *exchange.Fields, name string) {
	if !hasCookie(h, name) {
		return
	}
	var room [1024]byte
	kept := room[:0]
	for i := range h.Len() {
		line := h.At(i)
		if !exchange.EqualFold(line.Name, "Cookie") {
			continue
		}
		for rest := line.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			pair = exchange.Trim(pair)
			key, _, _ := strings.Cut(pair, "=")
			if pair == "" || exchange.Trim(key) == name {
				continue
			}
			if len(kept) > 0 {
				kept = append(kept, "; "...)
			}
			kept = append(kept, pair...)
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h.Set("Cookie", h.Own(kept))
}

func hasCookie(h *exchange.Fields, name string) bool {
	for i := range h.Len() {
		line := h.At(i)
		if !exchange.EqualFold(line.Name, "Cookie") {
			continue
		}
		for rest := line.Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			if key, _, _ := strings.Cut(pair, "="); exchange.Trim(key) == name {
				return true
			}
		}
	}
	return false
}

func unquote(v string) string {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}
