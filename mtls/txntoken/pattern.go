package txntoken

import (
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Patterns is a list of SPIFFE IDs: exact ones, and all below a path when one
// ends in "/*". The zero value matches nothing.
type Patterns struct {
	exact  map[string]struct{}
	prefix []string // with the trailing slash
}

// ParsePatterns checks and compiles patterns such as spiffe://prod/ingress and
// spiffe://prod/ns/shop/*. A star anywhere else is an error.
func ParsePatterns(list []string) (Patterns, error) {
	p := Patterns{exact: make(map[string]struct{}, len(list))}
	for _, s := range list {
		base, below := strings.CutSuffix(s, "/*")
		id, err := spiffeid.FromString(base)
		if err != nil {
			return Patterns{}, fmt.Errorf("txntoken: pattern %q: expected a SPIFFE ID, or one followed by /*: %w", s, err)
		}
		switch {
		case below:
			p.prefix = append(p.prefix, base+"/")
		case id.Path() == "":
			return Patterns{}, fmt.Errorf("txntoken: pattern %q names a trust domain and no workload: write %s/* to mean all of it", s, s)
		default:
			p.exact[s] = struct{}{}
		}
	}
	return p, nil
}

// Match reports whether id, a valid SPIFFE ID, is on the list. SPIFFE IDs have
// one spelling only (no dot segments, no percent encoding), so comparing
// strings is comparing IDs.
func (p Patterns) Match(id string) bool {
	if _, ok := p.exact[id]; ok {
		return true
	}
	for _, pre := range p.prefix {
		if len(id) > len(pre) && strings.HasPrefix(id, pre) {
			return true
		}
	}
	return false
}

// Empty reports whether nothing can match.
func (p Patterns) Empty() bool { return len(p.exact) == 0 && len(p.prefix) == 0 }

// outside returns the first pattern outside a trust domain, "" when there is none.
func outside(list []string, td spiffeid.TrustDomain) string {
	for _, s := range list {
		if !inDomain(s, td.Name()) {
			return s
		}
	}
	return ""
}

// inDomain reports whether id is a SPIFFE ID of the trust domain, without
// allocating. Case is folded, so that no disguise of one of ours passes for a
// stranger's.
func inDomain(id, td string) bool {
	const scheme = "spiffe://"
	if len(id) < len(scheme)+len(td) || !strings.EqualFold(id[:len(scheme)], scheme) {
		return false
	}
	rest := id[len(scheme):]
	return strings.EqualFold(rest[:len(td)], td) && (len(rest) == len(td) || rest[len(td)] == '/')
}
