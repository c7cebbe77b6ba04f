package content

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Weights are thousandths: 1000 is q=1, and 0 says "not acceptable" (RFC 9110
// section 12.4.2).
const maxWeight = 1000

// CodingWeight tells how much a client wants a content coding, given its
// Accept-Encoding fields; listed tells whether it names the coding itself or by
// "*" (RFC 9110 section 12.5.3). gzip is also known as x-gzip.
func CodingWeight(h *exchange.Fields, coding string) (weight int, listed bool) {
	star, starred := 0, false
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "Accept-Encoding") {
			continue
		}
		for rest, more := f.Value, true; more; {
			var one string
			one, rest, more = strings.Cut(rest, ",")
			name, q := member(one)
			switch {
			case exchange.EqualFold(name, coding) || coding == "gzip" && exchange.EqualFold(name, "x-gzip"):
				return q, true
			case name == "*":
				star, starred = q, true
			}
		}
	}
	return star, starred
}

// MediaWeight tells how much a client wants a media type, given its Accept
// fields, by the most specific range that covers it (RFC 9110 section 12.5.1).
// how is 3 for the type itself, 2 for type/*, 1 for */*, and 0 when no range
// covers it.
func MediaWeight(h *exchange.Fields, typ, subtype string) (weight, how int) {
	for i := range h.Len() {
		f := h.At(i)
		if !exchange.EqualFold(f.Name, "Accept") {
			continue
		}
		for rest, more := f.Value, true; more; {
			var one string
			one, rest, more = strings.Cut(rest, ",")
			name, q := member(one)
			t, s, ok := strings.Cut(name, "/")
			fits := 0
			switch {
			case !ok:
			case t == "*" && s == "*":
				fits = 1
			case !exchange.EqualFold(t, typ):
			case s == "*":
				fits = 2
			case exchange.EqualFold(s, subtype):
				fits = 3
			}
			if fits > how || fits == how && q > weight {
				weight, how = q, fits
			}
		}
	}
	if how == 0 {
		weight = 0
	}
	return weight, how
}

// member splits one member of a list into its name and its weight. A weight that
// cannot be read is 0: what the client did not clearly ask for it does not get.
func member(s string) (name string, weight int) {
	name, params, _ := strings.Cut(s, ";")
	name, weight = exchange.Trim(name), maxWeight
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		key, value, _ := strings.Cut(exchange.Trim(p), "=")
		if exchange.EqualFold(exchange.Trim(key), "q") {
			return name, qvalue(exchange.Trim(value))
		}
	}
	return name, weight
}

// qvalue reads 0, 1, 0.5 or 0.333 (RFC 9110 section 12.4.2).
func qvalue(s string) int {
	if s == "" || len(s) > 5 || s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return 0
	}
	w, digit := int(s[0]-'0')*maxWeight, 100
	for i := 2; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		w += int(s[i]-'0') * digit
		digit /= 10
	}
	return min(w, maxWeight)
}
