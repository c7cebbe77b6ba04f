package authorize

import (
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // now.getHours("Europe/Berlin") must not depend on the image it runs in

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"lintel.dev/lintel/proxy/exchange"
)

// facts is one exchange as expressions see it. What they do not ask for is not
// looked at.
type facts struct {
	f                      *Filter
	x                      *exchange.Exchange
	at                     time.Time // now, once it was asked for
	headers, query, params table
	badQuery               error
	caller                 bool // it was asked who is calling, or for header fields that an authorizer may set
}

var (
	pool     = sync.Pool{New: func() any { return new(facts) }}
	noStrs   = mapOf(map[string]string{})
	noClaims = types.NewStringInterfaceMap(types.DefaultTypeAdapter, map[string]any{})
)

// Parent implements cel.Activation.
func (*facts) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (v *facts) ResolveName(name string) (any, bool) {
	x := v.x
	switch name {
	case "request.method":
		return types.String(x.Request.Method), true
	case "request.scheme":
		return types.String(x.Request.Scheme), true
	case "request.host":
		return types.String(hostOf(x.Request.Authority)), true
	case "request.path":
		return types.String(x.Request.Path), true
	case "request.query":
		if v.query.x == nil {
			v.query.find, v.query.x = queryParameter, x
			v.badQuery = checkQuery(x.Request.Query)
		}
		if v.badQuery != nil {
			return types.WrapErr(v.badQuery), true
		}
		return &v.query, true
	case "request.params":
		v.params.find, v.params.x = pathParameter, x
		return &v.params, true
	case "request.headers":
		v.caller = true
		v.headers.find, v.headers.x, v.headers.list = headerField, x, true
		return &v.headers, true
	case "request.route":
		return types.String(x.Route), true
	case "consumer.name":
		v.caller = true
		return types.String(x.Consumer), true
	case "peer.id":
		return types.String(x.Peer.ID), true
	case "peer.trust_domain":
		return types.String(x.Peer.TrustDomain), true
	case "client.ip":
		if !x.ClientIP.IsValid() {
			return types.String(""), true
		}
		return types.String(x.ClientIP.String()), true
	case "now":
		if v.at.IsZero() {
			v.at = v.f.now()
		}
		return types.Timestamp{Time: v.at}, true
	}
	return v.who(name)
}

func (v *facts) who(name string) (any, bool) {
	v.caller = true
	id := v.x.Identity
	if id == nil {
		id = &nobody
	}
	switch name {
	case "identity.subject":
		return types.String(id.Subject), true
	case "identity.issuer":
		return types.String(id.Issuer), true
	case "identity.roles":
		return types.NewStringList(types.DefaultTypeAdapter, id.Roles), true
	case "identity.scope":
		return types.NewStringList(types.DefaultTypeAdapter, id.Scope), true
	case "claims":
		if id.Claims == nil {
			return noClaims, true
		}
		return types.NewStringInterfaceMap(types.DefaultTypeAdapter, id.Claims), true
	case "consumer.tags":
		if m := v.f.tags[v.x.Consumer]; m != nil {
			return m, true
		}
		return noStrs, true
	}
	return nil, false
}

var nobody exchange.Identity

// hostOf is the name in an authority, in lower case and without port or final
// dot: what routes are matched by.
func hostOf(authority string) string {
	host := authority
	if strings.HasPrefix(host, "[") {
		if i := strings.IndexByte(host, ']'); i >= 0 {
			host = host[:i+1]
		}
	} else if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// judge evaluates one expression for x.
func (e *expression) judge(v *facts) (bool, error) {
	out, _, err := e.program.Eval(v)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, notBool{out}
	}
	return bool(b), nil
}

type notBool struct{ v ref.Val }

func (e notBool) Error() string { return "expected true or false, found " + e.v.Type().TypeName() }
