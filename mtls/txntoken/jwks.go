package txntoken

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxKeys bounds the keys remembered for JWKS.
const maxKeys = 256

// keySet remembers the leaves whose tokens verified, by key id.
type keySet struct {
	mu sync.Mutex
	m  map[string]*signer
}

func (k *keySet) put(s *signer, now time.Time) {
	id := keyID(s.leaf)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.m[id] = s
	for len(k.m) > maxKeys {
		var oldest string
		for id, o := range k.m {
			if !now.Before(o.valid) || o.gen != s.gen {
				oldest = id
				break
			}
			if oldest == "" || o.until.Before(k.m[oldest].until) {
				oldest = id
			}
		}
		delete(k.m, oldest)
	}
}

type jwk struct {
	Kty string   `json:"kty"`
	Use string   `json:"use"`
	Alg string   `json:"alg"`
	Kid string   `json:"kid"`
	Crv string   `json:"crv,omitempty"`
	X   string   `json:"x,omitempty"`
	Y   string   `json:"y,omitempty"`
	N   string   `json:"n,omitempty"`
	E   string   `json:"e,omitempty"`
	X5C []string `json:"x5c"`
	X5T string   `json:"x5t#S256"`
}

// JWKS returns the JWK set (RFC 7517 section 5) of those who may mint for
// users and whose tokens this Verifier has verified lately, for an app that
// checks a Txn-Token itself. A token's key is in the set before the app sees
// the token. Keys go when their certificate's chain expires or the bundle changes.
//
// Who may mint for itself only is not in it: an app's JWT library knows keys
// and no such limits, and would believe them about users. See SelfJWKS.
func (v *Verifier) JWKS() ([]byte, error) {
	return v.jwks(func(s *signer) bool { return s.users })
}

// SelfJWKS returns the JWK set of those who may mint for themselves, for an
// app that compares sub with the URI in x5c.
func (v *Verifier) SelfJWKS() ([]byte, error) {
	return v.jwks(func(s *signer) bool { return s.self })
}

func (v *Verifier) jwks(want func(*signer) bool) ([]byte, error) {
	now := v.now()
	gen, err := v.bundle.generation(now)
	if err != nil {
		return nil, err
	}
	doc := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	v.keys.mu.Lock()
	for id, s := range v.keys.m {
		if s.gen == gen && now.Before(s.valid) && want(s) {
			if k, ok := publicJWK(id, s); ok {
				doc.Keys = append(doc.Keys, k)
			}
		}
	}
	v.keys.mu.Unlock()
	slices.SortFunc(doc.Keys, func(a, b jwk) int { return strings.Compare(a.Kid, b.Kid) })
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("txntoken: %w", err)
	}
	return b, nil
}

// publicJWK writes a key as RFC 7518 section 6 and RFC 8037 section 2 have it.
func publicJWK(id string, s *signer) (jwk, bool) {
	k := jwk{
		Use: "sig", Alg: s.method.Alg(), Kid: id, X5T: id,
		X5C: []string{base64.StdEncoding.EncodeToString(s.leaf.Raw)},
	}
	switch pub := s.leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		point, err := pub.Bytes() // 0x04 X Y
		if err != nil {
			return k, false
		}
		half := len(point) / 2
		k.Kty, k.Crv = "EC", pub.Curve.Params().Name
		k.X, k.Y = b64.EncodeToString(point[1:1+half]), b64.EncodeToString(point[1+half:])
	case *rsa.PublicKey:
		k.Kty, k.N, k.E = "RSA", b64.EncodeToString(pub.N.Bytes()), b64.EncodeToString(big.NewInt(int64(pub.E)).Bytes())
	case ed25519.PublicKey:
		k.Kty, k.Crv, k.X = "OKP", "Ed25519", b64.EncodeToString(pub)
	default:
		return k, false
	}
	return k, true
}
