package clientcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/consumer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cert makes a self-signed certificate: who signed it is the listener's affair.
func cert(t testing.TB, cn string, uris []string, dns ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if cn == "" {
		template.Subject = pkix.Name{}
	}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var consumers = []filter.Consumer{
	{Name: "billing", Groups: []string{"gold"}, Metadata: map[string]string{"plan": "big"}, Certificates: []filter.ConsumerCertificate{{URI: "spiffe://p.example/billing"}}},
	{Name: "one", Certificates: []filter.ConsumerCertificate{{DNS: "one.example"}}},
	{Name: "two", Certificates: []filter.ConsumerCertificate{{DNS: "two.example"}}},
}

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := Kind().Build(&c, &filter.Env{Consumers: consumers})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func with(c *x509.Certificate, verified bool) *exchange.Exchange {
	x := &exchange.Exchange{}
	if c != nil {
		x.Client.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
		if verified {
			x.Client.TLS.VerifiedChains = [][]*x509.Certificate{{c}}
		}
	}
	return x
}

func TestWhoACertificateStandsFor(t *testing.T) {
	billing := cert(t, "billing", []string{"spiffe://p.example/billing"})
	stranger, named, nameless := cert(t, "s", []string{"spiffe://p.example/x"}), cert(t, "somebody", nil), cert(t, "", nil)
	both := cert(t, "b", nil, "one.example", "two.example")
	for _, c := range []struct {
		name     string
		cfg      Config
		x        *exchange.Exchange
		want     string
		consumer string
		subject  string
	}{
		{"a consumer's", Config{Required: true}, with(billing, true), "", "billing", "billing"},
		{"none", Config{Required: true}, with(nil, false), "no-certificate", "", ""},
		{"none on TLS", Config{Required: true}, &exchange.Exchange{Client: exchange.ConnInfo{TLS: &tls.ConnectionState{}}}, "no-certificate", "", ""},
		{"none, and none is needed", Config{}, with(nil, false), "", "", ""},
		{"not verified", Config{}, with(billing, false), "bad-certificate", "", ""},
		{"nobody's", Config{}, with(stranger, true), "unknown-certificate", "", ""},
		{"nobody's, which may pass", Config{Unknown: "allow"}, with(stranger, true), "", "", "spiffe://p.example/x"},
		{"nobody's, by its subject", Config{Unknown: "allow"}, with(named, true), "", "", "CN=somebody"},
		{"nobody's, without a name", Config{Unknown: "allow"}, with(nameless, true), "", "", "sha256:" + fingerprint(t, nameless)},
		{"two consumers'", Config{Unknown: "allow"}, with(both, true), "bad-certificate", "", ""},
		{"of an allowed group", Config{Groups: []string{"gold"}}, with(billing, true), "", "billing", "billing"},
		{"not allowed", Config{Consumers: []string{"one"}}, with(billing, true), "consumer-refused", "billing", "billing"},
	} {
		f := newFilter(t, c.cfg)
		for range 2 { // looked up, and remembered
			c.x.Consumer, c.x.Identity = "", nil
			got, subject := "", ""
			if fault := f.OnRequest(c.x).Fault(); fault != nil {
				got = fault.Code
				if fault.Status != 403 {
					t.Errorf("%s: status %d", c.name, fault.Status)
				}
			}
			if c.x.Identity != nil {
				subject = c.x.Identity.Subject
			}
			if got != c.want || c.x.Consumer != c.consumer || subject != c.subject {
				t.Errorf("%s: %q, consumer %q, subject %q; want %q, %q, %q", c.name, got, c.x.Consumer, subject, c.want, c.consumer, c.subject)
			}
		}
	}
}

func fingerprint(t testing.TB, c *x509.Certificate) string {
	t.Helper()
	s, err := consumer.Show(c)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(s.Fingerprint[:])
}

func TestAConnectionDoesNotOutliveItsCertificate(t *testing.T) {
	f := newFilter(t, Config{Required: true})
	x := with(cert(t, "billing", []string{"spiffe://p.example/billing"}), true)
	if fault := f.OnRequest(x).Fault(); fault != nil {
		t.Fatal(fault)
	}
	f.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if fault := f.OnRequest(x).Fault(); fault == nil || fault.Code != "certificate-expired" {
		t.Errorf("%v", fault)
	}
}

func TestTheServiceIsToldByLintelAlone(t *testing.T) {
	c := cert(t, "billing", []string{"spiffe://p.example/billing"})
	f := newFilter(t, Config{Required: true, Forward: true, Headers: map[string]string{"X-Consumer-Name": "name", "X-Plan": "metadata.plan", "X-Cert": "credential"}})
	x := with(c, true)
	for _, n := range []string{"Client-Cert", "client_cert", "X-Plan", "x.cert"} {
		x.Request.Header.Add(n, "spoofed")
	}
	if fault := f.OnRequest(x).Fault(); fault != nil {
		t.Fatal(fault)
	}
	got := map[string]string{}
	for n, v := range x.Request.Header.All() {
		got[n] += v
	}
	want := map[string]string{"X-Consumer-Name": "billing", "X-Plan": "big", "X-Cert": fingerprint(t, c), "Client-Cert": ":" + base64.StdEncoding.EncodeToString(c.Raw) + ":"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestCertificatesInMindAreBounded(t *testing.T) {
	f := newFilter(t, Config{Unknown: "allow"})
	for range 3 * remembered {
		f.holder(&x509.Certificate{RawSubject: []byte{0x30, 0}, RawIssuer: []byte{0x30, 0}})
	}
	if n := len(f.seen); n == 0 || n > remembered {
		t.Errorf("%d certificates in mind, want at most %d", n, remembered)
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for path, c := range map[string]Config{
		"consumers[0]": {Consumers: []string{"nobody"}},
		"groups[0]":    {Groups: []string{"none"}},
		"unknown":      {Unknown: "allow", Consumers: []string{"one"}},
		"headers.X":    {Headers: map[string]string{"X": "subject"}},
	} {
		_, err := Kind().Build(&c, &filter.Env{Consumers: consumers})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != path {
			t.Errorf("%+v: %v, want an error at %q", c, err, path)
		}
	}
}

func TestAKnownCertificateCostsNoAllocation(t *testing.T) {
	f := newFilter(t, Config{Required: true, Headers: map[string]string{"X-Consumer-Name": "name"}})
	x := with(cert(t, "billing", []string{"spiffe://p.example/billing"}), true)
	run := func() {
		x.Request.Header.Reset()
		if f.OnRequest(x) != filter.Next {
			t.Fatal("refused")
		}
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkKnownCertificate(b *testing.B) {
	f := newFilter(b, Config{Required: true, Headers: map[string]string{"X-Consumer-Name": "name"}})
	x := with(cert(b, "billing", []string{"spiffe://p.example/billing"}), true)
	b.ReportAllocs()
	for b.Loop() {
		x.Request.Header.Reset()
		f.OnRequest(x)
	}
}
