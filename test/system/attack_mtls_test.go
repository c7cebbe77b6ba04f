package system

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/test/kit"
)

// authority is the embedded CA's key in the hands of one who signs whatever
// comes to mind.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
}

func stealCA(t testing.TB, dir string) *authority {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "ca.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Roots []struct{ Cert, Key string } }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	certPEM, _ := pem.Decode([]byte(file.Roots[0].Cert))
	keyPEM, _ := pem.Decode([]byte(file.Roots[0].Key))
	a := &authority{t: t}
	if a.cert, err = x509.ParseCertificate(certPEM.Bytes); err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyPEM.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	a.key = key.(crypto.Signer)
	return a
}

func newCA(t testing.TB, domain string) *authority {
	t.Helper()
	dir := t.TempDir()
	ca, err := mtls.OpenCA(mtls.CAConfig{Dir: dir, TrustDomain: domain})
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Close(); err != nil {
		t.Fatal(err)
	}
	return stealCA(t, dir)
}

// sign makes a certificate, by default a proper SVID of 1 h but for its names.
func (a *authority) sign(change func(*x509.Certificate), ids ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	for _, id := range ids {
		u, err := url.Parse(id)
		if err != nil {
			a.t.Fatal(err)
		}
		tmpl.URIs = append(tmpl.URIs, u)
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// the protocols that a mesh listener speaks: no ALPN and http/1.1 are one
// engine's, lintel/1 its shared connections, h2 the other engine's.
var meshProtocols = []string{"", "http/1.1", "lintel/1", "h2"}

func rogue(protocol string, certs ...tls.Certificate) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, Certificates: certs}
	if protocol != "" {
		c.NextProtos = []string{protocol}
	}
	return c
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// heard is what a mesh listener says to a connection on which a request was
// sent: bytes, or the error that ended it; a timeout is silence.
func heard(addr string, conf *tls.Config, protocol string) (string, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: limit}, "tcp", addr, conf)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if got := conn.ConnectionState().NegotiatedProtocol; got != protocol {
		return "", fmt.Errorf("negotiated %q", got)
	}
	request := "GET /x HTTP/1.1\r\nHost: orders\r\n\r\n"
	if protocol == "h2" {
		request = preface
	}
	if protocol != "lintel/1" { // who may open one hears nothing until it asks
		_, _ = io.WriteString(conn, request)
	}
	wait := limit
	if protocol == "lintel/1" {
		wait = 2 * time.Second
	}
	_ = conn.SetDeadline(time.Now().Add(wait))
	b := make([]byte, 512)
	n, err := conn.Read(b)
	return string(b[:n]), err
}

