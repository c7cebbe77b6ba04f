package sidecar

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// The headers that tell the app for whom a call is made.
const (
	headerUserID    = "X-User-Id"
	headerUserRoles = "X-User-Roles"
	headerUserScope = "X-User-Scope"
	headerTxnID     = "X-Lintel-Txn"
	headerChain     = "X-Lintel-Chain"
)

// present is the last filter of the inbound side: it shows the app what was
// verified, and remembers the transaction for the calls the app makes meanwhile.
type present struct {
	memory      *txntoken.Memory
	token       bool
	userHeaders bool
	context     []contextHeader
}

// contextHeader shows the app a part of the Txn-Token's context.
type contextHeader struct{ header, name string }

// contextHeaders checks the declared ones.
func contextHeaders(declared map[string]string) ([]contextHeader, error) {
	var out []contextHeader
	for header, name := range declared {
		switch {
		case strings.ContainsFunc(header, func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) || header == "":
			return nil, fmt.Errorf("%q is no header name: letters, digits and - are taken", header)
		case slices.ContainsFunc(framing, func(n string) bool { return exchange.EqualFold(n, header) }):
			return nil, fmt.Errorf("%s means something else: choose another name, X-Tenant say", header)
		case name == "":
			return nil, fmt.Errorf("%s: the name in the token's context is empty", header)
		}
		out = append(out, contextHeader{header, name})
	}
	slices.SortFunc(out, func(a, b contextHeader) int { return strings.Compare(a.header, b.header) })
	return out, nil
}

// framing are fields that belong to HTTP, to credentials or to Lintel.
var framing = []string{"Host", "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Content-Type", "Content-Encoding", "TE", "Trailer",
	"Upgrade", "Expect", "Via", "Forwarded", "Authorization", "Cookie", "Proxy-Authorization", txntoken.HeaderTxn, txntoken.HeaderHop,
	headerUserID, headerUserRoles, headerUserScope, headerTxnID, headerChain, "Traceparent", "Tracestate", "Accept-Encoding", "Range"}

func (p *present) showContext(h *exchange.Fields, tctx map[string]any) {
	for _, c := range p.context {
		switch v := tctx[c.name].(type) {
		case nil:
		case string:
			setSafe(h, c.header, v)
		case []any:
			list := make([]string, 0, len(v))
			for _, e := range v {
				if s, ok := e.(string); ok {
					list = append(list, s)
				}
			}
			setSafe(h, c.header, joined(list, ","))
		case bool, json.Number:
			setSafe(h, c.header, fmt.Sprint(v))
		}
	}
}

// OnRequest implements filter.RequestFilter.
func (p *present) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Txn == nil || x.Shadow {
		return filter.Next
	}
	h := &x.Request.Header
	if p.userHeaders {
		if id := x.Identity; id != nil {
			setSafe(h, headerUserID, id.Subject)
			setSafe(h, headerUserRoles, joined(id.Roles, ","))
			setSafe(h, headerUserScope, joined(id.Scope, " "))
		}
		setSafe(h, headerTxnID, x.Txn.ID)
		setSafe(h, headerChain, strings.Join(x.Txn.Chain, ", "))
	}
	if len(p.context) > 0 && !x.Txn.Self {
		p.showContext(h, x.Txn.Context)
	}
	if p.token && x.Txn.Token != "" {
		h.Set(txntoken.HeaderTxn, x.Txn.Token)
	}
	_, forget := p.memory.Remember(x.Txn) // the tracer hands Txn.Memory to the app
	x.OnDone(forget)
	return filter.Next
}

// OnResponse implements filter.ResponseFilter: it tells a Lintel that called how
// many retries have been made for it, so that it makes none on top. What the app
// says of that is not passed on.
func (p *present) OnResponse(x *exchange.Exchange) {
	h := &x.Response.Header
	h.Del(cluster.HeaderRetried)
	h.Del(cluster.HeaderApp)
	if app := cluster.OfApp(x.Fault); app != "" && x.Txn != nil {
		h.Set(cluster.HeaderApp, app) // so that it goes elsewhere with it
	}
	if x.Txn == nil || x.Txn.Spent == nil {
		return
	}
	if n := x.Txn.Spent.Load(); n > 0 {
		h.Set(cluster.HeaderRetried, strconv.Itoa(int(n)))
	}
}

// joined leaves out what holds the separator: one role must not pass for two.
func joined(list []string, separator string) string {
	kept := make([]string, 0, len(list))
	for _, s := range list {
		if s != "" && !strings.Contains(s, separator) {
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, separator)
}

// setSafe sets a field unless its value is empty or cannot stand in one.
func setSafe(h *exchange.Fields, name, value string) {
	if value == "" || strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0 {
		return
	}
	h.Set(name, value)
}

// Explain implements filter.Explainer.
func (p *present) Explain() string { return "shows the verified caller to the app" }
