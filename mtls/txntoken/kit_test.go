package txntoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ingressID = "spiffe://prod/ingress"
	ordersID  = "spiffe://prod/ns/shop/orders"
	payID     = "spiffe://prod/ns/shop/payments"
)

// ca is a small certificate authority.
type ca struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
}

var serial = struct {
	sync.Mutex
	n int64
}{}

func nextSerial() *big.Int {
	serial.Lock()
	defer serial.Unlock()
	serial.n++
	return big.NewInt(serial.n)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newCA(t testing.TB, name string) *ca {
	t.Helper()
	key := newKey(t)
	tpl := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return &ca{t, create(t, tpl, tpl, key.Public(), key), key}
}

// sub returns an intermediate below c.
func (c *ca) sub(name string) *ca {
	key := newKey(c.t)
	tpl := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(12 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return &ca{c.t, create(c.t, tpl, c.cert, key.Public(), c.key), key}
}

func create(t testing.TB, tpl, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue returns an SVID of an hour, changed by edit.
func (c *ca) issue(id string, key crypto.Signer, edit ...func(*x509.Certificate)) *x509svid.SVID {
	c.t.Helper()
	if key == nil {
		key = newKey(c.t)
	}
	u, err := url.Parse(id)
	if err != nil {
		c.t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: nextSerial(), URIs: []*url.URL{u},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, e := range edit {
		e(tpl)
	}
	leaf := create(c.t, tpl, c.cert, key.Public(), c.key)
	return &x509svid.SVID{ID: spiffeid.RequireFromString(id), Certificates: []*x509.Certificate{leaf}, PrivateKey: key}
}

func (c *ca) bundle(td string) *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString(td), []*x509.Certificate{c.cert})
}

// clock is a clock tests turn by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newTestVerifier(t testing.TB, b x509bundle.Source, c *clock) *Verifier {
	t.Helper()
	v, err := NewVerifier(b, VerifierConfig{
		Audience: "prod", UserMinters: []string{ingressID}, SelfMinters: []string{"spiffe://prod/ns/shop/*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	v.now = c.now
	return v
}

func newTestMinter(t testing.TB, s x509svid.Source, c *clock, cfg MinterConfig) *Minter {
	t.Helper()
	m, err := NewMinter(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.now = c.now
	return m
}

// forge writes a token of any header and payload. A string goes in as it is;
// anything else as JSON.
func forge(t testing.TB, header, payload any, signFn func(input []byte) []byte) string {
	t.Helper()
	part := func(v any) string {
		if s, ok := v.(string); ok {
			return b64.EncodeToString([]byte(s))
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b64.EncodeToString(b)
	}
	in := part(header) + "." + part(payload)
	return in + "." + b64.EncodeToString(signFn([]byte(in)))
}

func signWith(t testing.TB, key crypto.Signer) func([]byte) []byte {
	return func(in []byte) []byte {
		m, err := methodFor(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := sign(m, key, in)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
}

func x5cOf(certs ...*x509.Certificate) []string {
	var l []string
	for _, c := range certs {
		l = append(l, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return l
}

func keyKinds(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"ES256": newKey(t), "ES384": p384, "ES512": p521, "PS256": r, "EdDSA": ed}
}

// tlsPair returns both ends' states of one connection.
func tlsPair(t testing.TB, maxVersion uint16) (client, server *tls.ConnectionState) {
	t.Helper()
	s := newCA(t, "tls").issue(ordersID, nil)
	cert := tls.Certificate{Certificate: [][]byte{s.Certificates[0].Raw}, PrivateKey: s.PrivateKey}
	a, b := net.Pipe()
	srv := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: maxVersion, SessionTicketsDisabled: true})
	cli := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MaxVersion: maxVersion})
	done := make(chan error, 1)
	go func() { done <- srv.Handshake() }()
	if err := cli.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	cs, ss := cli.ConnectionState(), srv.ConnectionState()
	return &cs, &ss
}

type txn = exchange.Txn
