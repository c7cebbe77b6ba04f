package txntoken

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"lintel.dev/lintel/proxy/exchange"
)

// VerifierConfig is what a Verifier is given. Zero values mean the defaults
// named here.
type VerifierConfig struct {
	Audience string // the own trust domain, as a name or spiffe://name; required
	// UserMinters may mint for users: patterns (see ParsePatterns) within the
	// trust domain. Empty: nobody may.
	UserMinters []string
	// SelfMinters may mint for themselves only: sub must be the signer's own
	// SPIFFE ID. Being a user minter does not include it.
	SelfMinters []string
	Leeway      time.Duration // for clocks that differ; 5 s, negative for none, at most 1 min
	CacheSize   int           // verified tokens kept; 8192
	CacheBytes  int           // and the bytes of all of them together; 32 MiB
}

// Verifier verifies Txn-Tokens. It is safe for concurrent use.
type Verifier struct {
	td     spiffeid.TrustDomain
	bundle bundleWatch
	users  Patterns
	selves Patterns
	leeway time.Duration
	now    func() time.Time
	tokens *tokenCache
	leaves leaves
	keys   keySet
}

// NewVerifier returns a Verifier that believes the roots bundles yields at the
// moment. A root that is removed stops being believed within a second.
func NewVerifier(bundles x509bundle.Source, cfg VerifierConfig) (*Verifier, error) {
	if bundles == nil {
		return nil, fmt.Errorf("txntoken: a verifier needs a bundle source: %w", ErrIdentity)
	}
	td, err := spiffeid.TrustDomainFromString(cfg.Audience)
	if err != nil {
		return nil, fmt.Errorf("txntoken: audience %q: expected a trust domain: %w", cfg.Audience, err)
	}
	v := &Verifier{td: td, bundle: bundleWatch{src: bundles, td: td}, now: time.Now, leeway: cfg.Leeway}
	if v.users, err = minters("user minter", cfg.UserMinters, td); err != nil {
		return nil, err
	}
	if v.selves, err = minters("self minter", cfg.SelfMinters, td); err != nil {
		return nil, err
	}
	switch {
	case v.leeway == 0:
		v.leeway = 5 * time.Second
	case v.leeway < 0:
		v.leeway = 0
	case v.leeway > time.Minute:
		return nil, fmt.Errorf("txntoken: leeway %s: expected at most 1m: set the clocks right instead", v.leeway)
	}
	if cfg.CacheSize <= 0 {
		cfg.CacheSize = 8192
	}
	if cfg.CacheBytes <= 0 {
		cfg.CacheBytes = 32 << 20
	}
	v.tokens = newTokenCache(cfg.CacheSize, cfg.CacheBytes)
	v.leaves.m = make(map[string]*signer)
	v.keys.m = make(map[string]*signer)
	return v, nil
}

func minters(what string, list []string, td spiffeid.TrustDomain) (Patterns, error) {
	p, err := ParsePatterns(list)
	if err != nil {
		return p, err
	}
	if s := outside(list, td); s != "" {
		return p, fmt.Errorf("txntoken: %s %q is outside trust domain %s, whose tokens alone are accepted", what, s, td.Name())
	}
	return p, nil
}

// Verify verifies a token and returns its transaction. The struct belongs to
// the caller, who fills Chain, Deadline, Retries and Memory for its exchange;
// the maps Context and Rctx are shared with everyone who verified the same
// token and must only be read. token may be a view into a buffer: what is
// returned is not.
//
// Errors wrap ErrInvalid, ErrExpired, ErrForbidden or ErrIdentity. They quote
// no more of a token than single names and SPIFFE IDs.
func (v *Verifier) Verify(token string) (*exchange.Txn, error) {
	t := new(exchange.Txn)
	if err := v.VerifyInto(token, t); err != nil {
		return nil, err
	}
	return t, nil
}

// VerifyInto is Verify into a struct the caller already has: with a token that
// was seen before it allocates nothing. On an error t is unchanged.
func (v *Verifier) VerifyInto(token string, t *exchange.Txn) error {
	now := v.now()
	gen, err := v.bundle.generation(now)
	if err != nil {
		return err
	}
	if e := v.tokens.get(token, gen, now); e != nil {
		*t = e.txn
		return nil
	}
	e, err := v.verify(token, gen, now)
	if err != nil {
		if !errors.Is(err, ErrExpired) && !errors.Is(err, ErrForbidden) && !errors.Is(err, ErrIdentity) {
			err = fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return fmt.Errorf("txntoken: Txn-Token: %w", err)
	}
	v.tokens.put(e, now)
	*t = e.txn
	return nil
}

// Recall is Verify for a token that was verified before; it costs no more than
// finding it. False says nothing about the token: ask Verify.
func (v *Verifier) Recall(token string, t *exchange.Txn) bool {
	now := v.now()
	gen, err := v.bundle.generation(now)
	if err != nil {
		return false
	}
	e := v.tokens.get(token, gen, now)
	if e == nil {
		return false
	}
	*t = e.txn
	return true
}

func (v *Verifier) verify(token string, gen uint64, now time.Time) (*tokenEntry, error) {
	if len(token) > MaxTxnBytes {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(token), MaxTxnBytes)
	}
	header, payload, sigPart, err := split(token)
	if err != nil {
		return nil, err
	}
	sig, err := b64.DecodeString(sigPart)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	s, known := v.leaves.get(header, gen, now), true
	if s == nil {
		known = false
		if s, err = v.parseHeader(header, gen, now); err != nil {
			return nil, err
		}
	}
	if err := s.method.Verify(token[:len(header)+1+len(payload)], sig, s.leaf.PublicKey); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	body, err := b64.DecodeString(payload)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	c, err := decodeObject(body)
	if err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	e := &tokenEntry{gen: gen}
	if err := v.claims(c, s, now, e); err != nil {
		return nil, err
	}
	e.txn.Token = strings.Clone(token)
	e.txn.Hash = sha256.Sum256([]byte(e.txn.Token))
	if !known {
		v.leaves.put(header, s, now)
		v.keys.put(s, now)
	}
	return e, nil
}

