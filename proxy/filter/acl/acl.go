package acl

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/consumer"
)

// Config of the filter. What is given must all be so.
type Config struct {
	Consumers []string `yaml:"consumers" listify:"true" doc:"the consumers that may pass; with groups, those too"`
	Groups    []string `yaml:"groups" listify:"true" doc:"groups whose consumers may pass"`
	Roles     []string `yaml:"roles" listify:"true" doc:"roles of which the user must have one"`
	Scopes    []string `yaml:"scopes" listify:"true" doc:"scopes that the user's token must all have"`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("acl", "Lets only these consumers, groups, roles or scopes through, of whoever an authentication filter before it has found out.", build)
}

// Filter admits or refuses.
type Filter struct {
	known         *consumer.Directory
	allow         consumer.Allow
	roles, scopes []string
}

func build(c *Config, env *filter.Env) (any, error) {
	if len(c.Consumers)+len(c.Groups)+len(c.Roles)+len(c.Scopes) == 0 {
		return nil, filter.Errorf("", "is empty and would let everybody through: want at least one of consumers, groups, roles and scopes")
	}
	for i, s := range c.Scopes {
		if s == "" || strings.ContainsAny(s, " \"\\") {
			return nil, filter.Errorf(fmt.Sprintf("scopes[%d]", i), "%q is no scope: want one word without quotes (RFC 6749 section 3.3)", s)
		}
	}
	known, err := consumer.Known(env)
	if err != nil {
		return nil, err
	}
	allow, err := consumer.NewAllow(known, c.Consumers, c.Groups)
	if err != nil {
		return nil, err
	}
	return &Filter{known, allow, slices.Clone(c.Roles), slices.Clone(c.Scopes)}, nil
}

// OnRequest refuses whom the lists do not name, and everybody who is not known.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	if !f.allow.Any() && !f.allow.Admits(f.known.Named(x.Consumer)) {
		return filter.Refuse(consumer.Refusal())
	}
	if len(f.roles) > 0 && (x.Identity == nil || !slices.ContainsFunc(x.Identity.Roles, func(r string) bool { return slices.Contains(f.roles, r) })) {
		return filter.Refuse(refusal("role-refused", "the user has no role that may do this"))
	}
	for _, want := range f.scopes {
		if x.Identity == nil || !slices.Contains(x.Identity.Scope, want) {
			return filter.Refuse(refusal("insufficient-scope", "the token lacks a required scope"))
		}
	}
	return filter.Next
}

func refusal(code, detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: code, Title: "Not permitted",
		Detail: detail, Proxy: "http_request_denied"}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	var parts []string
	if !f.allow.Any() {
		parts = append(parts, f.allow.String())
	}
	if len(f.roles) > 0 {
		parts = append(parts, fmt.Sprintf("one of the roles %v", f.roles))
	}
	if len(f.scopes) > 0 {
		parts = append(parts, fmt.Sprintf("all of the scopes %v", f.scopes))
	}
	return "lets through " + strings.Join(parts, ", with ")
}
