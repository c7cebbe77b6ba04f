package combine

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Account implements filter.Accounter.
func (f *Any) Account(x *exchange.Exchange) string { return accounts(f.members, x) }

// GuardsAnswers implements filter.Guard.
func (f *Any) GuardsAnswers() {}

// Account implements filter.Accounter.
func (f *All) Account(x *exchange.Exchange) string { return accounts(f.members, x) }

// GuardsAnswers implements filter.Guard.
func (f *All) GuardsAnswers() {}

// Account implements filter.Accounter.
func (g *Guest) Account(x *exchange.Exchange) string { return filter.Caller(x) }

// DependsOnCaller implements filter.CallerFilter.
func (g *Guest) DependsOnCaller(*exchange.Exchange) bool { return g.consumer != nil }

// accounts is what each member has found.
func accounts(members []member, x *exchange.Exchange) string {
	var out []string
	for _, m := range members {
		if a, ok := m.Authenticator.(filter.Accounter); ok {
			out = append(out, m.kind+": "+a.Account(x))
		}
	}
	return strings.Join(out, "; ")
}

// HidesQuery implements filter.QueryHider.
func (f *Any) HidesQuery() []filter.HiddenQuery { return hidden(f.members) }

// HidesQuery implements filter.QueryHider.
func (f *All) HidesQuery() []filter.HiddenQuery { return hidden(f.members) }

func hidden(members []member) []filter.HiddenQuery {
	var out []filter.HiddenQuery
	for _, m := range members {
		if h, ok := m.Authenticator.(filter.QueryHider); ok {
			out = append(out, h.HidesQuery()...)
		}
	}
	return out
}
