package compose

import (
	"errors"
	"fmt"
	"net/http"
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

// BeforeWrite is the exchange's hook of that name.
func (s *Sender) BeforeWrite(x *exchange.Exchange, to *exchange.ConnInfo) error {
	h := &x.Request.Header
	h.Del(txntoken.HeaderTxn)
	h.Del(txntoken.HeaderHop)
	if to.PeerID == "" {
		return nil // not a mesh connection: internal tokens stay inside
	}
	if !s.ID.Home(to.PeerID) {
		return s.abroad(x, to)
	}
	if err := s.transaction(x); err != nil {
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
func (s *Sender) transaction(x *exchange.Exchange) error {
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
		req = txntoken.MintRequest{Subject: id.Subject, Issuer: id.Issuer, Roles: id.Roles,
			Scope: words(id.Scope), Expires: id.Expires}
	} else if !s.Workload {
		return nil
	}
	req.Rctx = map[string]any{"req_ip": x.ClientIP.String()}
	if req.Self {
		req.Rctx = nil
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
