package sidecar

import (
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
