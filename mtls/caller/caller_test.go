package caller

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// minter is a workload whose key the sidecar serves.
type minter struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	kid  string
}

func newMinter(t testing.TB, id string, life time.Duration) minter {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life), URIs: []*url.URL{u}}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return minter{key, cert, base64.RawURLEncoding.EncodeToString(sum[:])}
}

func (m minter) sign(t testing.TB, header, change map[string]any) string {
	t.Helper()
	now := time.Now()
	c := jwt.MapClaims{"aud": "corp.example", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "txn": "t1", "sub": "ada", "scope": "read pay",
		"tctx": map[string]any{"roles": []string{"admin"}, "sub_iss": "https://issuer.test", "tenant": "acme"}}
	maps.Copy(c, change)
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	tok.Header["typ"], tok.Header["kid"] = "txntoken+jwt", m.kid
	maps.Copy(tok.Header, header)
	s, err := tok.SignedString(m.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sidecar serves the keys of those minters that are in force.
type sidecar struct {
	*httptest.Server
	minters atomic.Pointer[[]minter]
	asked   atomic.Int64
}

func serveKeys(t testing.TB, minters ...minter) *sidecar {
	s := &sidecar{}
	s.minters.Store(&minters)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if r.URL.Path != "/.well-known/jwks.json" {
			http.NotFound(w, r)
			return
		}
		var keys []map[string]any
		for _, m := range *s.minters.Load() {
			keys = append(keys, map[string]any{"kty": "EC", "kid": m.kid, "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(m.cert.Raw)}})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	}))
	t.Cleanup(s.Close)
	return s
}

func request(token string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:4711"
	r.Header.Set("X-Lintel-Chain", "spiffe://corp.example/svc/ingress, spiffe://corp.example/svc/orders")
	if token != "" {
		r.Header.Set("Txn-Token", token)
	}
	return r
}

func TestTheCallerIsReadFromTheToken(t *testing.T) {
	m := newMinter(t, "spiffe://corp.example/svc/ingress", time.Hour)
	side := serveKeys(t, m)
	s := FromSidecar(side.URL, "corp.example")
	for range 3 {
		r := request(m.sign(t, nil, nil))
		r.Header.Set("X-User-Id", "root") // not believed: the token says who it is
		c, err := s.Of(r)
		if err != nil {
			t.Fatal(err)
		}
		if c.User != "ada" || c.Issuer != "https://issuer.test" || !c.Has("admin") || c.Has("root") || !c.May("pay") || c.May("write") || c.Txn != "t1" ||
			c.Context["tenant"] != "acme" || c.Service() != "spiffe://corp.example/svc/orders" || !c.CameThrough("spiffe://corp.example/svc/ingress") || c.Expires.IsZero() {
			t.Errorf("%+v", c)
		}
	}
	if n := side.asked.Load(); n != 1 {
		t.Errorf("the keys were asked for %d times", n)
	}
	c, err := s.Of(request(""))
	if err != nil || c.User != "" || c.Service() == "" {
		t.Errorf("without a token: %+v, %v", c, err)
	}
	self := newMinter(t, "spiffe://corp.example/svc/orders", time.Hour) // its key is not served
	if c, err = s.Of(request(self.sign(t, nil, map[string]any{"sub": "spiffe://corp.example/svc/orders"}))); err != nil || c.User != "" || c.Roles != nil {
		t.Errorf("a workload for itself: %+v, %v", c, err)
	}
}

func TestHostileRequestsAreRefused(t *testing.T) {
	m, evil := newMinter(t, "spiffe://corp.example/svc/ingress", time.Hour), newMinter(t, "spiffe://corp.example/svc/evil", time.Hour)
	foreign, old := newMinter(t, "spiffe://evil.example/svc/ingress", time.Hour), newMinter(t, "spiffe://corp.example/svc/ingress", -time.Second)
	side := serveKeys(t, m, foreign, old)
	s := FromSidecar(side.URL, "corp.example")
	good := m.sign(t, nil, nil)
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"txntoken+jwt","kid":"` + m.kid + `"}`))
	hs := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ada", "aud": "corp.example", "txn": "t", "exp": time.Now().Add(time.Minute).Unix()})
	hs.Header["typ"], hs.Header["kid"] = "txntoken+jwt", m.kid
	hmac, err := hs.SignedString(m.cert.RawSubjectPublicKeyInfo)
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Minute).Unix()
	for name, token := range map[string]string{
		"rubbish": "rubbish", "alg none": none + "." + parts[1] + ".", "HMAC of the key": hmac,
		"another's key":            evil.sign(t, nil, nil),
		"another's key, this kid":  evil.sign(t, map[string]any{"kid": m.kid}, nil),
		"key in the token":         evil.sign(t, map[string]any{"jwk": map[string]any{"kty": "EC"}, "x5c": []string{base64.StdEncoding.EncodeToString(evil.cert.Raw)}}, nil),
		"another trust domain's":   foreign.sign(t, nil, nil),
		"expired certificate":      old.sign(t, nil, nil),
		"expired":                  m.sign(t, nil, map[string]any{"exp": past}),
		"of the future":            m.sign(t, nil, map[string]any{"iat": time.Now().Add(time.Minute).Unix()}),
		"without exp":              m.sign(t, nil, map[string]any{"exp": nil}),
		"for another trust domain": m.sign(t, nil, map[string]any{"aud": "evil.example"}),
		"of another type":          m.sign(t, map[string]any{"typ": "JWT"}, nil),
		"without sub":              m.sign(t, nil, map[string]any{"sub": ""}),
		"altered":                  parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"huge":                     good + strings.Repeat("A", 17<<10),
	} {
		if c, err := s.Of(request(token)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	r := request(good)
	r.Header.Add("Txn-Token", good)
	if _, err := s.Of(r); !errors.Is(err, ErrInvalid) {
		t.Errorf("two tokens: %v", err)
	}
	for range 100 {
		_, _ = s.Of(request(evil.sign(t, nil, nil)))
	}
	if n := side.asked.Load(); n > keysBurst+5 {
		t.Errorf("unknown keys had the set asked for %d times", n)
	}
	far := request(good)
	far.RemoteAddr = "192.0.2.1:4711"
	if c, err := s.Of(far); err != nil || c.User != "ada" || c.Chain != nil {
		t.Errorf("from another machine the token counts and the chain does not: %+v, %v", c, err)
	}
}

func TestARotatedKeyIsFoundAndARemovedOneForgotten(t *testing.T) {
	first, next := newMinter(t, "spiffe://corp.example/svc/ingress", time.Hour), newMinter(t, "spiffe://corp.example/svc/ingress", time.Hour)
	side := serveKeys(t, first)
	s := FromSidecar(side.URL, "corp.example")
	now := time.Now()
	s.keys.now = func() time.Time { return now }
	of := func(m minter) error { _, err := s.Of(request(m.sign(t, nil, nil))); return err }
	if err := of(first); err != nil {
		t.Fatal(err)
	}
	side.minters.Store(&[]minter{first, next})
	if err := errors.Join(of(next), of(first)); err != nil {
		t.Errorf("during the overlap: %v", err)
	}
	side.minters.Store(&[]minter{next})
	now = now.Add(keysFresh)
	if err := of(first); !errors.Is(err, ErrInvalid) {
		t.Errorf("a key that is gone: %v", err)
	}
	side.Close()
	if err := of(next); err != nil {
		t.Errorf("while the keys are fresh: %v", err)
	}
	now = now.Add(keysFresh)
	for range 2 {
		if err := of(next); !errors.Is(err, ErrKeys) {
			t.Errorf("without keys: %v", err)
		}
	}
}

func TestHeadersAreTrustedFromThisMachineOnly(t *testing.T) {
	r := request("")
	r.Header.Set("X-User-Id", "ada")
	r.Header.Set("X-User-Roles", "admin,customer")
	r.Header.Set("X-User-Scope", "read pay")
	r.Header.Set("X-Lintel-Txn", "t1")
	c, err := TrustHeaders().Of(r)
	if err != nil || c.User != "ada" || !slices.Equal(c.Roles, []string{"admin", "customer"}) || !c.May("pay") || c.Txn != "t1" || len(c.Chain) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	r.Header.Add("X-User-Id", "root")
	if _, err := TrustHeaders().Of(r); !errors.Is(err, ErrInvalid) {
		t.Errorf("two users: %v", err)
	}
	for _, from := range []string{"192.0.2.1:1", "", "@", "[::ffff:192.0.2.1]:1"} {
		r := request("")
		r.RemoteAddr = from
		if _, err := TrustHeaders().Of(r); !errors.Is(err, ErrInvalid) {
			t.Errorf("from %q: %v", from, err)
		}
	}
}

func TestOnlyALoopbackSidecarIsAsked(t *testing.T) {
	m := newMinter(t, "spiffe://corp.example/svc/ingress", time.Hour)
	for _, admin := range []string{"http://192.0.2.1:9901", "https://127.0.0.1:1", "http://127.0.0.1.evil.example:1", "127.0.0.1:9901", "http://%zz"} {
		if _, err := FromSidecar(admin, "corp.example").Of(request(m.sign(t, nil, nil))); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: %v", admin, err)
		}
	}
	if _, err := FromSidecar("http://127.0.0.1:1", "").Of(request(m.sign(t, nil, nil))); err == nil {
		t.Error("no trust domain, and yet it passed")
	}
}
