package jwt

import (
	"fmt"
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// Filter verifies the bearer token of every request.
type Filter struct {
	verifier
	header    string
	forward   bool
	anonymous bool
	realm     string
	scopeList string
	claimed   *firewall.Set     // names of claims_to_headers; nil when none
	consumers map[string]string // known consumers, by name
}

// OnRequest sets x.Identity, or refuses.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	if f.claimed != nil {
		x.Removed += f.claimed.CleanRequest(x)
	}
	raw, ref := f.credential(x)
	if ref != nil {
		if f.anonymous && ref.code == "no-token" {
			return filter.Next
		}
		return filter.Refuse(f.fault(ref))
	}
	good, ref := f.verify(x, raw)
	if ref != nil {
		return filter.Refuse(f.fault(ref))
	}
	x.Identity = good.identity
	if name := f.consumers[good.consumer]; name != "" {
		x.Consumer = name
	}
	if !f.forward {
		x.Request.Header.Del(f.header)
	}
	for _, h := range good.headers {
		x.Request.Header.Add(h.Name, h.Value)
	}
	return filter.Next
}

// credential finds the token. Other places than a header (a cookie, the query)
// belong here.
func (f *Filter) credential(x *exchange.Exchange) (string, *refusal) {
	switch x.Request.Header.Count(f.header) {
	case 0:
		return "", noToken()
	case 1:
	default:
		return "", &refusal{status: http.StatusBadRequest, code: "many-tokens", oauth: "invalid_request", text: "more than one credential was sent"}
	}
	value := x.Request.Header.Get(f.header)
	scheme, rest, spaced := strings.Cut(value, " ")
	if exchange.EqualFold(scheme, "Bearer") {
		if rest = strings.Trim(rest, " "); rest == "" {
			return "", badToken("the token is empty", nil)
		}
		return rest, nil
	}
	if spaced || value == "" || exchange.EqualFold(f.header, "Authorization") {
		return "", noToken() // another scheme's credential, or none
	}
	return value, nil
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	now := f.now()
	var keys []string
	for _, s := range f.sources {
		keys = append(keys, s.explain(now))
	}
	audience := "any (not checked)"
	if len(f.rules.Audiences) > 0 {
		audience = strings.Join(f.rules.Audiences, " ")
	}
	return fmt.Sprintf("token in %s; issuer %s; audience %s; algorithms %s; keys %s; scopes [%s]; without token: %s; %d verified tokens kept",
		f.header, strings.Join(f.rules.Iss, " "), audience, strings.Join(f.algs, " "), strings.Join(keys, ", "), f.scopeList, f.rules.Anonymous, f.cache.len())
}
