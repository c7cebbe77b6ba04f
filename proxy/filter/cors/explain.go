package cors

import (
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	h := &x.Request.Header
	origin, ok := one(h, "Origin")
	what := "no origin"
	switch {
	case ok && f.allows(origin):
		what = "origin " + origin + ", which is allowed"
	case ok:
		what = "origin " + origin + ", which is not allowed"
	case h.Has("Origin"):
		what = "several origins, which count as none"
	}
	if filter.Preflight(x) {
		what += "; a preflight for " + filter.AskedMethod(x)
	}
	return what
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *Filter) AccountAnswer(x *exchange.Exchange) string {
	d, _ := x.Kept().(decision)
	switch {
	case f.any:
		return "pages of every origin may read it"
	case d == foreign:
		return "no page of another origin may read it"
	}
	s := "pages of " + x.Request.Header.Get("Origin") + " may read it"
	if f.credentials {
		s += ", with credentials"
	}
	return s
}
