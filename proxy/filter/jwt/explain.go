package jwt

import (
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/credential"
)

// Account implements filter.Accounter. A good token is gone by now, unless it is
// forwarded.
func (f *Filter) Account(x *exchange.Exchange) string {
	_, n := f.place.Find(x)
	switch id := x.Identity; {
	case id != nil && id.Method == "jwt" && (n == 0 || f.forward):
		return "a good token of " + id.Issuer + " for " + filter.Caller(x)
	case n == 0:
		return "no token in " + f.place.String()
	case n > 1:
		return "several tokens"
	}
	return "a token in " + f.place.String()
}

// GuardsAnswers implements filter.Guard.
func (f *Filter) GuardsAnswers() {}

// HidesQuery implements filter.QueryHider.
func (f *Filter) HidesQuery() []filter.HiddenQuery { return f.place.Hidden() }

// Looks implements credential.Looker.
func (f *Filter) Looks() *credential.Place { return &f.place }

// Takes implements credential.Taker.
func (f *Filter) Takes() bool { return !f.forward }
