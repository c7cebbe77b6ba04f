package compose

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
)

// Sender vouches for what this process sends into the mesh: it puts the
// Txn-Token and a fresh hop token into every attempt, once the connection is
// known.
type Sender struct {
	ID *Identity
	// Workload says that a request which belongs to no known transaction begins
	// one for the own workload (a sidecar's app calling on its own account).
	// Without it such a request carries nothing but a hop token, which costs a
	// hundredth: who calls is known from the connection.
	Workload bool
	keys     txntoken.HopKeys
}

// Mint is how a route mints.
type Mint struct {
	Context TxnContext
	Scope   []string // only these words of the user's scope; all when empty
}

// BeforeWrite is the exchange's hook of that name.
func (s *Sender) BeforeWrite(x *exchange.Exchange, to *exchange.ConnInfo) error {
	return s.send(x, to, nil)
}

// Before is BeforeWrite for a route that mints in a way of its own.
func (s *Sender) Before(m Mint) func(*exchange.Exchange, *exchange.ConnInfo) error {
	if len(m.Context) == 0 && len(m.Scope) == 0 {
		return s.BeforeWrite
	}
	return func(x *exchange.Exchange, to *exchange.ConnInfo) error { return s.send(x, to, &m) }
}

func (s *Sender) send(x *exchange.Exchange, to *exchange.ConnInfo, m *Mint) error {
	h := &x.Request.Header
	h.Del(txntoken.HeaderTxn)
	h.Del(txntoken.HeaderHop)
	if to.PeerID == "" {
		return nil // not a mesh connection: internal tokens stay inside
	}
	if !s.ID.Home(to.PeerID) {
		return s.abroad(x, to)
	}
	if err := s.transaction(x, m); err != nil {
		var fault *exchange.Fault
		if errors.As(err, &fault) {
			return fault
		}
		return identityFault("no Txn-Token could be minted", err)
	}
	key, err := s.keys.For(to.TLS)
	if err != nil {
		return identityFault("no hop token could be signed", err)
	}
	self, err := s.ID.Self()
	if err != nil {
		return identityFault("no identity", err)
	}
	claims := txntoken.HopClaims{Self: self, Dest: to.PeerID, Deadline: x.Deadline, Retries: x.Spare, Priority: x.Priority}
	if x.Txn != nil {
		claims.TxnToken, claims.TxnHash, claims.Chain = x.Txn.Token, x.Txn.Hash, x.Txn.Chain
	}
	token, err := key.Sign(claims)
	if err != nil {
		return identityFault("no hop token could be signed", err)
	}
	if claims.TxnToken != "" {
		h.Set(txntoken.HeaderTxn, claims.TxnToken)
	}
	h.Set(txntoken.HeaderHop, token)
	return nil
}

// transaction mints a Txn-Token where there is an identity to carry and none
// carries it yet.
func (s *Sender) transaction(x *exchange.Exchange, m *Mint) error {
	if x.Txn != nil {
		if late := time.Since(x.Txn.Expires); x.Txn.Token != "" && late > 0 {
			return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusUnauthorized, Code: "transaction-expired",
				Title:  "The transaction has lasted too long",
				Detail: "its Txn-Token has expired: identity.txn_token.lifetime where it was minted must cover the longest transaction",
				Err:    fmt.Errorf("transaction %s: its token expired %s ago", x.Txn.ID, late.Round(time.Millisecond))}
		}
		return nil
	}
	req := txntoken.MintRequest{Self: s.Workload}
	if id := x.Identity; id != nil {
		req = txntoken.MintRequest{Subject: id.Subject, Issuer: id.Issuer, Roles: id.Roles, Expires: id.Expires}
		if m == nil {
			req.Scope = words(id.Scope)
		} else {
			req.Scope = words(only(id.Scope, m.Scope))
			var fault *exchange.Fault
			if req.Context, fault = m.Context.fill(x); fault != nil {
				return fault
			}
		}
	} else if !s.Workload {
		return nil
	}
	if !req.Self {
		req.Rctx = map[string]any{"req_ip": x.ClientIP.String()}
		if how := x.Identity.Method; how != "" {
			req.Rctx["authn"] = how
		}
	}
	txn, err := s.ID.Minter.Mint(req)
	if err != nil {
		return err
	}
	txn.Retries = -1
	x.Txn = txn
	return nil
}

func identityFault(detail string, err error) *exchange.Fault {
	f := &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable, Code: "identity",
		Title: "Internal identity is not in order", Detail: detail, Err: err}
	if errors.Is(err, txntoken.ErrExpired) {
		f.Status, f.Detail = http.StatusUnauthorized, "the user's token has expired"
	}
	return f
}

// only narrows a user's scope to what a route needs; it never widens it.
func only(scope, needed []string) []string {
	if len(needed) == 0 {
		return scope
	}
	var out []string
	for _, w := range scope {
		if slices.Contains(needed, w) {
			out = append(out, w)
		}
	}
	return out
}

// words joins scopes for the claim scope. One with a space in it would become
// two, so it is left out.
func words(scope []string) string {
	var b strings.Builder
	for _, w := range scope {
		if w == "" || strings.ContainsAny(w, " \t\r\n") {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w)
	}
	return b.String()
}
