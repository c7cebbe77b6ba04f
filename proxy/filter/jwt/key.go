package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// key is one verification key and what it may be used for.
type key struct {
	id     string   // kid; "" fits any token
	algs   []string // the only algorithms it is ever used with
	public any      // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or []byte for HS
	print  [32]byte // SHA-256 over the public key, to tell whether a set changed
}

// keySet is immutable; its address is what cached tokens are bound to.
type keySet struct{ keys []*key }

func (s *keySet) hasID(id string) bool {
	return id != "" && slices.ContainsFunc(s.keys, func(k *key) bool { return k.id == id })
}

func (s *keySet) equal(o *keySet) bool {
	return slices.EqualFunc(s.keys, o.keys, func(a, b *key) bool {
		return a.id == b.id && a.print == b.print && slices.Equal(a.algs, b.algs)
	})
}

const (
	minRSA    = 2048 // bits, RFC 7518 section 3.3
	maxRSA    = 8192 // bits: more only burns time
	minSecret = 32   // bytes, RFC 7518 section 3.2
)

// newKey binds a public key to the algorithms of its type, so that a token can
// never have it used with another's.
func newKey(public any) (*key, error) {
	k := &key{public: public}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("RSA key of %d bits, want %d to %d", n, minRSA, maxRSA)
		}
		if p.E < 3 || p.E%2 == 0 {
			return nil, fmt.Errorf("RSA exponent %d is not usable", p.E)
		}
		k.algs = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		switch p.Curve.Params().BitSize {
		case 256:
			k.algs = []string{"ES256"}
		case 384:
			k.algs = []string{"ES384"}
		case 521:
			k.algs = []string{"ES512"}
		default:
			return nil, fmt.Errorf("curve %s is not one of P-256, P-384, P-521", p.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		k.algs = []string{"EdDSA"}
	default:
		return nil, fmt.Errorf("key type %T is not RSA, ECDSA or Ed25519", public)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	k.print = sha256.Sum256(der)
	return k, nil
}

// newSecret allows the HS algorithms that the secret is long enough for.
func newSecret(secret string) (*key, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("the secret has %d bytes: HS256 needs at least %d (RFC 7518 section 3.2); make one with: openssl rand -base64 48", len(secret), minSecret)
	}
	k := &key{public: []byte(secret), algs: []string{"HS256"}, print: sha256.Sum256([]byte(secret))}
	if len(secret) >= 48 {
		k.algs = append(k.algs, "HS384")
	}
	if len(secret) >= 64 {
		k.algs = append(k.algs, "HS512")
	}
	return k, nil
}

// parseKeys reads PEM public keys and certificates, a JWK or a JWK set.
func parseKeys(data []byte) ([]*key, error) {
	if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
		return parseJWKFile(data)
	}
	var keys []*key
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		public, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		k, err := newKey(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key found: want a PEM public key or certificate, a JWK or a JWK set")
	}
	return keys, nil
}

func parseBlock(b *pem.Block) (any, error) {
	switch {
	case b.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(b.Bytes)
	case b.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(b.Bytes)
	case b.Type == "CERTIFICATE":
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	case strings.HasSuffix(b.Type, "PRIVATE KEY"):
		return nil, errPrivate
	}
	return nil, fmt.Errorf("PEM block %q, want PUBLIC KEY or CERTIFICATE", b.Type)
}

var errPrivate = errors.New("this is a private key: only its public half belongs on a gateway (openssl pkey -pubout)")
