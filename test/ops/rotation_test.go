package ops_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/test/kit"
)

// leafOf is the certificate that a mesh listener shows.
func leafOf(addr string) (*x509.Certificate, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 30 * time.Second},
		Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}} // only looked at
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

func meshLoad(t testing.TB, c *kit.Chain) *kit.Load {
	token := c.Token(nil)
	return kit.StartLoad(t, nil,
		kit.Shot{Method: http.MethodGet, URL: "http://" + c.Edge + "/orders/call?service=inventory&path=/x", Token: token, Expect: `"next_status":200`},
		kit.Shot{Method: http.MethodPost, URL: "http://" + c.Edge + "/orders/b", Token: token, Body: "payload", Expect: `"body":"payload"`})
}

func TestIdentityRotationFailsNoRequest(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{TTL: 6 * time.Second}) // renewed after 3 s: leaves a slow machine 3 more
	sse := openEvents(t, c, "/orders/ticks?n=110&every=100", c.Token(nil))
	serials := map[string]bool{}
	l := meshLoad(t, c)
	for began := time.Now(); len(serials) < 4 && time.Since(began) < time.Minute; {
		asked := time.Now()
		if leaf, err := leafOf(c.Orders.Mesh); err != nil {
			t.Errorf("handshake with the sidecar: %v", err)
		} else {
			serials[leaf.SerialNumber.String()] = true
			if asked.After(leaf.NotAfter) {
				t.Errorf("the sidecar shows a certificate that ended at %s", leaf.NotAfter)
			}
		}
		l.During(250 * time.Millisecond)
	}
	if err := sse.all(110); err != nil {
		t.Errorf("a stream older than the certificate it began with: %v", err)
	}
	l.Clean(500)
	if len(serials) < 4 {
		t.Errorf("%d certificates in a minute, want at least 4", len(serials))
	}
}

func TestConsulRootRotationFailsNoRequest(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true})
	before, err := leafOf(c.Orders.Mesh)
	if err != nil {
		t.Fatal(err)
	}
	l := meshLoad(t, c)
	l.During(500 * time.Millisecond)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	consul.Put("/v1/connect/ca/configuration", map[string]any{"Provider": "consul", "Config": map[string]any{
		"PrivateKey":  string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		"LeafCertTTL": "72h", "IntermediateCertTTL": "8760h", "RotationPeriod": "2160h"}}, nil)
	var roots struct {
		Roots []struct {
			Active   bool
			RootCert string
		}
	}
	if err := consul.Get("/v1/connect/ca/roots", &roots); err != nil || len(roots.Roots) != 2 {
		t.Fatalf("Consul did not rotate: %d roots, %v", len(roots.Roots), err)
	}
	fresh := x509.NewCertPool()
	for _, r := range roots.Roots {
		if r.Active && !fresh.AppendCertsFromPEM([]byte(r.RootCert)) {
			t.Fatalf("no root in %s", r.RootCert)
		}
	}
	for _, s := range []*kit.Side{c.Orders, c.Inventory} {
		kit.Eventually(t, 2*time.Minute, "a leaf of the new root", func() error {
			leaf, err := leafOf(s.Mesh)
			if err != nil {
				return err
			}
			_, err = leaf.Verify(x509.VerifyOptions{Roots: fresh, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		})
	}
	l.During(2 * time.Second)
	l.Clean(500)
	if after, err := leafOf(c.Orders.Mesh); err != nil || after.SerialNumber.Cmp(before.SerialNumber) == 0 {
		t.Errorf("the leaf is still the same: %v", err)
	}
}

func TestExpiredIdentityFailsClosed(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{TTL: 6 * time.Second})
	// The Workload API of orders' sidecar is ours, with the CA that the others share.
	ca, err := mtls.OpenCA(mtls.CAConfig{Dir: c.CADir, TTL: 6 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	dir, err := os.MkdirTemp("", "ops-") // a unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "api.sock")
	serve := func() *mtls.Server {
		s, err := ca.Serve(context.Background(), socket, "spiffe://lintel.local/svc/orders")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	api := serve()
	c.Orders.Process.Kill()
	text := strings.Replace(c.Orders.Config, fmt.Sprintf("source: embedded\n  embedded: {dir: %q, ttl: 6s}", c.CADir),
		fmt.Sprintf("source: workload-api\n  socket: %q", "unix://"+socket), 1)
	if text == c.Orders.Config {
		t.Fatal("the identity section was not replaced")
	}
	kit.Replace(t, c.Orders.File, text)
	c.Orders.Process = kit.Start(t, nil, "sidecar", "-c", c.Orders.File).Ready(c.Orders.Admin)
	token := c.Token(nil)
	works := func() error {
		if status, body := c.Get("/orders/call?service=inventory&path=/x", token); status != http.StatusOK || !strings.Contains(body, `"next_status":200`) {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	}
	kit.Eventually(t, time.Minute, "the chain works", works)

	_ = api.Close()
	kit.Eventually(t, time.Minute, "not ready", func() error {
		r, err := readyz(c.Orders.Admin)
		if err == nil && (r.Code != http.StatusServiceUnavailable || !strings.HasPrefix(r.detail("identity"), "ok=false")) {
			err = fmt.Errorf("%d %s", r.Code, r.detail("identity"))
		}
		return err
	})
	asked := c.Orders.App.Requests.Load()
	for range 5 { // on connections that were open before, and on new ones
		status, body := c.Get("/orders/refused", token)
		if status < 500 || !strings.Contains(body, "problem") && !strings.Contains(body, "title") {
			t.Errorf("in: %d %s; want a 5xx that says why", status, body)
		}
	}
	if n := c.Orders.App.Requests.Load() - asked; n > 0 {
		t.Errorf("%d requests reached the app of a sidecar without an identity", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before := c.Inventory.App.Requests.Load()
	status, body, err := c.Orders.App.Ask(ctx, "inventory", "/refused", http.Header{})
	if err != nil || status < 500 || !strings.Contains(string(body), "has expired") || !strings.Contains(string(body), `"code":"identity"`) {
		t.Errorf("out: %d %s, %v; want a 5xx that says that the identity has expired", status, body, err)
	}
	if n := c.Inventory.App.Requests.Load() - before; n > 0 {
		t.Errorf("%d requests went out without an identity", n)
	}
	if code, _, says := run(t, nil, "health", "--address", c.Orders.Admin); code != 1 || !strings.Contains(says, "identity") {
		t.Errorf("lintel health: %d %s", code, says)
	}

	serve()
	kit.Eventually(t, time.Minute, "the chain works again", works)
	if r := mustReady(t, c.Orders.Admin); r.Code != http.StatusOK {
		t.Errorf("readyz %d %s", r.Code, r.detail("identity"))
	}
}
