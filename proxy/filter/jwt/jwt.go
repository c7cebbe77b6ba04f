package jwt

import (
	"fmt"
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/consumer"
	"lintel.dev/lintel/proxy/filter/credential"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// Filter verifies the bearer token of every request.
type Filter struct {
	verifier
	place     credential.Place
	forward   bool
	anonymous bool
	realm     string
	scopeList string
	denials   []denials     // none: no token is withdrawn
	claimed   *firewall.Set // names of claims_to_headers; nil when none
	known     *consumer.Directory
}

// OnRequest sets x.Identity, or refuses.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	f.clean(x)
	raw, ref := f.credential(x)
	if ref != nil {
		if f.anonymous && ref.code == "no-token" {
			return filter.Next
		}
		return filter.Refuse(f.fault(ref))
	}
	good, ref := f.verify(x, raw)
	if ref == nil && good.bound != nil {
		ref = proven(x, good.bound)
	}
	if ref == nil && len(f.denials) > 0 {
		ref = f.withdrawn(x, good)
	}
	if ref != nil {
		return filter.Refuse(f.fault(ref))
	}
	x.Identity = good.identity
	if good.consumer != "" {
		if c := f.known.Named(good.consumer); c != nil {
			x.Consumer = c.Name
		}
	}
	if !f.forward {
		f.place.Take(x)
	}
	for _, h := range good.headers {
		x.Request.Header.Add(h.Name, h.Value)
	}
	return filter.Next
}

func (f *Filter) clean(x *exchange.Exchange) {
	if f.claimed != nil {
		x.Removed += f.claimed.CleanRequest(x)
	}
}

// credential finds the token, and has it logged nowhere.
func (f *Filter) credential(x *exchange.Exchange) (string, *refusal) {
	raw, n := f.place.Find(x)
	f.place.Hide(x)
	switch {
	case n == 0:
		return "", noToken()
	case n > 1:
		return "", &refusal{status: http.StatusBadRequest, code: "many-tokens", oauth: "invalid_request", text: "more than one credential was sent"}
	case raw == "":
		return "", badToken("the token is empty", nil)
	}
	return raw, nil
}

// Presence implements filter.Authenticator.
func (f *Filter) Presence(x *exchange.Exchange) filter.Presence {
	if _, n := f.place.Find(x); n == 0 {
		return filter.Absent
	}
	return filter.Present
}

// Missing implements filter.Authenticator.
func (f *Filter) Missing() *exchange.Fault { return f.fault(noToken()) }

// Skip implements filter.Authenticator. What nobody has verified is not
// forwarded, whatever forward says.
func (f *Filter) Skip(x *exchange.Exchange) {
	f.clean(x)
	f.place.Remove(x)
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	now := f.now()
	var b strings.Builder
	fmt.Fprintf(&b, "token in %s; ", f.place.String())
	for _, t := range f.trusts {
		var keys []string
		for _, s := range t.sources {
			keys = append(keys, s.explain(now))
		}
		audience := "any (not checked)"
		if len(t.rules.own.Audiences) > 0 {
			audience = strings.Join(t.rules.own.Audiences, " ")
		}
		fmt.Fprintf(&b, "issuer %s; audience %s; algorithms %s; keys %s; ",
			strings.Join(t.rules.own.Iss, " "), audience, strings.Join(t.algs, " "), strings.Join(keys, ", "))
	}
	fmt.Fprintf(&b, "scopes [%s]; without token: %s; bound to a certificate: %s; %d verified tokens kept",
		f.scopeList, f.cfg.Anonymous, f.cfg.Confirmation, f.cache.len())
	return b.String()
}
