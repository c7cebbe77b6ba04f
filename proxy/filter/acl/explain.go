package acl

import (
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Account implements filter.Accounter.
func (f *Filter) Account(x *exchange.Exchange) string {
	s := filter.Caller(x)
	if c := f.known.Named(x.Consumer); c != nil && len(c.Groups) > 0 {
		for i, g := range c.Groups {
			if i == 0 {
				s += " of groups"
			}
			s += " " + g
		}
	}
	return s
}

// DependsOnCaller implements filter.CallerFilter.
func (f *Filter) DependsOnCaller(*exchange.Exchange) bool { return true }

// GuardsAnswers implements filter.Guard.
func (f *Filter) GuardsAnswers() {}
