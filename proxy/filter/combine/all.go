package combine

import (
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// AllOf is the configuration of all_of: a list of filters.
type AllOf struct {
	Of []filter.Nested `yaml:"of" required:"true" doc:"authentication filters, in order; who the user or consumer is, the last one that knows says"`
}

// ShortField has the list stand in place of the map.
func (AllOf) ShortField() string { return "Of" }

// AllKind is the registry entry of all_of.
func AllKind() filter.Kind {
	return filter.Define("all_of", "Several authentication filters, all of which must be satisfied.",
		func(c *AllOf, env *filter.Env) (any, error) {
			members, _, err := build("all_of", c.Of, false, env)
			if err != nil {
				return nil, err
			}
			return &All{members}, nil
		})
}

// All asks every member.
type All struct{ members []member }

// OnRequest refuses at the first member that does, also where a filter by
// itself would let a request without its credential pass.
func (f *All) OnRequest(x *exchange.Exchange) filter.Verdict {
	for _, m := range f.members {
		if m.Presence(x) == filter.Absent {
			return filter.Refuse(m.Missing())
		}
	}
	for _, m := range f.members {
		if v := m.ask(x); v != filter.Next {
			return v
		}
	}
	return filter.Next
}

// Presence implements filter.Authenticator.
func (f *All) Presence(x *exchange.Exchange) filter.Presence {
	some, all := false, true
	for _, m := range f.members {
		p := m.Presence(x)
		some, all = some || p != filter.Absent, all && p == filter.Present
	}
	switch {
	case all:
		return filter.Present
	case some:
		return filter.Partial
	}
	return filter.Absent
}

// Skip implements filter.Authenticator.
func (f *All) Skip(x *exchange.Exchange) {
	for _, m := range f.members {
		m.Skip(x)
	}
}

// Missing implements filter.Authenticator.
func (f *All) Missing() *exchange.Fault { return f.members[0].Missing() }

// Explain implements filter.Explainer.
func (f *All) Explain() string { return "all of " + kinds(f.members) + details(f.members) }
