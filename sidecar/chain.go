package sidecar

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
)

// way is what a transaction must have come through, and what it may do.
type way struct {
	through []txntoken.Patterns // each of them, in this order
	any     txntoken.Patterns
	direct  txntoken.Patterns
	began   txntoken.Patterns
	scope   []string
}

// requirement is a way that calls of some kind must have come.
type requirement struct {
	methods []string
	paths   []route.Pattern
	whose   string
	way     way
	text    string // for explain and the log
}

func newRequirements(list []config.Require, id *compose.Identity) ([]requirement, error) {
	out := make([]requirement, 0, len(list))
	for i, c := range list {
		fail := func(key string, err error) error {
			return fmt.Errorf("sidecar.policy.require[%d].%s: %w", i, key, err)
		}
		r := requirement{methods: c.Methods, whose: c.For}
		var err error
		if r.paths, err = patternsOf(c.Paths); err != nil {
			return nil, fail("paths", err)
		}
		if r.way.through, err = steps(c.Through, id); err != nil {
			return nil, fail("through", err)
		}
		for key, part := range map[string]struct {
			list []string
			into *txntoken.Patterns
		}{"through_any": {c.ThroughAny, &r.way.any}, "direct_from": {c.DirectFrom, &r.way.direct}, "began_at": {c.BeganAt, &r.way.began}} {
			if *part.into, err = workloads(part.list, id); err != nil {
				return nil, fail(key, err)
			}
		}
		if r.way.scope, err = scopeWords(c.Scope); err != nil {
			return nil, fail("scope", err)
		}
		if r.way.free() {
			return nil, fmt.Errorf("sidecar.policy.require[%d]: it asks for nothing: give through, through_any, direct_from, began_at or scope", i)
		}
		r.text = describe(&c)
		out = append(out, r)
	}
	return out, nil
}

// describe says in short what a requirement is, as it is configured.
func describe(c *config.Require) string {
	s := "calls"
	if c.For == "user" || c.For == "workload" {
		s = c.For + " calls"
	}
	for _, part := range []struct {
		key  string
		list []string
	}{{"", c.Methods}, {"to", c.Paths}, {"through", c.Through}, {"through one of", c.ThroughAny}, {"direct from", c.DirectFrom},
		{"begun at", c.BeganAt}, {"with scope", c.Scope}} {
		if len(part.list) > 0 {
			s += strings.TrimRight(" "+part.key, " ") + " " + strings.Join(part.list, ", ")
		}
	}
	return s
}

func patternsOf(paths []string) (out []route.Pattern, err error) {
	for _, p := range paths {
		pattern, err := route.ParsePattern(p)
		if err != nil {
			return nil, err
		}
		out = append(out, pattern)
	}
	return out, nil
}

func workloads(list []string, id *compose.Identity) (txntoken.Patterns, error) {
	ids, err := id.Patterns(list)
	if err != nil {
		return txntoken.Patterns{}, err
	}
	return txntoken.ParsePatterns(ids)
}

// steps are the single patterns of a list whose order means something.
func steps(list []string, id *compose.Identity) ([]txntoken.Patterns, error) {
	out := make([]txntoken.Patterns, len(list))
	for i := range list {
		var err error
		if out[i], err = workloads(list[i:i+1], id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// scopeWords refuses what can never be a word of a scope (RFC 6749 section 3.3).
func scopeWords(list []string) ([]string, error) {
	for _, w := range list {
		if w == "" || strings.ContainsAny(w, " \t\"\\") {
			return nil, fmt.Errorf("%q is no single word of a scope", w)
		}
	}
	return list, nil
}

func (w *way) free() bool {
	return len(w.through) == 0 && w.any.Empty() && w.direct.Empty() && w.began.Empty() && len(w.scope) == 0
}

// chainOf is the verified chain; a caller about whom nothing more is known
// stands alone in it.
func chainOf(x *exchange.Exchange) []string {
	switch {
	case x.Txn != nil && len(x.Txn.Chain) > 0:
		return x.Txn.Chain
	case x.Peer.ID != "":
		return []string{x.Peer.ID}
	}
	return nil
}

// came reports whether a chain fulfils the way, and if not what it lacks.
func (w *way) came(chain []string) (bool, string) {
	if w.free() {
		return true, ""
	}
	if len(chain) == 0 {
		return false, "nobody is known to have sent it"
	}
	at := 0
	for _, id := range chain {
		if at < len(w.through) && w.through[at].Match(id) {
			at++
		}
	}
	switch {
	case at < len(w.through):
		return false, fmt.Sprintf("step %d of through is missing", at+1)
	case !w.any.Empty() && !slices.ContainsFunc(chain, w.any.Match):
		return false, "none of through_any is in it"
	case !w.direct.Empty() && !w.direct.Match(chain[len(chain)-1]):
		return false, "the caller is not one of direct_from"
	case !w.began.Empty() && !w.began.Match(chain[0]):
		return false, "it did not begin at one of began_at"
	}
	return true, ""
}

// scoped reports whether the Txn-Token's scope has every word that is asked
// for. A workload's own token has none.
func (w *way) scoped(x *exchange.Exchange) (bool, string) {
	for _, word := range w.scope {
		if x.Identity == nil || !slices.Contains(x.Identity.Scope, word) {
			return false, word
		}
	}
	return true, ""
}

// about reports whether the requirement is about this call.
func (r *requirement) about(x *exchange.Exchange) bool {
	user := x.Identity != nil && x.Identity.Subject != ""
	switch {
	case r.whose == "user" && !user, r.whose == "workload" && user:
	case len(r.methods) > 0 && !slices.Contains(r.methods, x.Request.Method):
	case len(r.paths) > 0 && !slices.ContainsFunc(r.paths, func(p route.Pattern) bool { return p.Matches(x.Request.Path) }):
	default:
		return true
	}
	return false
}

// check returns why the call is refused although its caller may call, nil when
// it is not. Names of services go to the log only.
func (r *requirement) check(x *exchange.Exchange, n int) *exchange.Fault {
	if !r.about(x) {
		return nil
	}
	chain := chainOf(x)
	if ok, why := r.way.came(chain); !ok {
		f := &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "chain-denied",
			Title:  "The call did not come through the services it must come through",
			Detail: fmt.Sprintf("this %s is taken only by another way through the mesh", r.what()),
			Err:    fmt.Errorf("require[%d]: chain %s: %s", n, strings.Join(chain, " → "), why), Proxy: "http_request_denied"}
		if x.Shadow {
			f.Detail = fmt.Sprintf("require[%d]: %s (explain knows no chain but the caller)", n, why)
		}
		return f
	}
	if ok, word := r.way.scoped(x); !ok {
		return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "scope-denied",
			Title:  "The transaction's scope does not cover the call",
			Detail: fmt.Sprintf("the Txn-Token's scope lacks %s", word),
			Err:    fmt.Errorf("require[%d]: scope lacks %q", n, word), Proxy: "http_request_denied"}
	}
	return nil
}

func (r *requirement) what() string {
	switch r.whose {
	case "user":
		return "call on behalf of a user"
	case "workload":
		return "call on behalf of no user"
	}
	return "call"
}
