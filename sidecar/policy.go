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
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/route"
)

// policy says who may call. It runs on every exchange, not per connection, so
// a peer that loses its permission loses it on the connection it has.
type policy struct {
	service    string
	rules      []rule
	require    []requirement // on top of whatever allows
	intentions *intentions   // nil when Consul has no say
	byDefault  bool          // Consul's own default counts too
}

// rule is one allow entry. All that it gives must match.
type rule struct {
	from    txntoken.Patterns
	methods []string
	paths   []route.Pattern
	user    bool
	way     way
}

func newPolicy(service string, cfg config.Policy, id *compose.Identity, in *intentions) (*policy, error) {
	p := &policy{service: service, intentions: in, byDefault: cfg.Default == "consul"}
	if !cfg.Intentions {
		p.intentions = nil
	}
	for i, a := range cfg.Allow {
		r := rule{methods: a.Methods, user: a.User}
		ids, err := id.Patterns(a.From)
		if err == nil {
			r.from, err = txntoken.ParsePatterns(ids)
		}
		if err != nil {
			return nil, fmt.Errorf("sidecar.policy.allow[%d].from: %w", i, err)
		}
		for _, path := range a.Paths {
			pattern, err := route.ParsePattern(path)
			if err != nil {
				return nil, fmt.Errorf("sidecar.policy.allow[%d].paths: %w", i, err)
			}
			r.paths = append(r.paths, pattern)
		}
		if r.way.through, err = steps(a.Through, id); err != nil {
			return nil, fmt.Errorf("sidecar.policy.allow[%d].through: %w", i, err)
		}
		if r.way.scope, err = scopeWords(a.Scope); err != nil {
			return nil, fmt.Errorf("sidecar.policy.allow[%d].scope: %w", i, err)
		}
		p.rules = append(p.rules, r)
	}
	var err error
	p.require, err = newRequirements(cfg.Require, id)
	return p, err
}

// OnRequest implements filter.RequestFilter.
func (p *policy) OnRequest(x *exchange.Exchange) filter.Verdict {
	if f := p.decide(x); f != nil {
		return filter.Refuse(f)
	}
	return filter.Next
}

// decide returns why a call is refused, nil when it is not.
func (p *policy) decide(x *exchange.Exchange) *exchange.Fault {
	if f := p.admit(x); f != nil {
		return f
	}
	for i := range p.require {
		if f := p.require[i].check(x, i); f != nil {
			return f
		}
	}
	return nil
}

// admit finds a rule or an intention that lets the call in. What an intention says
// against this very caller no rule outweighs: a denial in Consul holds everywhere.
func (p *policy) admit(x *exchange.Exchange) *exchange.Fault {
	var r ruling
	if p.intentions != nil {
		r = p.intentions.decide(x, p.byDefault)
	}
	if r.allowed {
		return nil
	}
	why := "no allow rule names it"
	if n := p.rule(x); n >= 0 {
		if !r.forbids() {
			return nil
		}
		why = fmt.Sprintf("sidecar.policy.allow[%d] would allow it", n)
	}
	if p.intentions != nil {
		why += "; " + r.String()
	}
	// What the answer says may travel to the client at the edge, so names and
	// rules go to the log only.
	return &exchange.Fault{
		Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "peer-denied", Title: "Caller is not allowed",
		Detail: fmt.Sprintf("this caller may not %s this path of %s", x.Request.Method, p.service),
		Err:    fmt.Errorf("%s may not %s %s: %s", x.Peer.ID, x.Request.Method, x.Request.Path, why),
		Close:  !p.mayEver(x.Peer.ID), Proxy: "http_request_denied",
	}
}

// rule is the first allow rule that fits, -1 when none does.
func (p *policy) rule(x *exchange.Exchange) int {
	for i := range p.rules {
		if p.rules[i].allows(x) {
			return i
		}
	}
	return -1
}

// Account implements filter.Accounter: it says what decided.
func (p *policy) Account(x *exchange.Exchange) string {
	if f := p.admit(x); f == nil { // as decide: what is required comes on top
		for i := range p.require {
			if f := p.require[i].check(x, i); f != nil {
				return f.Err.Error()
			}
		}
	}
	var r ruling
	if p.intentions != nil {
		r = p.intentions.decide(x, p.byDefault)
	}
	switch n := p.rule(x); {
	case n >= 0 && r.forbids():
		return fmt.Sprintf("sidecar.policy.allow[%d] would allow %s; %s", n, x.Peer.ID, r)
	case n >= 0:
		return fmt.Sprintf("sidecar.policy.allow[%d] allows %s", n, x.Peer.ID)
	case p.intentions == nil:
		return "no allow rule fits " + x.Peer.ID
	}
	return fmt.Sprintf("no allow rule fits %s; %s", x.Peer.ID, r)
}

// mayEver reports whether some other request of this peer might be allowed. A
// peer that has no business here at all loses its connection too.
func (p *policy) mayEver(peer string) bool {
	if p.intentions != nil && p.intentions.bans(peer) {
		return false
	}
	for i := range p.rules {
		if p.rules[i].from.Match(peer) {
			return true
		}
	}
	return p.intentions != nil && p.intentions.mentions(peer, p.byDefault)
}

func (r *rule) allows(x *exchange.Exchange) bool {
	switch {
	case !r.from.Match(x.Peer.ID):
	case r.user && (x.Identity == nil || x.Identity.Subject == ""):
	case len(r.methods) > 0 && !slices.Contains(r.methods, x.Request.Method):
	case len(r.paths) > 0 && !slices.ContainsFunc(r.paths, func(p route.Pattern) bool { return p.Matches(x.Request.Path) }):
	default:
		came, _ := r.way.came(chainOf(x))
		scoped, _ := r.way.scoped(x)
		return came && scoped
	}
	return false
}

// InForce says in one line which rules decide.
func (p *policy) InForce() string {
	parts := []string{fmt.Sprintf("%d allow rules", len(p.rules))}
	if p.intentions != nil {
		if len(p.rules) > 0 {
			parts[0] += " for those whom no intention denies by name"
		}
		parts = append(parts, p.intentions.describe(p.byDefault))
	} else {
		parts = append(parts, "no Consul intentions")
	}
	all := strings.Join(parts, ", then ") + "; everything else is denied"
	for i := range p.require {
		all += "; on top, required: " + p.require[i].text
	}
	return all
}

// Explain implements filter.Explainer.
func (p *policy) Explain() string { return p.InForce() }

// warnOfStrangers tells of rules that let nobody in: the trust domain they name
// is not ours and not federated.
func (c *compiler) warnOfStrangers(p config.Policy) {
	if c.offline {
		return // the own trust domain is known with the certificate
	}
	for i, a := range p.Allow {
		ids, _ := c.id.Patterns(a.From)
		for _, stranger := range c.id.Unknown(ids) {
			c.log.Warn("policy: a rule names a trust domain that is neither ours nor in identity.federation: nobody of it gets in",
				"rule", fmt.Sprintf("sidecar.policy.allow[%d]", i), "from", stranger, "trust_domain", c.id.TrustDomain)
		}
	}
}
