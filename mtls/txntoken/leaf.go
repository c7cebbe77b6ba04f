package txntoken

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// signer is a leaf certificate that verified, and what it may do.
type signer struct {
	id     string
	leaf   *x509.Certificate
	method jwt.SigningMethod
	users  bool      // may mint for users
	self   bool      // may mint for itself
	valid  time.Time // the chain's earliest NotAfter
	until  time.Time // verify the chain again then
	gen    uint64    // the bundle's state it verified under
}

// How long a verified chain is believed while the bundle stays the same, and
// how many are remembered.
const (
	chainRecheck = time.Minute
	maxLeaves    = 1024
)

// leaves remembers signers by the exact header part of their tokens, which is
// the same for every token of one leaf. Only a header whose token verified
// wholly gets in, so that nobody but minters can fill it.
type leaves struct {
	mu sync.RWMutex
	m  map[string]*signer
}

func (l *leaves) get(header string, gen uint64, now time.Time) *signer {
	l.mu.RLock()
	s := l.m[header]
	l.mu.RUnlock()
	if s == nil || s.gen != gen || !now.Before(s.until) {
		return nil
	}
	return s
}

func (l *leaves) put(header string, s *signer, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, has := l.m[header]; !has && len(l.m) >= maxLeaves {
		for h, o := range l.m {
			if o.gen != s.gen || !now.Before(o.until) {
				delete(l.m, h)
			}
		}
		for h := range l.m { // all in use: any one goes
			if len(l.m) < maxLeaves {
				break
			}
			delete(l.m, h)
		}
	}
	l.m[strings.Clone(header)] = s
}

// parseHeader checks everything about a token's header part that does not need
// its signature, and verifies the chain it carries.
func (v *Verifier) parseHeader(part string, gen uint64, now time.Time) (*signer, error) {
	raw, err := b64.DecodeString(part)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	h, err := decodeObject(raw)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	for name := range h {
		switch name {
		case "alg", "typ", "x5c":
		case "kid", "x5t", "x5t#S256": // hints at keys; the chain alone decides
		default: // crit, jku, jwk, x5u, b64, zip, …: each would change how a token is read
			return nil, fmt.Errorf("header: member %.40q is not allowed", name)
		}
	}
	typ, _ := h["typ"].(string)
	alg, _ := h["alg"].(string)
	if typ != typTxn {
		return nil, fmt.Errorf("header: typ is %.40q, expected %q", typ, typTxn)
	}
	certs, err := parseX5C(h["x5c"])
	if err != nil {
		return nil, fmt.Errorf("header: x5c: %w", err)
	}
	s, err := v.verifyChain(certs, now)
	if err != nil {
		return nil, err
	}
	if alg != s.method.Alg() {
		return nil, fmt.Errorf("header: alg is %.40q, the signer's key makes %s", alg, s.method.Alg())
	}
	s.gen = gen
	return s, nil
}

// parseX5C reads a certificate chain: each certificate is certified by the
// next (RFC 7515 section 4.1.6), and no root is among them.
func parseX5C(x any) ([]*x509.Certificate, error) {
	list, ok := x.([]any)
	if !ok || len(list) == 0 || len(list) > maxX5C {
		return nil, fmt.Errorf("expected a list of 1 to %d certificates", maxX5C)
	}
	certs := make([]*x509.Certificate, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok || strings.ContainsAny(s, "\r\n") {
			return nil, fmt.Errorf("certificate %d is not a base64 string", i)
		}
		der, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
	}
	return certs, nil
}

// verifyChain asks first whether the leaf names one who may mint, which costs
// nothing, and only then verifies signatures.
func (v *Verifier) verifyChain(certs []*x509.Certificate, now time.Time) (*signer, error) {
	leaf := certs[0]
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return nil, fmt.Errorf("x5c: %w", err)
	}
	s := &signer{id: id.String(), leaf: leaf}
	if !id.MemberOf(v.td) {
		return nil, fmt.Errorf("signer %s is not of trust domain %s: %w", s.id, v.td.Name(), ErrForbidden)
	}
	s.users, s.self = v.users.Match(s.id), v.selves.Match(s.id)
	if !s.users && !s.self {
		return nil, fmt.Errorf("signer %s is not on the list of those who may mint: %w", s.id, ErrForbidden)
	}
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, errors.New("x5c: the leaf's key is not for signatures")
	}
	if s.method, err = methodFor(leaf.PublicKey); err != nil {
		return nil, fmt.Errorf("x5c: %w", err)
	}
	for i, c := range certs {
		if i > 0 && selfSigned(c) {
			return nil, fmt.Errorf("x5c: certificate %d is a root, which must come from the bundle", i)
		}
		if i+1 < len(certs) {
			if err := c.CheckSignatureFrom(certs[i+1]); err != nil {
				return nil, fmt.Errorf("x5c: certificate %d is not certified by the next: %w", i, err)
			}
		}
	}
	_, chains, err := x509svid.Verify(certs, v.bundle.src, x509svid.WithTime(now))
	if err != nil {
		return nil, fmt.Errorf("x5c: %w", err)
	}
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(s.valid) {
			s.valid = end
		}
	}
	s.until = now.Add(chainRecheck)
	if s.valid.Before(s.until) {
		s.until = s.valid
	}
	return s, nil
}
