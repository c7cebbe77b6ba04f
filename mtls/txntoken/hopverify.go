package txntoken

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"lintel.dev/lintel/proxy/exchange"
)

// HopExpect is what the receiver knows and the token has to fit.
type HopExpect struct {
	Self     string            // own SPIFFE ID: must be aud
	Peer     string            // the verified TLS peer's: must be iss
	TxnToken string            // the Txn-Token that came with it, "" when none: must fit tth
	TxnHash  [sha256.Size]byte // its SHA-256 where it is known; zero: it is made here
	MaxChain int               // the longest chain returned, the peer included; MaxChain when zero
	// Asserters may say whom the transaction came through before them. Empty
	// means every workload of Self's trust domain; to allow nobody, list an ID
	// that nobody has. A peer who is not on it may still start a chain.
	Asserters Patterns
	Leeway    time.Duration // for clocks that differ; 5 s when zero, negative for none
}

// Hop is a verified hop token.
type Hop struct {
	Chain    []string  // SPIFFE IDs it came through, oldest first; the last is the TLS peer
	Deadline time.Time // by this host's clock; zero when the sender set none
	Retries  int       // retries left, -1 when the sender said nothing
	Priority exchange.Priority
}

// VerifyHop verifies a hop token that came on the connection cs. Where more
// than one comes on a connection, keep a HopKey instead.
func VerifyHop(cs *tls.ConnectionState, token string, want HopExpect) (*Hop, error) {
	k, err := NewHopKey(cs)
	if err != nil {
		return nil, err
	}
	h, err := k.Verify(token, want)
	if err != nil {
		return nil, err
	}
	return &h, nil
}

// Verify verifies a hop token that came on this key's connection. It refuses
// one that was made for another connection, destination or Txn-Token (a
// Txn-Token without tth and a tth without Txn-Token included), by another than
// the TLS peer, at another time, with too long a chain, or with a chain from
// one who may not assert it. Errors wrap ErrInvalid, ErrExpired or ErrForbidden;
// with too long a chain ErrChain too.
func (k *HopKey) Verify(token string, want HopExpect) (Hop, error) {
	return k.verifyAt(token, &want, time.Now())
}

