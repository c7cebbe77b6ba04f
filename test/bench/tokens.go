package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What the tokens say of themselves.
const (
	issuer   = "https://issuer.bench"
	audience = "bench"
)

// tokens signs RS256 tokens with a 2048-bit key.
type tokens struct {
	PublicKey string // PEM file
	key       *rsa.PrivateKey
	made      int
}

func newTokens(dir string) (*tokens, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	t := &tokens{PublicKey: filepath.Join(dir, "issuer.pem"), key: key}
	return t, os.WriteFile(t.PublicKey, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

// make signs n tokens, each of another user, good for an hour.
func (t *tokens) make(n int) ([]string, error) {
	list := make([]string, n)
	for i := range list {
		t.made++
		claims := jwt.MapClaims{"iss": issuer, "aud": audience, "sub": fmt.Sprintf("user-%06d", t.made), "roles": []string{"customer"},
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
		var err error
		if list[i], err = jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(t.key); err != nil {
			return nil, err
		}
	}
	return list, nil
}
