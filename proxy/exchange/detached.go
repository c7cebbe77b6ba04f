package exchange

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Detached is a copy of x as it is asked now: the request without a body, and
// what is known of who asks. It shares no memory with x's connection, has no
// client to answer, and nobody's deadline.
func (x *Exchange) Detached() *Exchange {
	r := &x.Request
	y := &Exchange{
		Start: time.Now(), ID: strings.Clone(x.ID), Client: x.Client, ClientIP: x.ClientIP, Peer: x.Peer, Trace: x.Trace,
		Consumer: strings.Clone(x.Consumer), Vouched: x.Vouched, Route: x.Route, Pattern: x.Pattern, Side: x.Side, Removed: x.Removed,
		Priority: x.Priority,
		Original: Original{
			Method: strings.Clone(x.Original.Method), Scheme: strings.Clone(x.Original.Scheme),
			Authority: strings.Clone(x.Original.Authority), Path: strings.Clone(x.Original.Path), Query: strings.Clone(x.Original.Query),
		},
		Request: Request{
			Method: strings.Clone(r.Method), Scheme: strings.Clone(r.Scheme), Authority: strings.Clone(r.Authority),
			Target: strings.Clone(r.Target), Path: strings.Clone(r.Path), Query: strings.Clone(r.Query),
			Proto: strings.Clone(r.Proto), Header: r.Header.Clone(),
		},
	}
	y.Trace.State, y.Trace.Memory = strings.Clone(x.Trace.State), strings.Clone(x.Trace.Memory)
	for _, p := range x.Params {
		y.Params = append(y.Params, Param{strings.Clone(p.Name), strings.Clone(p.Value)})
	}
	if id := x.Identity; id != nil {
		c := *id
		c.Method, c.Issuer, c.Subject = strings.Clone(id.Method), strings.Clone(id.Issuer), strings.Clone(id.Subject)
		c.Roles, c.Scope = clones(id.Roles), clones(id.Scope)
		y.Identity = &c
	}
	if t := x.Txn; t != nil {
		c := *t
		c.Token, c.ID, c.Subject, c.Scope = strings.Clone(t.Token), strings.Clone(t.ID), strings.Clone(t.Subject), strings.Clone(t.Scope)
		c.ReqWL, c.Minter, c.Memory = strings.Clone(t.ReqWL), strings.Clone(t.Minter), strings.Clone(t.Memory)
		c.Chain, c.Context, c.Rctx = clones(t.Chain), maps.Clone(t.Context), maps.Clone(t.Rctx)
		c.Deadline, c.Spent = time.Time{}, nil
		y.Txn = &c
	}
	return y
}

func clones(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = strings.Clone(out[i])
	}
	return out
}
