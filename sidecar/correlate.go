package sidecar

import (
	"net/http"

	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// correlate is the first filter of the outbound side: it finds the transaction
// that the app's call belongs to, by the tracestate member that the inbound
// side gave it or by the Txn-Token the app passes on. A trace id proves nothing,
// so none is looked at; a token that is not in flight here is worth nothing.
type correlate struct{ memory *txntoken.Memory }

// OnRequest implements filter.RequestFilter.
func (c *correlate) OnRequest(x *exchange.Exchange) filter.Verdict {
	h := &x.Request.Header
	if site := h.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		// A page in somebody's browser, not the app: it must not call as it.
		return refuse(http.StatusForbidden, "cross-site", "Not for pages of other sites", nil)
	}
	token := h.Get(txntoken.HeaderTxn)
	if x.Shadow {
		return filter.Next
	}
	found := c.memory.ByState(h.Joined("tracestate"))
	if found == nil && token != "" {
		found = c.memory.ByToken(token)
	}
	h.Del(txntoken.HeaderTxn)
	h.Del(txntoken.HeaderHop)
	if found != nil {
		t := *found
		x.Txn, x.Priority = &t, t.Priority
		if t.Token != "" && !t.Self {
			// Caches and rate limits tell users apart by it: issuer and roles too.
			x.Identity = txntoken.Identity(&t)
		}
	}
	return filter.Next
}
