package apps

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What the issuer's tokens say; docker-compose.yml's ingress expects it.
const (
	Issuer   = "https://demo.lintel.local"
	Audience = "demo"
)

// tokenLife is how long a token of the issuer is good for.
const tokenLife = 12 * time.Hour

// NewIssuer stands for the users' identity provider where there is none: it
// makes a key that lives as long as the process, serves it at /jwks.json, and
// hands out the demo user's token at /token to whoever asks. Never anything but
// a demo.
func NewIssuer() (http.Handler, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("apps: issuer's key: %w", err)
	}
	point, err := key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		return nil, fmt.Errorf("apps: issuer's key: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	kid := encode(point[1:13])
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
			"kid": kid, "x": encode(point[1:33]), "y": encode(point[33:65])}}})
	})
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": Issuer, "aud": Audience, "sub": "ada",
			"roles": []string{"customer", "admin"}, "iat": now.Unix(), "exp": now.Add(tokenLife).Unix()})
		t.Header["kid"] = kid
		signed, err := t.SignedString(key)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintln(w, signed)
	})
	return mux, nil
}
