package txntoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/golang-jwt/jwt/v5"
)

// methodFor is the one algorithm a key signs with. The verifier derives it
// from the certified key and compares, so that alg in a token's header chooses
// nothing: there is no confusion to be had.
func methodFor(pub crypto.PublicKey) (jwt.SigningMethod, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return jwt.SigningMethodES256, nil
		case elliptic.P384():
			return jwt.SigningMethodES384, nil
		case elliptic.P521():
			return jwt.SigningMethodES512, nil
		}
		return nil, fmt.Errorf("an ECDSA key on %s signs no JWT: use P-256", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 {
			return nil, fmt.Errorf("an RSA key of %d bits is too weak: use 2048 or more, or ECDSA P-256", n)
		}
		return jwt.SigningMethodPS256, nil
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA, nil
	}
	return nil, fmt.Errorf("a key of type %T signs no JWT: use ECDSA P-256", pub)
}

// sign works with any crypto.Signer, so that a key may live outside memory;
// golang-jwt's own Sign wants the private key itself.
func sign(m jwt.SigningMethod, key crypto.Signer, input []byte) ([]byte, error) {
	switch m := m.(type) {
	case *jwt.SigningMethodECDSA:
		der, err := key.Sign(rand.Reader, digest(m.Hash, input), m.Hash)
		if err != nil {
			return nil, err
		}
		var rs struct{ R, S *big.Int }
		if rest, err := asn1.Unmarshal(der, &rs); err != nil || len(rest) != 0 {
			return nil, errors.New("the key returned no ASN.1 ECDSA signature")
		}
		if rs.R.Sign() <= 0 || rs.S.Sign() <= 0 || rs.R.BitLen() > 8*m.KeySize || rs.S.BitLen() > 8*m.KeySize {
			return nil, errors.New("the key returned an ECDSA signature out of range")
		}
		out := make([]byte, 2*m.KeySize)
		rs.R.FillBytes(out[:m.KeySize])
		rs.S.FillBytes(out[m.KeySize:])
		return out, nil
	case *jwt.SigningMethodRSAPSS:
		return key.Sign(rand.Reader, digest(m.Hash, input), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: m.Hash})
	case *jwt.SigningMethodEd25519:
		return key.Sign(rand.Reader, input, crypto.Hash(0))
	}
	return nil, fmt.Errorf("no way to sign %s", m.Alg())
}

func digest(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}