// claims checks what the signed object says and fills e from it.
func (v *Verifier) claims(c map[string]any, s *signer, now time.Time, e *tokenEntry) error {
	r := claimReader{c: c}
	t := exchange.Txn{
		ID:      r.text("txn", maxID, true),
		Subject: r.text("sub", maxSubject, true),
		Scope:   r.text("scope", MaxTxnBytes, false),
		ReqWL:   r.text("req_wl", maxSubject, true),
		Context: r.object("tctx"),
		Rctx:    r.object("rctx"),
		Minter:  s.id,
		Retries: -1,
	}
	aud, iss := r.text("aud", 255, true), r.text("iss", maxSubject+maxSubject, false)
	iat, exp, nbf := r.seconds("iat", true), r.seconds("exp", true), r.seconds("nbf", false)
	if r.err != nil {
		return r.err
	}
	if aud != v.td.Name() {
		return fmt.Errorf("aud is %.255q, expected %q", aud, v.td.Name())
	}
	if iss != "" && iss != s.id {
		return fmt.Errorf("iss is not the signer %s", s.id)
	}
	if err := v.times(iat, exp, nbf, s, now); err != nil {
		return err
	}
	if err := v.subject(&t, s); err != nil {
		return err
	}
	t.Expires = time.Unix(exp, 0)
	e.txn = t
	e.until = t.Expires.Add(v.leeway)
	if s.valid.Before(e.until) {
		e.until = s.valid
	}
	return nil
}

func (v *Verifier) times(iat, exp, nbf int64, s *signer, now time.Time) error {
	if exp <= iat || exp-iat > int64(MaxTxnLifetime/time.Second) {
		return fmt.Errorf("exp is %d s after iat, expected 1 to %d", exp-iat, int64(MaxTxnLifetime/time.Second))
	}
	if exp > s.leaf.NotAfter.Unix() {
		return errors.New("exp is later than the signer's certificate lasts")
	}
	if late := now.Sub(time.Unix(exp, 0)); late >= v.leeway {
		return fmt.Errorf("%w: %s ago", ErrExpired, late.Round(time.Millisecond))
	}
	if early := time.Unix(max(iat, nbf), 0).Sub(now); early > v.leeway {
		return fmt.Errorf("%w: it is valid only in %s: compare the clocks", ErrExpired, early.Round(time.Millisecond))
	}
	return nil
}

// subject holds the signer to what it may say: a SPIFFE ID of the own trust
// domain is spoken for by that workload alone, and a workload that speaks for
// itself gives itself neither roles nor scope.
func (v *Verifier) subject(t *exchange.Txn, s *signer) error {
	if !inDomain(t.Subject, v.td.Name()) {
		if !s.users {
			return fmt.Errorf("signer %s may mint for itself only, not for users: %w", s.id, ErrForbidden)
		}
		if _, err := roles(t.Context); err != nil {
			return err
		}
		return nil
	}
	if t.Subject != s.id {
		return fmt.Errorf("signer %s speaks for another workload: %w", s.id, ErrForbidden)
	}
	if !s.self {
		return fmt.Errorf("signer %s may not mint for itself: %w", s.id, ErrForbidden)
	}
	_, hasRoles := t.Context[ContextRoles]
	_, hasIssuer := t.Context[ContextIssuer]
	if hasRoles || hasIssuer || t.Scope != "" {
		return fmt.Errorf("signer %s gives itself roles or scope: %w", s.id, ErrForbidden)
	}
	t.Self = true
	return nil
}

// claimReader reads typed claims and keeps the first thing that is wrong.
type claimReader struct {
	c   map[string]any
	err error
}

func (r *claimReader) fail(name, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("claim %s: expected %s", name, want)
	}
}

func (r *claimReader) text(name string, max int, required bool) string {
	v, has := r.c[name]
	s, ok := v.(string)
	if has && !ok || required && s == "" || len(s) > max || !clean(s) {
		r.fail(name, "a string of at most "+strconv.Itoa(max)+" bytes without control characters")
		return ""
	}
	return s
}

func (r *claimReader) object(name string) map[string]any {
	v, has := r.c[name]
	m, ok := v.(map[string]any)
	if has && !ok {
		r.fail(name, "an object")
	}
	return m
}

func (r *claimReader) seconds(name string, required bool) int64 {
	v, has := r.c[name]
	if !has && !required {
		return 0
	}
	n, _ := v.(json.Number)
	sec, err := strconv.ParseInt(string(n), 10, 64)
	if err != nil || sec < 0 || sec > 1<<40 {
		r.fail(name, "whole seconds since 1970")
	}
	return sec
}
