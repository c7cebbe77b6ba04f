package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// maxKeys bounds a set: a token without kid is tried with every fitting key.
const maxKeys = 32

// jwk is what is read of a JSON Web Key (RFC 7517); x5c, x5u and the rest are
// ignored.
type jwk struct {
	Kty    string          `json:"kty"`
	Use    string          `json:"use"`
	KeyOps []string        `json:"key_ops"`
	Alg    string          `json:"alg"`
	Kid    string          `json:"kid"`
	Crv    string          `json:"crv"`
	N      string          `json:"n"`
	E      string          `json:"e"`
	X      string          `json:"x"`
	Y      string          `json:"y"`
	D      json.RawMessage `json:"d"`
}

// parseSet reads a JWK set. Keys that cannot be used to verify are left out
// (RFC 7517 section 5) and reported in skipped; none left is an error.
func parseSet(data []byte) (keys []*key, skipped []error, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, nil, fmt.Errorf("not a JWK set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("JWK set of %d keys, at most %d are accepted", len(set.Keys), maxKeys)
	}
	for i, raw := range set.Keys {
		k, err := parseJWK(raw)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("keys[%d]: %w", i, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, fmt.Errorf("JWK set without a usable signature key: %w", errors.Join(append(skipped, fmt.Errorf("%d keys in the set", len(set.Keys)))...))
	}
	return keys, skipped, nil
}

// parseJWKFile reads a JWK or a JWK set that the operator wrote.
func parseJWKFile(data []byte) ([]*key, error) {
	var probe struct {
		Keys json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		return nil, fmt.Errorf("not a JWK: %w", err)
	}
	if probe.Keys != nil {
		keys, _, err := parseSet(data)
		return keys, err
	}
	k, err := parseJWK(data)
	if err != nil {
		return nil, err
	}
	return []*key{k}, nil
}

func parseJWK(data []byte) (*key, error) {
	var j jwk
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("not a JWK: %w", err)
	}
	if j.Use != "" && j.Use != "sig" {
		return nil, fmt.Errorf("use is %q, not sig", j.Use)
	}
	if j.KeyOps != nil && !slices.Contains(j.KeyOps, "verify") {
		return nil, errors.New("key_ops does not include verify")
	}
	if j.D != nil {
		return nil, errPrivate
	}
	public, err := j.public()
	if err != nil {
		return nil, err
	}
	k, err := newKey(public)
	if err != nil {
		return nil, err
	}
	k.id = j.Kid
	if j.Alg != "" {
		if !slices.Contains(k.algs, j.Alg) {
			return nil, fmt.Errorf("alg %q does not fit a key of type %s %s", j.Alg, j.Kty, j.Crv)
		}
		k.algs = []string{j.Alg}
	}
	return k, nil
}

func (j *jwk) public() (any, error) {
	switch j.Kty {
	case "RSA":
		n, err := decode("n", j.N, 0)
		if err != nil {
			return nil, err
		}
		e, err := decode("e", j.E, 0)
		if err != nil {
			return nil, err
		}
		exp := new(big.Int).SetBytes(e)
		if exp.BitLen() > 31 {
			return nil, errors.New("RSA exponent over 31 bits")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exp.Int64())}, nil
	case "EC":
		curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}
		curve, ok := curves[j.Crv]
		if !ok {
			return nil, fmt.Errorf("curve %q is not one of P-256, P-384, P-521", j.Crv)
		}
		size := (curve.Params().BitSize + 7) / 8
		x, err := decode("x", j.X, size)
		if err != nil {
			return nil, err
		}
		y, err := decode("y", j.Y, size)
		if err != nil {
			return nil, err
		}
		return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	case "OKP":
		if j.Crv != "Ed25519" {
			return nil, fmt.Errorf("curve %q is not Ed25519", j.Crv)
		}
		x, err := decode("x", j.X, ed25519.PublicKeySize)
		if err != nil {
			return nil, err
		}
		return ed25519.PublicKey(x), nil
	case "oct":
		return nil, errors.New("kty oct is a shared secret: give it as secret, never in a key file or set")
	}
	return nil, fmt.Errorf("kty %q is not RSA, EC or OKP", j.Kty)
}

// decode reads base64url of a wanted size in bytes, any when 0.
func decode(name, s string, size int) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%s is missing or not base64url", name)
	}
	if size > 0 && len(b) != size {
		return nil, fmt.Errorf("%s has %d bytes, want %d", name, len(b), size)
	}
	return b, nil
}
