package apikey

import (
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/credential"
)

// Account implements filter.Accounter. A good key is gone by now, unless it is
// forwarded.
func (f *Filter) Account(x *exchange.Exchange) string {
	_, n := f.place.Find(x)
	switch {
	case x.Identity != nil && x.Identity.Method == "apikey" && x.Consumer != "":
		return "a key of consumer " + x.Consumer
	case n == 0:
		return "no key in " + f.place.String()
	case n > 1:
		return "several keys"
	}
	return "a key in " + f.place.String()
}

// GuardsAnswers implements filter.Guard.
func (f *Filter) GuardsAnswers() {}

// HidesQuery implements filter.QueryHider.
func (f *Filter) HidesQuery() []filter.HiddenQuery { return f.place.Hidden() }

// Looks implements credential.Looker.
func (f *Filter) Looks() *credential.Place { return &f.place }

// Takes implements credential.Taker.
func (f *Filter) Takes() bool { return !f.forward }
