package combine

import (
	"net/http"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// AnyOf is the configuration of any_of: a list of filters.
type AnyOf struct {
	Of []filter.Nested `yaml:"of" required:"true" doc:"authentication filters, in order of preference; anonymous may stand last"`
}

// ShortField has the list stand in place of the map.
func (AnyOf) ShortField() string { return "Of" }

// AnyKind is the registry entry of any_of.
func AnyKind() filter.Kind {
	return filter.Define("any_of", "One of several authentication filters: the first whose credential is sent decides. What is sent and wrong is refused, never passed over.",
		func(c *AnyOf, env *filter.Env) (any, error) {
			members, guest, err := build("any_of", c.Of, true, env)
			if err != nil {
				return nil, err
			}
			f := &Any{members: members, guest: guest}
			f.missing = f.describe()
			return f, nil
		})
}

// Any lets the first member whose credential is there decide.
type Any struct {
	members []member
	guest   *Guest // nil: who shows nothing is refused
	missing exchange.Fault
}

// OnRequest never tries a second member after one refused: else whoever sends
// an expired token would become a guest without noticing, and a stolen
// certificate would be worth another guess. A credential of which a part is
// missing is refused for the same reason.
func (f *Any) OnRequest(x *exchange.Exchange) filter.Verdict {
	chosen, part := -1, -1
	for i, m := range f.members {
		switch m.Presence(x) {
		case filter.Present:
			if chosen < 0 {
				chosen = i
			}
		case filter.Partial:
			if part < 0 {
				part = i
			}
		}
	}
	if chosen < 0 {
		chosen = part
	}
	for i, m := range f.members {
		if i != chosen {
			m.Skip(x)
		}
	}
	switch {
	case chosen >= 0:
		return f.members[chosen].ask(x)
	case f.guest != nil:
		return f.guest.OnRequest(x)
	}
	return filter.Refuse(f.Missing())
}

// Presence implements filter.Authenticator: as much as any member has.
func (f *Any) Presence(x *exchange.Exchange) filter.Presence {
	most := filter.Absent
	for _, m := range f.members {
		most = max(most, m.Presence(x))
	}
	return most
}

// Skip implements filter.Authenticator.
func (f *Any) Skip(x *exchange.Exchange) {
	for _, m := range f.members {
		m.Skip(x)
	}
}

// Missing implements filter.Authenticator: with the challenges of all members
// (RFC 9110 section 11.6.1).
func (f *Any) Missing() *exchange.Fault {
	fault := f.missing
	return &fault
}

func (f *Any) describe() exchange.Fault {
	out := exchange.Fault{Source: exchange.FromClient, Status: http.StatusUnauthorized, Code: "no-credential", Title: "Not authenticated"}
	var wants []string
	for _, m := range f.members {
		fault := m.Missing()
		if !slices.Contains(wants, fault.Detail) {
			wants = append(wants, fault.Detail)
		}
		for _, h := range fault.Header {
			if !slices.Contains(out.Header, h) {
				out.Header = append(out.Header, h)
			}
		}
	}
	out.Detail = strings.Join(wants, "; or ")
	if len(out.Header) == 0 {
		// A 401 must carry a challenge, and there is no scheme for certificates.
		out.Status = http.StatusForbidden
	}
	return out
}

// Explain implements filter.Explainer.
func (f *Any) Explain() string {
	none := "refused"
	if f.guest != nil {
		none = f.guest.Explain()
	}
	return "the first of " + kinds(f.members) + " that is sent decides; without any: " + none + details(f.members)
}
