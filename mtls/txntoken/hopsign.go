package txntoken

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"lintel.dev/lintel/proxy/exchange"
)

// hopHeader is base64url of {"alg":"HS256","typ":"hop+jwt"}, with the dot. A
// hop token has this header and no other, so it is compared and never parsed.
const hopHeader = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImhvcCtqd3QifQ."

const hopLifetime = 10 * time.Second

// HopClaims is what a sender says about one attempt. The claims on the wire are
//
//	iss    own SPIFFE ID
//	aud    the destination's SPIFFE ID
//	iat    whole seconds since 1970
//	exp    likewise
//	tth    base64url(SHA-256(Txn-Token)), absent when none goes with it
//	dl     milliseconds the sender is still willing to wait, absent when unlimited
//	rb     retries left to those further on, absent when unset
//	pr     1 critical, 2 sheddable; absent when it is neither
//	chain  SPIFFE IDs the transaction came through before the sender, oldest
//	       first, absent when the transaction starts here
//
// (aud, exp and tth mean what they mean in draft-ietf-wimse-wpt.) The sender
// is not part of chain: the receiver appends its verified TLS peer, about whom
// nobody can lie.
type HopClaims struct {
	Self     string            // own SPIFFE ID: iss
	Dest     string            // the destination's: aud
	TxnToken string            // the Txn-Token that goes with it, "" when none
	TxnHash  [sha256.Size]byte // its SHA-256 where it is known; zero: it is made here
	// Chain is the transaction's chain as the sender knows it, without itself:
	// exchange.Txn.Chain of the inbound exchange, as it is.
	Chain    []string
	Deadline time.Time // zero: none
	Retries  int       // -1: unset; 0: nobody may retry
	Priority exchange.Priority
	Lifetime time.Duration // 10 s when zero, at most MaxHopLifetime
}

// SignHop signs c for the connection cs. Where more than one token is signed
// on a connection, keep a HopKey instead.
func SignHop(cs *tls.ConnectionState, c HopClaims) (string, error) {
	k, err := NewHopKey(cs)
	if err != nil {
		return "", err
	}
	return k.Sign(c)
}

// Sign returns the hop token for one attempt on this key's connection.
func (k *HopKey) Sign(c HopClaims) (string, error) {
	return k.signAt(c, time.Now())
}

func (k *HopKey) signAt(c HopClaims, now time.Time) (string, error) {
	m := k.pool.Get().(*hopMAC)
	defer k.pool.Put(m)
	if err := c.check(m); err != nil {
		return "", err
	}
	life := c.Lifetime
	if life == 0 {
		life = hopLifetime
	}
	var tth []byte
	if c.TxnToken != "" {
		tth = m.hash(c.TxnToken, &c.TxnHash)
	}
	// Every value is checked or made here, so none needs escaping.
	b := append(m.body[:0], `{"iss":"`...)
	b = append(b, c.Self...)
	b = append(b, `","aud":"`...)
	b = append(b, c.Dest...)
	b = append(b, `","iat":`...)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, `,"exp":`...)
	b = strconv.AppendInt(b, now.Add(life).Unix(), 10)
	if tth != nil {
		b = append(b, `,"tth":"`...)
		b = append(b, tth...)
		b = append(b, '"')
	}
	if !c.Deadline.IsZero() {
		b = append(b, `,"dl":`...)
		b = strconv.AppendInt(b, min(max(0, c.Deadline.Sub(now).Milliseconds()), maxRemaining), 10)
	}
	if c.Retries >= 0 {
		b = append(b, `,"rb":`...)
		b = strconv.AppendInt(b, int64(min(c.Retries, maxRetries)), 10)
	}
	switch c.Priority {
	case exchange.Critical:
		b = append(b, `,"pr":1`...)
	case exchange.Sheddable:
		b = append(b, `,"pr":2`...)
	}
	for i, id := range c.Chain {
		if i == 0 {
			b = append(b, `,"chain":["`...)
		} else {
			b = append(b, `","`...)
		}
		b = append(b, id...)
	}
	if len(c.Chain) > 0 {
		b = append(b, `"]`...)
	}
	b = append(b, '}')
	m.body = b
	t := append(m.buf[:0], hopHeader...)
	t = b64.AppendEncode(t, b)
	sum := m.sign(t)
	t = append(t, '.')
	t = b64.AppendEncode(t, sum)
	m.buf = t
	if len(t) > MaxHopBytes {
		return "", fmt.Errorf("txntoken: Hop-Token: %d bytes with a chain of %d, at most %d are allowed: %w", len(t), len(c.Chain), MaxHopBytes, ErrInvalid)
	}
	return string(t), nil
}

// The largest dl (a day, in milliseconds) and rb.
const (
	maxRemaining = 24 * 60 * 60 * 1000
	maxRetries   = 1000
)

func (c *HopClaims) check(m *hopMAC) error {
	if c.Lifetime < 0 || c.Lifetime > MaxHopLifetime || c.Lifetime != 0 && c.Lifetime < time.Second {
		return fmt.Errorf("txntoken: Hop-Token: lifetime %s: expected 1s to %s", c.Lifetime, MaxHopLifetime)
	}
	if !m.valid(c.Self) {
		return fmt.Errorf("txntoken: Hop-Token: own ID %.80q is no workload's SPIFFE ID: %w", c.Self, ErrIdentity)
	}
	if !m.valid(c.Dest) {
		return fmt.Errorf("txntoken: Hop-Token: destination %.80q is no workload's SPIFFE ID: %w", c.Dest, ErrInvalid)
	}
	for i, id := range c.Chain {
		if !m.valid(id) {
			return fmt.Errorf("txntoken: Hop-Token: chain[%d] %.80q is no workload's SPIFFE ID: %w", i, id, ErrInvalid)
		}
	}
	return nil
}

// validID reports whether s is the SPIFFE ID of a workload. Such a string has
// neither quotes nor backslashes nor control characters in it.
func validID(s string) bool {
	id, err := spiffeid.FromString(s)
	return err == nil && id.Path() != ""
}
