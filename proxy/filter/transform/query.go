package transform

import (
	"net/url"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/template"
)

type query struct {
	all          bool // keep is not given
	keep, remove []string
	rename       [][2]string
	set, add     []parameter
}

type parameter struct {
	name  string
	value *template.Template
	fixed bool
}

func (q *query) empty() bool {
	return q.all && len(q.remove)+len(q.rename)+len(q.set)+len(q.add) == 0
}

// apply makes the new query. What is kept stays as it was written.
func (q *query) apply(x *exchange.Exchange) {
	old := x.Request.Query
	var room [512]byte
	out := room[:0]
	var renamed uint64 // which renames found something
	for i := range q.rename {
		if i < 64 && has(old, q.rename[i][0]) {
			renamed |= 1 << i
		}
	}
	for rest, more := old, old != ""; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		raw, value, valued := strings.Cut(pair, "=")
		name := unescape(raw)
		if pair == "" || !q.all && !slices.Contains(q.keep, name) || slices.Contains(q.remove, name) ||
			slices.ContainsFunc(q.set, func(p parameter) bool { return p.name == name }) {
			continue
		}
		if to, gone := q.renamed(name, renamed); gone {
			continue
		} else if to != "" {
			out = appendName(out, to)
			if valued {
				out = append(append(out, '='), value...)
			}
			continue
		}
		out = append(separated(out), pair...)
	}
	for i := range q.set {
		out = q.set[i].append(out, x)
	}
	for i := range q.add {
		out = q.add[i].append(out, x)
	}
	if string(out) != old {
		x.Request.Query = x.Request.Header.Own(out)
	}
}

// renamed is the new name of a parameter, "" when it keeps its own; gone says
// that another takes its place.
func (q *query) renamed(name string, found uint64) (to string, gone bool) {
	for i := range q.rename {
		if q.rename[i][0] == name {
			return q.rename[i][1], false
		}
	}
	for i := range q.rename {
		if q.rename[i][1] == name && i < 64 && found&(1<<i) != 0 {
			return "", true
		}
	}
	return "", false
}

func has(query, name string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		raw, _, _ := strings.Cut(pair, "=")
		if unescape(raw) == name {
			return true
		}
	}
	return false
}

func (p *parameter) append(b []byte, x *exchange.Exchange) []byte {
	start := len(b)
	b = append(appendName(b, p.name), '=')
	value := len(b)
	if p.fixed {
		text, _ := p.value.Static()
		return append(b, url.QueryEscape(text)...)
	}
	if b, _ = p.value.Append(b, x, template.Query); len(b) == value {
		return b[:start]
	}
	return b
}

func appendName(b []byte, name string) []byte {
	return append(separated(b), url.QueryEscape(name)...)
}

func separated(b []byte) []byte {
	if len(b) > 0 {
		return append(b, '&')
	}
	return b
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
