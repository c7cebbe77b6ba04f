package combine

import (
	"fmt"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/credential"
)

// member is one filter of a combination.
type member struct {
	filter.Authenticator
	kind     string
	explains filter.Explainer // nil: it does not
}

// ask asks m about the credential that it has found. Another member that looks in
// the same place may have taken it off meanwhile; m itself might let a request
// without one pass.
func (m member) ask(x *exchange.Exchange) filter.Verdict {
	if m.Presence(x) == filter.Absent {
		return filter.Refuse(m.Missing())
	}
	return m.OnRequest(x)
}

// build builds the filters of a list. Where guests are allowed, anonymous may
// stand last.
func build(kind string, list []filter.Nested, guests bool, env *filter.Env) ([]member, *Guest, error) {
	var members []member
	for i, n := range list {
		at := fmt.Sprintf("[%d]", i)
		in, err := n.Build(env)
		if err != nil {
			return nil, nil, err
		}
		if guest, ok := in.Filter.(*Guest); ok {
			switch {
			case !guests:
				return nil, nil, filter.Errorf(at, "anonymous cannot stand in %s, which asks for credentials", kind)
			case i < len(list)-1:
				return nil, nil, filter.Errorf(at, "anonymous stands last: it is for requests that show none of what the others look for")
			case len(members) == 0:
				return nil, nil, filter.Errorf(at, "anonymous alone asks for nothing: want an authentication filter before it")
			}
			return members, guest, nil
		}
		a, ok := in.Filter.(filter.Authenticator)
		if !ok {
			return nil, nil, filter.Errorf(at, "%s does not say who is calling: %s holds authentication filters", n.Kind, kind)
		}
		if in.Response != nil || in.Fault != nil || in.Done != nil {
			return nil, nil, filter.Errorf(at, "%s also takes part in answers: it must stand by itself", n.Kind)
		}
		if inner, ok := a.(*Any); ok && inner.guest != nil {
			return nil, nil, filter.Errorf(at, "an any_of within another filter cannot end in anonymous: put that last in the outermost any_of")
		}
		if guests { // of several, the first that finds something has the say
			if first := covering(members, a); first >= 0 {
				return nil, nil, filter.Errorf(at, "%s", never(members[first], first, n.Kind, a))
			}
		}
		if !guests { // of several, each must find something
			if first := taking(members, a); first >= 0 {
				return nil, nil, filter.Errorf(at, "%s", nothing(members[first], first, n.Kind, a))
			}
		}
		m := member{Authenticator: a, kind: in.Kind}
		m.explains, _ = in.Filter.(filter.Explainer)
		members = append(members, m)
	}
	if len(members) == 0 {
		return nil, nil, filter.Errorf("", "is empty: want a list of authentication filters")
	}
	return members, nil, nil
}

// covering is the member that finds whatever a finds, and so always decides in its
// place; -1 when there is none.
func covering(members []member, a filter.Authenticator) int {
	l, ok := a.(credential.Looker)
	if !ok {
		return -1
	}
	return slices.IndexFunc(members, func(m member) bool {
		before, ok := m.Authenticator.(credential.Looker)
		return ok && before.Looks().Covers(l.Looks())
	})
}

// taking is the member that takes off what a looks for, in exactly its place, so that
// nobody passes both; -1 when there is none.
func taking(members []member, a filter.Authenticator) int {
	l, ok := a.(credential.Looker)
	if !ok {
		return -1
	}
	return slices.IndexFunc(members, func(m member) bool {
		before, ok := m.Authenticator.(credential.Taker)
		return ok && before.Takes() && before.Looks().Same(l.Looks())
	})
}

// nothing says that a filter finds nothing, and what to write instead.
func nothing(m member, i int, kind string, a filter.Authenticator) string {
	s := fmt.Sprintf("%s never finds a credential, and every request is refused: %s [%d] looks in the same place (%s), and takes off what it finds; ",
		kind, m.kind, i, a.(credential.Looker).Looks().String())
	if kind == "jwt" && m.kind == "jwt" {
		s += "write one jwt that asks for all that both do, or "
	}
	return s + fmt.Sprintf("have one of them look elsewhere, by header, prefix, cookie or query, or [%d] leave it with forward: true", i)
}

// never says that a filter can never decide, and what to write instead.
func never(m member, i int, kind string, a filter.Authenticator) string {
	s := fmt.Sprintf("%s is never asked: %s [%d] looks in the same place (%s), and the first whose credential is there decides, so what is good for the second is refused; ",
		kind, m.kind, i, a.(credential.Looker).Looks().String())
	if kind == "jwt" && m.kind == "jwt" {
		return s + "write one jwt with both under issuers"
	}
	return s + "have one of them look elsewhere, by header, prefix, cookie or query"
}

// kinds names the members.
func kinds(members []member) string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.kind
	}
	return strings.Join(names, ", ")
}

// details are the members' own settings.
func details(members []member) string {
	var b strings.Builder
	for _, m := range members {
		if m.explains != nil {
			b.WriteString(". " + m.kind + ": " + m.explains.Explain())
		}
	}
	return b.String()
}
