package headers

import (
	"slices"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter.
func (f *Filter) Account(*exchange.Exchange) string { return "for the request: " + f.request.Explain() }

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(*exchange.Exchange) string {
	if f.response.Empty() {
		return ""
	}
	return f.response.Explain()
}

// DependsOnCaller implements filter.CallerFilter.
func (f *Filter) DependsOnCaller(*exchange.Exchange) bool { return f.request.OfCaller() }

// OfCaller reports whether what is set says who is calling.
func (r *Rules) OfCaller() bool {
	of := func(l line) bool { return l.value.OfCaller() }
	return slices.ContainsFunc(r.set, of) || slices.ContainsFunc(r.add, of)
}
