package examples_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/sidecar"
	"lintel.dev/lintel/test/kit"
)

// mesh is a trust domain with a CA of its own.
type mesh struct {
	t      *testing.T
	domain string
	ca     *mtls.CA
	dir    string
}

func newMesh(t *testing.T, domain string) *mesh {
	t.Helper()
	dir, err := os.MkdirTemp("", "lf") // a unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ca, err := mtls.OpenCA(mtls.CAConfig{Dir: filepath.Join(dir, "ca"), TrustDomain: domain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ca.Close() })
	return &mesh{t, domain, ca, dir}
}

func (m *mesh) source(service string) mtls.Source {
	m.t.Helper()
	src, err := m.ca.Source(m.t.Context(), "spiffe://"+m.domain+"/"+service, "", time.Minute)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = src.Close() })
	return src
}

// bundle is what the mesh publishes about itself.
func (m *mesh) bundle() *spiffebundle.Bundle {
	m.t.Helper()
	td := spiffeid.RequireTrustDomainFromString(m.domain)
	b, err := m.source("svc/publisher").GetX509BundleForTrustDomain(td)
	if err != nil {
		m.t.Fatal(err)
	}
	return spiffebundle.FromX509Bundle(b)
}

// federates serves the bundle as SPIRE does, and writes it to a file.
func (m *mesh) federates() (url, file string) {
	m.t.Helper()
	b := m.bundle()
	h, err := federation.NewHandler(b.TrustDomain(), b)
	if err != nil {
		m.t.Fatal(err)
	}
	svid, err := m.source("spire/server").GetX509SVID()
	if err != nil {
		m.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{svid.Certificates[0].Raw}, PrivateKey: svid.PrivateKey}}}
	s.StartTLS()
	m.t.Cleanup(s.Close)
	text, err := b.Marshal()
	if err != nil {
		m.t.Fatal(err)
	}
	file = filepath.Join(m.dir, "bundle.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		m.t.Fatal(err)
	}
	return s.URL, file
}

// newSidecar runs a snapshot's sidecar in this process.
func newSidecar(t *testing.T, s *config.Snapshot) *sidecar.Sidecar {
	t.Helper()
	s.Admin.Address, s.Shutdown.Drain = "off", 5*time.Second
	c, err := sidecar.Start(t.Context(), sidecar.Options{Snapshot: s, Version: "test", Out: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

func snapshot(t *testing.T, text string) *config.Snapshot {
	t.Helper()
	s, err := config.Load(kit.File(t, "sidecar.yaml", text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call asks a service by a sidecar's outbound listener.
func call(t *testing.T, by *sidecar.Sidecar, service, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+by.Addr("outbound")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.Close = service, true
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func TestTwoMeshesAreFederated(t *testing.T) {
	ours, theirs := newMesh(t, "example.org"), newMesh(t, "partner.example")
	socket := filepath.Join(ours.dir, "api.sock")
	api, err := ours.ca.Serve(context.Background(), socket, "spiffe://example.org/svc/orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	app := newHandler(t, func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header) })
	url, file := theirs.federates()
	billing := kit.FreeAddr(t)
	for k, v := range map[string]string{"SPIFFE_ENDPOINT_SOCKET": "unix://" + socket, "APP": app.addr(), "MESH": "127.0.0.1:0", "OUTBOUND": "127.0.0.1:0",
		"BILLING_ADDR": billing, "PARTNER_URL": url, "PARTNER_BUNDLE": file} {
		t.Setenv(k, v)
	}
	s, err := config.Load(example("federation.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	orders := newSidecar(t, s)

	_, our := ours.federates()
	partner := func(service, mesh string) *sidecar.Sidecar {
		return newSidecar(t, snapshot(t, fmt.Sprintf(`version: 1
sidecar: {service: %s, app: %q, mesh: %q, outbound: "127.0.0.1:0", policy: {allow: [{from: spiffe://example.org/*}]}}
services:
  orders: {mesh: true, static: %q, spiffe_id: spiffe://example.org/svc/orders}
identity:
  source: embedded
  embedded: {dir: %q, trust_domain: partner.example}
  federation: [{trust_domain: example.org, file: %q}]
  txn_token: {workload: true} # which stays in its trust domain
`, service, app.addr(), mesh, orders.Addr("mesh"), filepath.Join(theirs.dir, "ca"), our)))
	}
	shop, other := partner("shop", "127.0.0.1:0"), partner("other", "127.0.0.1:0")
	partner("billing", billing)

	for _, c := range []struct {
		by            *sidecar.Sidecar
		service, path string
		status        int
		says          string
	}{
		{shop, "orders", "/stock/7", http.StatusOK, `"X-Lintel-Chain":["spiffe://partner.example/svc/shop"]`},
		{shop, "orders", "/else", http.StatusForbidden, "peer-denied"},
		{other, "orders", "/stock/7", http.StatusForbidden, "peer-denied"},
		{orders, "billing", "/bill", http.StatusOK, `"X-Lintel-Chain":["spiffe://example.org/svc/orders"]`},
	} {
		status, body := call(t, c.by, c.service, c.path)
		if status != c.status || !strings.Contains(body, c.says) || strings.Contains(body, "Txn-Token") || strings.Contains(body, "X-Lintel-Txn") {
			t.Errorf("%s%s: %d %s", c.service, c.path, status, body)
		}
	}
}
