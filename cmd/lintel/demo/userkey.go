package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// userKey stands for the users' identity provider.
type userKey struct {
	key  *ecdsa.PrivateKey
	file string // its public key, PEM
}

func newUserKey(file string) (*userKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("demo: user key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("demo: user key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("demo: user key: %w", err)
	}
	return &userKey{key, file}, nil
}

// token signs in the demo's user for twelve hours.
func (k *userKey) token() (string, error) {
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "https://demo.lintel.local", "aud": "demo", "sub": "ada", "roles": []string{"customer", "admin"},
		"iat": now.Unix(), "exp": now.Add(12 * time.Hour).Unix(),
	}).SignedString(k.key)
}
