package sidecar

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// receive is the first filter of the inbound side. It finds out who calls (the
// TLS peer), who vouches for the hop (the hop token) and for whom (the
// Txn-Token), and takes both tokens off the request: nothing behind it believes
// a header.
type receive struct {
	id        *compose.Identity
	verifier  *txntoken.Verifier
	asserters txntoken.Patterns
	bearers   txntoken.Patterns // who may bring a Txn-Token that nobody vouches for
	maxChain  int
	leeway    time.Duration // negative for none
	keys      txntoken.HopKeys
}

// OnRequest implements filter.RequestFilter.
func (r *receive) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Shadow {
		return filter.Next
	}
	now := time.Now()
	if err := mtls.StillValid(x.Peer, now); err != nil {
		return refuse(http.StatusForbidden, "peer-expired", "Caller's certificate is no longer valid", err)
	}
	if err := r.id.Trusted(x.Peer, now); err != nil {
		f := refuse(http.StatusForbidden, "peer-untrusted", "Caller's certificate is no longer trusted", err)
		f.Fault().Close = true
		return f
	}
	h := &x.Request.Header
	if h.Count(txntoken.HeaderTxn) > 1 || h.Count(txntoken.HeaderHop) > 1 {
		return refuse(http.StatusBadRequest, "bad-txn-token", "More than one internal token", nil)
	}
	token, hop := h.Get(txntoken.HeaderTxn), h.Get(txntoken.HeaderHop)
	h.Del(txntoken.HeaderTxn)
	h.Del(txntoken.HeaderHop)
	if hop == "" {
		return r.foreign(x, token)
	}
	if token != "" && !r.id.Home(x.Peer.ID) && !r.bearers.Match(x.Peer.ID) {
		return refuse(http.StatusForbidden, "bad-txn-token", "Txn-Token from another trust domain",
			fmt.Errorf("a Txn-Token stays in its trust domain, and %s, which brings one, is of another: policy.token_bearers lists who may all the same", x.Peer.ID))
	}
	return r.verify(x, token, hop)
}

// foreign takes a call from a proxy that is no Lintel: it is who its
// certificate says, on no one's behalf unless policy lets it bring a Txn-Token.
func (r *receive) foreign(x *exchange.Exchange, token string) filter.Verdict {
	x.Txn = &exchange.Txn{Chain: []string{x.Peer.ID}, Retries: -1}
	if token == "" || !r.bearers.Match(x.Peer.ID) {
		return filter.Next
	}
	txn, err := r.verifier.Verify(token)
	if err != nil {
		return refuse(tokenStatus(err), "bad-txn-token", "Txn-Token is not valid here", err)
	}
	txn.Chain, txn.Retries = x.Txn.Chain, -1
	r.accept(x, txn)
	return filter.Next
}

// accept makes a verified transaction the exchange's.
func (r *receive) accept(x *exchange.Exchange, txn *exchange.Txn) {
	x.Txn = txn
	if txn.Token != "" && !txn.Self {
		x.Identity = txntoken.Identity(txn)
	}
}

func (r *receive) verify(x *exchange.Exchange, token, hop string) filter.Verdict {
	self, err := r.id.Self()
	if err != nil {
		return refuse(http.StatusServiceUnavailable, "identity", "Own identity is not in order", err)
	}
	key, err := r.keys.For(x.Client.TLS)
	if err != nil {
		return refuse(http.StatusUnauthorized, "bad-hop-token", "Hop token cannot be verified", err)
	}
	// A token that was seen before is recalled first, for its hash: that is
	// cheap. One that was not is verified last, which is not.
	txn, spent := counted()
	known := token == "" || r.verifier.Recall(token, txn)
	want := txntoken.HopExpect{Self: self, Peer: x.Peer.ID, TxnToken: token, TxnHash: txn.Hash, Asserters: r.asserters,
		MaxChain: r.maxChain, Leeway: r.leeway}
	vouched, err := key.Verify(hop, want)
	if errors.Is(err, txntoken.ErrChain) {
		return refuse(http.StatusLoopDetected, "chain-too-long", "The transaction has come through too many services", err)
	}
	if err != nil {
		return refuse(tokenStatus(err), "bad-hop-token", "Hop token is not valid here", err)
	}
	if !known {
		if err := r.verifier.VerifyInto(token, txn); err != nil {
			return refuse(tokenStatus(err), "bad-txn-token", "Txn-Token is not valid here", err)
		}
	}
	txn.Chain, txn.Deadline, txn.Retries = vouched.Chain, vouched.Deadline, vouched.Retries
	txn.Spent = spent
	txn.Priority = believed(vouched.Priority, &want)
	x.Priority = txn.Priority
	r.accept(x, txn)
	return filter.Next
}

// believed is the priority of a call. That it must never be shed is believed only
// of whom is believed what came before it: another trust domain could send any
// number of such calls.
func believed(says exchange.Priority, caller *txntoken.HopExpect) exchange.Priority {
	if says == exchange.Critical && !caller.MayAssert() {
		return exchange.Default
	}
	return says
}

// counted is a transaction with a count of its retries, in one piece of memory.
func counted() (*exchange.Txn, *atomic.Int32) {
	t := new(struct {
		exchange.Txn
		spent atomic.Int32
	})
	return &t.Txn, &t.spent
}

func tokenStatus(err error) int {
	switch {
	case errors.Is(err, txntoken.ErrForbidden):
		return http.StatusForbidden
	case errors.Is(err, txntoken.ErrIdentity):
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

func refuse(status int, code, title string, err error) filter.Verdict {
	f := &exchange.Fault{Source: exchange.FromPolicy, Status: status, Code: code, Title: title, Err: err}
	if err != nil {
		// The error names workloads, and the answer may travel to the client at the
		// edge.
		f.Detail = "why is in the log of the sidecar that refused it"
	}
	return filter.Refuse(f)
}
