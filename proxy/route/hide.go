package route

import (
	"slices"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// hide notes what carries credentials in the query.
func (t *Table) hide(filters []filter.Instance) {
	for i := range filters {
		h, ok := filters[i].Filter.(filter.QueryHider)
		if !ok {
			continue
		}
		for _, q := range h.HidesQuery() {
			if !slices.ContainsFunc(t.hidden, func(o filter.HiddenQuery) bool { return o.Name == q.Name }) {
				t.hidden = append(t.hidden, q)
			}
		}
	}
}

// Hide takes off what is logged of x, and off its Referer, the query parameters
// in which any route looks for credentials. It comes before everything: a request
// that matches no route, or is refused before its credential is looked for, was
// perhaps only meant for another path.
func (t *Table) Hide(x *exchange.Exchange) {
	for i := range t.hidden {
		t.hidden[i].Hide(x)
	}
}
