package transform

import "lintel.dev/lintel/proxy/exchange"

// Account implements filter.Accounter. What it found is in the changes.
func (f *Filter) Account(*exchange.Exchange) string {
	s := "for the request: "
	switch {
	case f.path == nil && f.query.empty():
		return s + f.request.Explain()
	case f.path == nil:
		return s + "its query, and header fields: " + f.request.Explain()
	}
	return s + "its path and query, and header fields: " + f.request.Explain()
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(*exchange.Exchange) string {
	if f.response.Empty() {
		return ""
	}
	return f.response.Explain()
}

// DependsOnCaller implements filter.CallerFilter.
func (f *Filter) DependsOnCaller(*exchange.Exchange) bool {
	for _, list := range [...][]parameter{f.query.set, f.query.add} {
		for _, p := range list {
			if p.value.OfCaller() {
				return true
			}
		}
	}
	return f.path != nil && f.path.OfCaller() || f.request.OfCaller()
}