func (k *HopKey) verifyAt(token string, want *HopExpect, now time.Time) (Hop, error) {
	m := k.pool.Get().(*hopMAC)
	h, err := m.verify(token, want, now)
	k.pool.Put(m)
	if err != nil {
		if !errors.Is(err, ErrExpired) && !errors.Is(err, ErrForbidden) {
			err = fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return Hop{}, fmt.Errorf("txntoken: Hop-Token from %s: %w", want.Peer, err)
	}
	return h, nil
}

var (
	errHopShape = errors.New("expected a hop+jwt signed HS256")
	errHopKey   = errors.New("not signed for this connection: altered, or moved here from another")
)

const hopSigLen = 43 // base64url of 32 bytes

func (m *hopMAC) verify(token string, want *HopExpect, now time.Time) (Hop, error) {
	if len(token) > MaxHopBytes {
		return Hop{}, fmt.Errorf("%d bytes, at most %d are allowed", len(token), MaxHopBytes)
	}
	dot := len(token) - hopSigLen - 1
	if dot <= len(hopHeader) || token[:len(hopHeader)] != hopHeader || token[dot] != '.' {
		return Hop{}, errHopShape
	}
	m.buf = append(m.buf[:0], token...)
	// The signature is compared as it is spelled, so it has one spelling only.
	sum := m.sign(m.buf[:dot])
	b64.Encode(m.tth[:], sum)
	if !hmac.Equal(m.tth[:], m.buf[dot+1:]) {
		return Hop{}, errHopKey
	}
	body, err := b64.AppendDecode(m.body[:0], m.buf[len(hopHeader):dot])
	if err != nil {
		return Hop{}, fmt.Errorf("claims: %w", err)
	}
	m.body = body
	c, err := parseHop(body)
	if err != nil {
		return Hop{}, fmt.Errorf("claims: %w", err)
	}
	return m.check(&c, want, now)
}

func (m *hopMAC) check(c *hopWire, want *HopExpect, now time.Time) (Hop, error) {
	if !m.valid(want.Self) || !m.valid(want.Peer) {
		return Hop{}, errors.New("own ID or TLS peer is no workload's SPIFFE ID")
	}
	if string(c.aud) != want.Self {
		return Hop{}, fmt.Errorf("aud is not %s", want.Self)
	}
	if string(c.iss) != want.Peer {
		return Hop{}, errors.New("iss is not the TLS peer")
	}
	leeway := want.Leeway
	switch {
	case leeway == 0:
		leeway = 5 * time.Second
	case leeway < 0:
		leeway = 0
	}
	if c.exp <= c.iat || c.exp-c.iat > int64(MaxHopLifetime/time.Second) {
		return Hop{}, fmt.Errorf("exp is %d s after iat, expected 1 to %d", c.exp-c.iat, int64(MaxHopLifetime/time.Second))
	}
	if late := now.Sub(time.Unix(c.exp, 0)); late >= leeway {
		return Hop{}, fmt.Errorf("%w: %s ago", ErrExpired, late.Round(time.Millisecond))
	}
	if early := time.Unix(c.iat, 0).Sub(now); early > leeway {
		return Hop{}, fmt.Errorf("%w: issued %s from now: compare the clocks", ErrExpired, early.Round(time.Millisecond))
	}
	h := Hop{Retries: c.rb}
	if c.dl >= 0 {
		h.Deadline = now.Add(time.Duration(c.dl) * time.Millisecond)
	}
	switch c.pr {
	case 1:
		h.Priority = exchange.Critical
	case 2:
		h.Priority = exchange.Sheddable
	}
	var err error
	if h.Chain, err = c.fullChain(m, want); err != nil {
		return Hop{}, err
	}
	return h, m.checkTxn(c.tth, want)
}

// checkTxn comes last: hashing overwrites the memory the claims lie in. tth is
// moved out of the way first.
func (m *hopMAC) checkTxn(tth []byte, want *HopExpect) error {
	token := want.TxnToken
	switch {
	case token == "" && tth == nil:
		return nil
	case token == "":
		return errors.New("it was made for a Txn-Token, and none came")
	case tth == nil:
		return errors.New("it was made without a Txn-Token, and one came")
	}
	m.buf = append(m.buf[:0], tth...)
	if !hmac.Equal(m.hash(token, &want.TxnHash), m.buf) {
		return errors.New("it was made for another Txn-Token (tth differs)")
	}
	return nil
}

// fullChain returns the asserted chain with the TLS peer appended.
func (c *hopWire) fullChain(m *hopMAC, want *HopExpect) ([]string, error) {
	limit := want.MaxChain
	if limit <= 0 {
		limit = MaxChain
	}
	if c.links+1 > limit {
		return nil, fmt.Errorf("the chain has %d links and the peer, at most %d are allowed: is there a loop? %w", c.links, limit, ErrChain)
	}
	chain := make([]string, 0, c.links+1)
	if c.links == 0 {
		return append(chain, want.Peer), nil
	}
	if !want.MayAssert() {
		return nil, fmt.Errorf("the peer may not say whom the transaction came through: %w", ErrForbidden)
	}
	// One copy for all of them: from the first quote to the last.
	rest := string(c.chain)
	for rest != "" {
		end := strings.IndexByte(rest[1:], '"') + 1
		id := rest[1:end]
		if !m.valid(id) {
			return nil, fmt.Errorf("chain[%d] %.80q is no workload's SPIFFE ID", len(chain), id)
		}
		chain = append(chain, id)
		if rest = rest[end+1:]; rest != "" {
			rest = rest[1:] // the comma
		}
	}
	return append(chain, want.Peer), nil
}

// MayAssert reports whether the peer is one of the asserters.
func (want *HopExpect) MayAssert() bool {
	if !want.Asserters.Empty() {
		return want.Asserters.Match(want.Peer)
	}
	self, err := spiffeid.FromString(want.Self)
	if err != nil {
		return false
	}
	peer, err := spiffeid.FromString(want.Peer)
	return err == nil && peer.MemberOf(self.TrustDomain())
}