func TestForgedIdentitiesAreRefusedByBothEngines(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{OrdersAllow: "[{from: ['*']}]"})
	ours, same, evil := stealCA(t, c.CADir), newCA(t, ""), newCA(t, "evil.example")
	ca := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }
	below := ours.sign(ca, svc("ingress")) // a workload's certificate that may sign
	belowCert, err := x509.ParseCertificate(below.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sub := &authority{t, belowCert, below.PrivateKey.(crypto.Signer)}
	chained := sub.sign(nil, svc("ingress"))
	chained.Certificate = append(chained.Certificate, below.Certificate[0])
	root := tls.Certificate{Certificate: [][]byte{ours.cert.Raw}, PrivateKey: ours.key}

	before := c.Orders.App.Requests.Load()
	for _, protocol := range meshProtocols {
		t.Run("ALPN "+protocol, func(t *testing.T) {
			// The control: what these refuse is the certificate and nothing else.
			said, err := heard(c.Orders.Mesh, rogue(protocol, ours.sign(nil, svc("ingress"))), protocol)
			var silent net.Error
			if served := strings.Contains(said, "200 OK") || protocol == "h2" && said != "" ||
				protocol == "lintel/1" && (said != "" || errors.As(err, &silent) && silent.Timeout()); !served {
				t.Fatalf("a genuine identity heard %q, %v", said, err)
			}
			for name, certs := range map[string][]tls.Certificate{
				"no certificate":                        nil,
				"another trust domain's":                {evil.sign(nil, "spiffe://evil.example/svc/ingress")},
				"another CA in our name":                {same.sign(nil, svc("ingress"))},
				"another trust domain's CA in our name": {evil.sign(nil, svc("ingress"))},
				"our CA in another trust domain's name": {ours.sign(nil, "spiffe://evil.example/svc/ingress")},
				"expired":                               {ours.sign(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, svc("ingress"))},
				"not valid yet":                         {ours.sign(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, svc("ingress"))},
				"two URI SANs":                          {ours.sign(nil, svc("ingress"), svc("mallory"))},
				"no URI SAN":                            {ours.sign(func(c *x509.Certificate) { c.DNSNames = []string{"ingress"} })},
				"a URI that is no SPIFFE ID":            {ours.sign(nil, "https://lintel.local/svc/ingress")},
				"the trust domain's own ID":             {ours.sign(nil, "spiffe://lintel.local")},
				"a CA certificate as leaf":              {ours.sign(ca, svc("ingress"))},
				"a leaf that may sign certificates":     {ours.sign(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, svc("ingress"))},
				"the CA itself":                         {root},
				"signed by a workload":                  {chained},
				"a leaf that may sign revocations":      {ours.sign(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, svc("ingress"))},
			} {
				said, err := heard(c.Orders.Mesh, rogue(protocol, certs...), protocol)
				if said != "" || err == nil || errors.As(err, &silent) && silent.Timeout() {
					t.Errorf("%s: heard %q, %v", name, said, err)
				}
			}
			old := rogue(protocol, ours.sign(nil, svc("ingress")))
			old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			if said, err := heard(c.Orders.Mesh, old, protocol); said != "" || err == nil {
				t.Errorf("TLS 1.2: heard %q, %v", said, err)
			}
			var kept counter
			again := rogue(protocol, ours.sign(nil, svc("ingress")))
			again.ClientSessionCache, again.ServerName = &kept, "orders"
			if _, err := heard(c.Orders.Mesh, again, protocol); err != nil && !(errors.As(err, &silent) && silent.Timeout()) {
				t.Error(err)
			}
			if n := kept.Load(); n > 0 {
				t.Errorf("%d sessions to resume were offered", n)
			}
		})
	}
	// The controls of two protocols sent a request that was served.
	if n := c.Orders.App.Requests.Load() - before; n != 4 {
		t.Errorf("%d requests reached the app, want 4 of genuine callers", n)
	}
	for name, says := range map[string]string{"HTTP/1.1": "GET /x HTTP/1.1\r\nHost: orders\r\n\r\n", "HTTP/2": preface} {
		before := c.Orders.App.Requests.Load()
		conn, err := net.Dial("tcp", c.Orders.Mesh)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(limit))
		_, _ = io.WriteString(conn, says)
		b, _ := io.ReadAll(conn)
		_ = conn.Close()
		if strings.Contains(string(b), "200 OK") || strings.HasPrefix(string(b), "\x00\x00") || c.Orders.App.Requests.Load() != before {
			t.Errorf("plaintext %s was answered %q", name, b)
		}
	}
}

// counter counts the sessions it is given to keep.
type counter struct{ atomic.Int64 }

func (c *counter) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

func (c *counter) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		c.Add(1)
	}
}

// Right CA, wrong service: who has no business at a service is told so on
// every protocol, and loses the connection it has when it loses the permission.
func TestDenialsHoldOnBothEngines(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{OrdersAllow: "[{from: [ingress]}, {from: [mallory]}]"})
	ours := stealCA(t, c.CADir)
	client := func(protocol, service string) *http.Client {
		tr := &http.Transport{TLSClientConfig: rogue("", ours.sign(nil, svc(service))), Protocols: &http.Protocols{}}
		tr.Protocols.SetHTTP1(protocol != "h2")
		tr.Protocols.SetHTTP2(protocol == "h2")
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr, Timeout: limit}
	}
	ask := func(cl *http.Client, protocol string) (int, string) {
		t.Helper()
		res, err := cl.Get("https://" + c.Orders.Mesh + "/x")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil || (res.ProtoMajor == 2) != (protocol == "h2") {
			t.Fatal(res.Proto, err)
		}
		return res.StatusCode, string(b)
	}
	mallory := map[string]*http.Client{}
	for _, protocol := range []string{"http/1.1", "h2"} {
		before := c.Orders.App.Requests.Load()
		if status, body := ask(client(protocol, "inventory"), protocol); status != http.StatusForbidden || !strings.Contains(body, "peer-denied") {
			t.Errorf("%s: inventory: %d %s", protocol, status, body)
		}
		if c.Orders.App.Requests.Load() != before {
			t.Errorf("%s: a denied request reached the app", protocol)
		}
		mallory[protocol] = client(protocol, "mallory")
		if status, body := ask(mallory[protocol], protocol); status != http.StatusOK {
			t.Fatalf("%s: mallory: %d %s", protocol, status, body)
		}
	}
	kit.Replace(t, c.Orders.File, strings.Replace(c.Orders.Config, "from: [mallory]", "from: [nobody]", 1))
	for protocol, cl := range mallory {
		kit.Eventually(t, limit, "mallory is denied over "+protocol, func() error {
			if status, body := ask(cl, protocol); status != http.StatusForbidden {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		// A session that could be resumed would be here; so would the connection.
		for range 3 {
			if status, body := ask(cl, protocol); status != http.StatusForbidden {
				t.Errorf("%s: denied, and then %d %s", protocol, status, body)
			}
		}
	}
}
