package txntoken

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"lintel.dev/lintel/proxy/exchange"
)

// MinterConfig is what a Minter is given. Zero values mean the defaults named
// here.
type MinterConfig struct {
	Lifetime time.Duration // of a token; 15 s, at most MaxTxnLifetime

	// Reuse, when positive, hands out the same token again for that long to
	// requests that are the same in everything that is signed (subject, issuer,
	// roles, scope, both contexts, expiry). It saves a signature per request;
	// the price is that they share one txn, so that logs tell them apart by
	// trace only, and that the last of them gets a token with Lifetime-Reuse
	// left. Off by default; must be shorter than Lifetime.
	Reuse time.Duration
	// ReuseSize bounds the tokens kept for reuse; 4096.
	ReuseSize int

	// Oversize is told of a token over WarnTxnBytes, at most every ten minutes
	// for one subject. Nil: nobody is told.
	Oversize func(subject string, bytes int)
}

// MintRequest says what a new Txn-Token shall say.
type MintRequest struct {
	Subject string // claim sub; ignored when Self
	Issuer  string // who vouched for the subject: tctx.sub_iss
	Roles   []string
	Scope   string // space-separated
	// Context and Rctx become claims tctx and rctx (draft: req_ip and authn have
	// a meaning in rctx). They are only read.
	Context map[string]any
	Rctx    map[string]any
	// Self asks for a token by which the workload speaks for itself: sub is its
	// own SPIFFE ID. It has no roles, scope or issuer: what a workload may do
	// is policy's to say, by its ID.
	Self bool
	// Requester is the workload that asked for the token (claim req_wl); the
	// minter itself when empty.
	Requester string
	ID        string    // claim txn; 128 random bits when empty
	Expires   time.Time // when the user's own credential expires; zero: it does not
}

// Minter makes Txn-Tokens, signed with the workload's own SVID. It is safe for
// concurrent use.
type Minter struct {
	svids  x509svid.Source
	cfg    MinterConfig
	now    func() time.Time
	signer atomic.Pointer[ownSigner]
	reuse  *reuseCache
	warned *warned
}

// ownSigner is what is the same for every token of one leaf.
type ownSigner struct {
	leaf   *x509.Certificate
	method jwt.SigningMethod
	id     string // own SPIFFE ID
	domain string // own trust domain
	header string // base64url, with the dot
}

type claims struct {
	Iss   string         `json:"iss"`
	Aud   string         `json:"aud"`
	Iat   int64          `json:"iat"`
	Exp   int64          `json:"exp"`
	Txn   string         `json:"txn"`
	Sub   string         `json:"sub"`
	Scope string         `json:"scope"`
	ReqWL string         `json:"req_wl"`
	Tctx  map[string]any `json:"tctx,omitempty"`
	Rctx  map[string]any `json:"rctx,omitempty"`
}

// NewMinter returns a Minter that signs with what svids yields at the moment.
func NewMinter(svids x509svid.Source, cfg MinterConfig) (*Minter, error) {
	if svids == nil {
		return nil, fmt.Errorf("txntoken: a minter needs an SVID source: %w", ErrIdentity)
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 15 * time.Second
	}
	if cfg.Lifetime < time.Second || cfg.Lifetime > MaxTxnLifetime {
		return nil, fmt.Errorf("txntoken: lifetime %s: expected between 1s and %s", cfg.Lifetime, MaxTxnLifetime)
	}
	if cfg.Reuse < 0 || cfg.Reuse >= cfg.Lifetime {
		return nil, fmt.Errorf("txntoken: reuse %s: expected less than the lifetime, %s", cfg.Reuse, cfg.Lifetime)
	}
	if cfg.ReuseSize <= 0 {
		cfg.ReuseSize = 4096
	}
	m := &Minter{svids: svids, cfg: cfg, now: time.Now, warned: newWarned()}
	if cfg.Reuse > 0 {
		m.reuse = newReuseCache(cfg.ReuseSize)
	}
	return m, nil
}

