package extauthz

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/ask"
	"lintel.dev/lintel/proxy/filter/firewall"
	"lintel.dev/lintel/proxy/store"
)

// verdict is what an answer comes to. It is read only: exchanges share it.
type verdict struct {
	allowed    bool
	forService []exchange.Field
	forClient  []exchange.Field
	identity   *exchange.Identity
	consumer   string

	status int // of a refusal
	body   []byte
	cut    bool
}

// ask puts the question and reads the answer.
func (f *Filter) ask(ctx context.Context, q *ask.Question) (store.Reply[*verdict], error) {
	a, err := f.client.Ask(ctx, q)
	if err != nil {
		return store.Reply[*verdict]{}, err
	}
	v, err := f.read(a)
	if err != nil {
		return store.Reply[*verdict]{}, err
	}
	r := store.Reply[*verdict]{Value: v, Alone: personal(a)}
	if f.keepable(a, v) {
		r.Keep = f.Cache.TTL
	}
	return r, nil
}

// personal answers go to one asker only: a cookie that is set belongs to one
// browser, however alike two of them ask. Two anonymous users must not share the
// state of a login.
func personal(a *ask.Answer) bool { return a.Get("Set-Cookie") != "" }

// largest is what one remembered answer may take, in bytes.
const largest = 16 << 10

func (f *Filter) keepable(a *ask.Answer, v *verdict) bool {
	if !v.allowed && v.status != http.StatusUnauthorized && v.status != http.StatusForbidden {
		return false
	}
	size := len(v.body)
	for _, list := range [][]exchange.Field{v.forService, v.forClient} {
		for _, h := range list {
			size += len(h.Name) + len(h.Value)
		}
	}
	return size <= largest && !strings.Contains(strings.ToLower(a.Get("Cache-Control")), "no-store")
}

// read judges an answer. One that says neither yes nor no is a failure of the
// authorizer's.
func (f *Filter) read(a *ask.Answer) (*verdict, error) {
	switch {
	case a.Status >= 200 && a.Status < 300:
		v := &verdict{allowed: true, forService: pick(a, f.toService), forClient: pick(a, f.toClient)}
		return v, f.identity(a, v)
	case a.Status >= 300 && a.Status < 500 && a.Status != http.StatusNotModified:
		v := &verdict{status: a.Status, forClient: pick(a, f.denied), body: a.Body, cut: a.Cut}
		for _, name := range []string{"Content-Type", "Content-Encoding"} {
			if value := a.Get(name); value != "" && len(a.Body) > 0 && (f.denied == nil || !f.denied.Match(name)) {
				v.forClient = append(v.forClient, exchange.Field{Name: name, Value: value})
			}
		}
		return v, nil
	}
	return nil, fmt.Errorf("ext_authz: the authorizer answered %d, expected 2xx, 3xx or 4xx", a.Status)
}

// pick takes the fields of names.
func pick(a *ask.Answer, names *firewall.Set) []exchange.Field {
	if names == nil {
		return nil
	}
	var out []exchange.Field
	for _, h := range a.Header {
		if names.Match(h.Name) {
			out = append(out, h)
		}
	}
	// In one order, whatever order they came in.
	slices.SortStableFunc(out, func(a, b exchange.Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// identity reads who the user is. Nobody is made of an answer that does not say.
func (f *Filter) identity(a *ask.Answer, v *verdict) error {
	m := &f.Identity
	if m.Consumer != "" {
		v.consumer = f.consumers[a.Get(m.Consumer)]
	}
	subject := ""
	if m.Subject != "" {
		subject = a.Get(m.Subject)
	}
	if subject == "" {
		return nil
	}
	v.identity = &exchange.Identity{Method: "ext_authz", Issuer: m.Issuer, Subject: subject,
		Roles: list(a, m.Roles, false), Scope: list(a, m.Scope, true)}
	claims := map[string]any{"iss": m.Issuer, "sub": subject}
	for claim, name := range m.Claims {
		if value := a.Get(name); value != "" {
			claims[claim] = value
		}
	}
	v.identity.Claims = claims
	for _, s := range append([]string{subject}, v.identity.Roles...) {
		if !utf8.ValidString(s) {
			return fmt.Errorf("ext_authz: the authorizer's answer names a user or role in something other than UTF-8")
		}
	}
	return nil
}

// list splits every line of a header at commas, and at spaces too if told so.
func list(a *ask.Answer, name string, spaces bool) []string {
	if name == "" {
		return nil
	}
	var out []string
	for _, h := range a.Header {
		if !exchange.EqualFold(h.Name, name) {
			continue
		}
		for _, s := range strings.FieldsFunc(h.Value, func(r rune) bool { return r == ',' || spaces && r == ' ' }) {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}

// refuse gives the client the authorizer's own answer. A gRPC caller could not
// read it, and one that is too long is not there.
func (v *verdict) refuse(x *exchange.Exchange) filter.Verdict {
	if v.cut || x.IsGRPC() {
		fault := &exchange.Fault{Source: exchange.FromPolicy, Status: v.status, Code: "authz-denied", Title: "Not authorized",
			Detail: "the authorizer refuses this request"}
		for _, h := range v.forClient {
			switch strings.ToLower(h.Name) {
			case "content-type", "content-encoding", "cache-control": // the problem has its own
			default:
				fault.Header = append(fault.Header, h)
			}
		}
		if x.IsGRPC() && v.status < 400 { // a redirect to a login
			fault.Status = http.StatusUnauthorized
		}
		return filter.Refuse(fault)
	}
	x.Answer(v.status, "", v.body)
	for _, h := range v.forClient {
		x.Response.Header.Add(h.Name, h.Value)
	}
	if !x.Response.Header.Has("Cache-Control") {
		x.Response.Header.Set("Cache-Control", "no-store")
	}
	return filter.Answered
}
