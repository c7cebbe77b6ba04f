package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer   = "https://issuer.test"
	audience = "api"
	secret   = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

type claims = map[string]any

// good returns claims that pass, with changes; a nil value removes.
func good(changes claims) gojwt.MapClaims {
	c := gojwt.MapClaims{"iss": issuer, "aud": audience, "sub": "ada", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func sign(t testing.TB, alg string, key any, kid string, c gojwt.MapClaims) string {
	t.Helper()
	tok := gojwt.NewWithClaims(gojwt.GetSigningMethod(alg), c)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// forge signs arbitrary header and claims texts.
func forge(t testing.TB, alg string, key any, header, body string) string {
	t.Helper()
	signed := b64(header) + "." + b64(body)
	sig, err := gojwt.GetSigningMethod(alg).Sign(signed, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// ring makes each kind of key once for all tests: RSA takes its time.
var ring = sync.OnceValue(func() (k struct {
	rsa   *rsa.PrivateKey
	ec    map[string]*ecdsa.PrivateKey
	ed    ed25519.PrivateKey
	other *ecdsa.PrivateKey
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.ec = map[string]*ecdsa.PrivateKey{}
	for alg, c := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		k.ec[alg], _ = ecdsa.GenerateKey(c, rand.Reader)
	}
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	k.other, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return k
})

func publicPEM(t testing.TB, private crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// toJWK writes a public key as a JWK with further members.
func toJWK(t testing.TB, public any, more map[string]any) map[string]any {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	m := map[string]any{}
	switch p := public.(type) {
	case *rsa.PublicKey:
		m = map[string]any{"kty": "RSA", "n": enc(p.N.Bytes()), "e": enc(big.NewInt(int64(p.E)).Bytes())}
	case *ecdsa.PublicKey:
		b, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		n := len(b) / 2
		m = map[string]any{"kty": "EC", "crv": p.Curve.Params().Name, "x": enc(b[1 : 1+n]), "y": enc(b[1+n:])}
	case ed25519.PublicKey:
		m = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": enc(p)}
	}
	for k, v := range more {
		m[k] = v
	}
	return m
}

func jwks(t testing.TB, keys ...map[string]any) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// newFilter builds from cfg with the issuer and audience filled in.
func newFilter(t testing.TB, cfg Config) *Filter {
	t.Helper()
	set := store.NewSet()
	return newFilterIn(t, set, cfg)
}

func newFilterIn(t testing.TB, set *store.Set, cfg Config) *Filter {
	t.Helper()
	if cfg.Iss == nil {
		cfg.Iss = []string{issuer}
	}
	if cfg.Audiences == nil {
		cfg.Audiences = []string{audience}
	}
	lease := set.Lease()
	t.Cleanup(lease.Release)
	f, err := Kind().Build(&cfg, &filter.Env{
		Store: lease, Log: slog.New(slog.DiscardHandler), Route: "test", Consumers: []filter.Consumer{{Name: "mobile"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func request(token string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Proto = "HTTP/1.1"
	if token != "" {
		x.Request.Header.Add("Authorization", "Bearer "+token)
	}
	return x
}

// ask returns the fault code, "" when the token passed.
func ask(f *Filter, token string) string {
	x := request(token)
	fault := f.OnRequest(x).Fault()
	if fault == nil {
		if x.Identity == nil {
			return "passed without identity"
		}
		return ""
	}
	return fault.Code
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// fakeIssuer serves a key set that tests change.
type fakeIssuer struct {
	*httptest.Server
	body    atomic.Pointer[string]
	down    atomic.Bool
	fetches atomic.Int64
	hold    atomic.Pointer[chan struct{}]
}

func newIssuer(t testing.TB, body string) *fakeIssuer {
	t.Helper()
	i := &fakeIssuer{}
	i.body.Store(&body)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.fetches.Add(1)
		if hold := i.hold.Load(); hold != nil {
			select {
			case <-*hold:
			case <-r.Context().Done():
			}
		}
		if i.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(*i.body.Load()))
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *fakeIssuer) publish(body string) { i.body.Store(&body) }