// Mint returns a new transaction with its token; it belongs to the caller
// except for the two context maps, which are shared when tokens are reused and
// must only be read. exp is never later than the lifetime, the user's own
// credential, or one second before the leaf's NotAfter.
//
// aud is the bare name of the trust domain (as in the draft's example), iss the
// SPIFFE ID of the minter (the draft wants it where minters have keys of their
// own), req_wl the same: minter and requester are one here.
func (m *Minter) Mint(r MintRequest) (*exchange.Txn, error) {
	svid, err := m.svids.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("txntoken: no SVID to mint with: %w: %w", ErrIdentity, err)
	}
	own, err := m.ownSigner(svid)
	if err != nil {
		return nil, err
	}
	now := m.now()
	if err := r.check(own); err != nil {
		return nil, err
	}
	exp, err := m.expiry(now, own.leaf.NotAfter, r.Expires)
	if err != nil {
		return nil, err
	}
	c := claims{
		Iss: own.id, Aud: own.domain, Sub: r.Subject, Scope: r.Scope, ReqWL: own.id,
		Tctx: r.context(), Rctx: r.Rctx,
	}
	if r.Self {
		c.Sub = own.id
	} else if r.Requester != "" {
		c.ReqWL = r.Requester
	}
	var key reuseKey
	if m.reuse != nil && r.ID == "" {
		if key, err = newReuseKey(own.leaf, &c, r.Expires); err != nil {
			return nil, err
		}
		if t := m.reuse.get(key, now); t != nil {
			return t, nil
		}
	}
	c.Iat, c.Exp, c.Txn = now.Unix(), exp.Unix(), r.ID
	if c.Txn == "" {
		c.Txn = NewID()
	}
	t, err := own.mint(svid, &c)
	if err != nil {
		return nil, err
	}
	if n := len(t.Token); n > WarnTxnBytes && m.cfg.Oversize != nil && m.warned.due(t.Subject, now) {
		m.cfg.Oversize(t.Subject, n)
	}
	if key != (reuseKey{}) {
		m.reuse.put(key, t, now, now.Add(m.cfg.Reuse))
	}
	return t, nil
}

// NewID returns 128 random bits in hexadecimal.
func NewID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}

func (m *Minter) expiry(now, leaf, user time.Time) (time.Time, error) {
	exp := now.Add(m.cfg.Lifetime)
	if last := leaf.Add(-time.Second); exp.After(last) {
		exp = last
	}
	if exp.Unix() <= now.Unix() {
		return exp, fmt.Errorf("txntoken: the own SVID expired at %s: is its source still renewing it? %w", leaf.UTC().Format(time.RFC3339), ErrIdentity)
	}
	if !user.IsZero() && exp.After(user) {
		exp = user
	}
	if exp.Unix() <= now.Unix() {
		return exp, fmt.Errorf("txntoken: the user's credential expired at %s: %w", user.UTC().Format(time.RFC3339), ErrExpired)
	}
	return exp, nil
}

func (r *MintRequest) check(own *ownSigner) error {
	bad := func(what string) error { return fmt.Errorf("txntoken: cannot mint: %s: %w", what, ErrInvalid) }
	for _, name := range [...]string{ContextRoles, ContextIssuer} {
		if _, has := r.Context[name]; has {
			return bad("tctx must not carry " + name + ": it is filled from the request's own field")
		}
	}
	if r.Requester != "" && !validID(r.Requester) {
		return bad("the requester is no workload's SPIFFE ID")
	}
	if len(r.ID) > maxID || !clean(r.ID) {
		return bad("the transaction id is too long or has control characters")
	}
	if r.Self {
		if r.Scope != "" || len(r.Roles) > 0 || r.Issuer != "" {
			return bad("a workload that speaks for itself has no scope, roles or issuer")
		}
		return nil
	}
	switch {
	case r.Subject == "":
		return bad("no subject")
	case len(r.Subject) > maxSubject || !clean(r.Subject):
		return bad("the subject is too long or has control characters")
	case inDomain(r.Subject, own.domain):
		return bad("the subject is a SPIFFE ID of the own trust domain, which only that workload itself may claim")
	case !clean(r.Scope) || !clean(r.Issuer):
		return bad("scope or issuer has control characters")
	}
	for _, role := range r.Roles {
		if role == "" || !clean(role) {
			return bad("a role is empty or has control characters")
		}
	}
	return nil
}

func (r *MintRequest) context() map[string]any {
	if len(r.Roles) == 0 && r.Issuer == "" {
		return r.Context
	}
	c := make(map[string]any, len(r.Context)+2)
	maps.Copy(c, r.Context)
	if len(r.Roles) > 0 {
		c[ContextRoles] = r.Roles
	}
	if r.Issuer != "" {
		c[ContextIssuer] = r.Issuer
	}
	return c
}

// ownSigner returns what was prepared for this leaf, or prepares it.
func (m *Minter) ownSigner(svid *x509svid.SVID) (*ownSigner, error) {
	if len(svid.Certificates) == 0 || svid.PrivateKey == nil {
		return nil, fmt.Errorf("txntoken: the own SVID has no certificate or no key: %w", ErrIdentity)
	}
	leaf := svid.Certificates[0]
	if s := m.signer.Load(); s != nil && (s.leaf == leaf || s.leaf.Equal(leaf)) {
		return s, nil
	}
	method, err := methodFor(svid.PrivateKey.Public())
	if err != nil {
		return nil, fmt.Errorf("txntoken: own SVID: %w: %w", err, ErrIdentity)
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && !pub.Equal(svid.PrivateKey.Public()) {
		return nil, fmt.Errorf("txntoken: the own SVID's key does not belong to its certificate: %w", ErrIdentity)
	}
	x5c := make([]string, 0, len(svid.Certificates))
	for i, c := range svid.Certificates {
		if i > 0 && selfSigned(c) {
			continue // a root proves nothing to whoever has it, and nothing to whoever has not
		}
		x5c = append(x5c, base64.StdEncoding.EncodeToString(c.Raw))
	}
	if len(x5c) > maxX5C {
		return nil, fmt.Errorf("txntoken: the own SVID comes with %d certificates, at most %d are allowed: %w", len(x5c), maxX5C, ErrIdentity)
	}
	head, err := json.Marshal(struct {
		Alg string   `json:"alg"`
		Kid string   `json:"kid"`
		Typ string   `json:"typ"`
		X5C []string `json:"x5c"`
	}{method.Alg(), keyID(leaf), typTxn, x5c})
	if err != nil {
		return nil, fmt.Errorf("txntoken: %w", err)
	}
	s := &ownSigner{
		leaf: leaf, method: method, id: svid.ID.String(), domain: svid.ID.TrustDomain().Name(),
		header: b64.EncodeToString(head) + ".",
	}
	m.signer.Store(s)
	return s, nil
}

func (s *ownSigner) mint(svid *x509svid.SVID, c *claims) (*exchange.Txn, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("txntoken: cannot mint: tctx or rctx cannot be written as JSON: %w", err)
	}
	t := &exchange.Txn{
		ID: c.Txn, Subject: c.Sub, Scope: c.Scope, ReqWL: c.ReqWL, Minter: s.id, Self: c.Sub == s.id,
		Expires: time.Unix(c.Exp, 0), Retries: -1,
	}
	if len(c.Tctx)+len(c.Rctx) > 0 {
		// Read back what the others will read: the same limits, the same types.
		all, err := decodeObject(body)
		if err != nil {
			return nil, fmt.Errorf("txntoken: cannot mint: tctx or rctx: %w: %w", err, ErrInvalid)
		}
		t.Context, _ = all["tctx"].(map[string]any)
		t.Rctx, _ = all["rctx"].(map[string]any)
	}
	token := make([]byte, 0, len(s.header)+b64.EncodedLen(len(body))+1+b64.EncodedLen(512))
	token = append(token, s.header...)
	token = b64.AppendEncode(token, body)
	sig, err := sign(s.method, svid.PrivateKey, token)
	if err != nil {
		return nil, fmt.Errorf("txntoken: cannot sign: %w: %w", err, ErrIdentity)
	}
	token = append(token, '.')
	token = b64.AppendEncode(token, sig)
	if len(token) > MaxTxnBytes {
		return nil, fmt.Errorf("txntoken: cannot mint: the token has %d bytes, at most %d are allowed: put less into tctx and rctx: %w", len(token), MaxTxnBytes, ErrInvalid)
	}
	t.Token = string(token)
	t.Hash = sha256.Sum256(token)
	return t, nil
}

// keyID is the certificate's SHA-256 thumbprint (RFC 7515 section 4.1.8), by
// which an app's JWT library finds the key. Verify never looks at it.
func keyID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return b64.EncodeToString(sum[:])
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}
