package ops_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// connectProxy registers web with a sidecar as Consul has them, and runs
// Consul's own proxy for it: in front of app, and with orders at the address
// returned.
func connectProxy(t *testing.T, consul *kit.Consul, app string) (orders string) {
	t.Helper()
	port := func(addr string) int {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return a.Port
	}
	orders = kit.FreeAddr(t)
	consul.Put("/v1/agent/service/register", map[string]any{"Name": "web", "Port": port(app), "Address": "127.0.0.1",
		"Connect": map[string]any{"SidecarService": map[string]any{"Address": "127.0.0.1", "Port": port(kit.FreeAddr(t)), "Checks": []any{},
			"Proxy": map[string]any{"Config": map[string]any{"bind_address": "127.0.0.1"}, "LocalServiceAddress": "127.0.0.1",
				"Upstreams": []any{map[string]any{"DestinationName": "orders", "LocalBindPort": port(orders)}}}}}}, nil)
	says := &lockedBuffer{}
	proxy := exec.Command(consulBin(t), "connect", "proxy", "-sidecar-for", "web", "-http-addr", consul.HTTPAddr(), "-log-level", "debug")
	proxy.Stdout, proxy.Stderr = says, says
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = proxy.Process.Kill()
		_ = proxy.Wait()
		if t.Failed() {
			t.Logf("consul connect proxy: %s", says)
		}
	})
	return orders
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Consul's own sidecar proxy calls ours and is called by it; each side obeys
// the intentions for its service.
func TestConsulsOwnProxyInteroperatesBothWays(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	intend(consul, "orders", "web", "allow", "*", "deny")
	intend(consul, "web", "orders", "allow", "*", "deny")
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true, OrdersAllow: "[{from: [ingress]}]"})
	web := kit.StartApp(t, "web", "")
	toOrders := connectProxy(t, consul, web.Addr)

	in := func() (int, string) { // web's app → Consul's proxy → orders' sidecar
		tr := &http.Transport{DisableKeepAlives: true}
		req, err := http.NewRequest(http.MethodGet, "http://"+toOrders+"/in", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Txn-Token", "stolen")
		req.Header.Set("X-User-Id", "mallory")
		res, err := tr.RoundTrip(req)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	out := func() (int, string) { // orders' app → its sidecar → Consul's proxy → web's app
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		status, b, err := c.Orders.App.Ask(ctx, "web", "/out", http.Header{})
		if err != nil {
			return 0, err.Error()
		}
		return status, string(b)
	}
	until := func(what string, call func() (int, string), status func(int) bool, says string) (body string) {
		t.Helper()
		kit.Eventually(t, time.Minute, what, func() error {
			var code int
			if code, body = call(); !status(code) || !strings.Contains(body, says) {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		})
		return body
	}
	ok := func(code int) bool { return code == http.StatusOK }
	until("Consul's proxy is served", in, ok, "/svc/web")
	var e kit.Echo
	if err := json.Unmarshal([]byte(until("Consul's proxy is served", in, ok, `"app":"orders"`)), &e); err != nil {
		t.Fatal(err)
	}
	if e.Header.Get("X-User-Id") != "" || e.Header.Get("Txn-Token") != "" || !strings.HasSuffix(e.Header.Get("X-Lintel-Chain"), "/svc/web") {
		t.Errorf("the app was told %v", e.Header)
	}
	e = kit.Echo{}
	if err := json.Unmarshal([]byte(until("web is served behind Consul's proxy", out, ok, `"app":"web"`)), &e); err != nil {
		t.Fatal(err)
	}
	before := web.Requests.Load()
	for range 20 { // on a connection that is kept
		if status, body := out(); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	if n := web.Requests.Load() - before; n != 20 {
		t.Errorf("%d of 20 requests arrived", n)
	}

	intend(consul, "orders", "*", "deny")
	until("Consul's proxy is denied by ours", in, func(code int) bool { return code == http.StatusForbidden }, "peer-denied")
	asked := c.Orders.App.Requests.Load()
	for range 5 {
		if status, body := in(); status != http.StatusForbidden {
			t.Errorf("denied, and then %d %s", status, body)
		}
	}
	if n := c.Orders.App.Requests.Load() - asked; n > 0 {
		t.Errorf("%d denied requests arrived", n)
	}

	// Consul's proxy decides per connection, and only ours decides per request:
	// the next connection is refused.
	intend(consul, "web", "*", "deny")
	c.Orders.Process.Kill()
	c.Orders.Process = kit.Start(t, nil, "sidecar", "-c", c.Orders.File).Ready(c.Orders.Admin)
	until("ours is denied by Consul's proxy", out, func(code int) bool { return code == http.StatusBadGateway || code == http.StatusServiceUnavailable }, `"code"`)
}

// native is what a natively integrated Connect service does: a leaf from the
// agent, its roots, and the authorize endpoint, over plain TLS without ALPN.
type native struct {
	t      *testing.T
	consul *kit.Consul
	pair   tls.Certificate
	roots  *x509.CertPool
}

func newNative(t *testing.T, consul *kit.Consul, service string) *native {
	t.Helper()
	var leaf struct{ CertPEM, PrivateKeyPEM string }
	var roots struct{ Roots []struct{ RootCert string } }
	if err := errors.Join(consul.Get("/v1/agent/connect/ca/leaf/"+service, &leaf), consul.Get("/v1/agent/connect/ca/roots", &roots)); err != nil {
		t.Fatal(err)
	}
	n := &native{t: t, consul: consul, roots: x509.NewCertPool()}
	var err error
	if n.pair, err = tls.X509KeyPair([]byte(leaf.CertPEM), []byte(leaf.PrivateKeyPEM)); err != nil {
		t.Fatal(err)
	}
	for _, r := range roots.Roots {
		n.roots.AppendCertsFromPEM([]byte(r.RootCert))
	}
	return n
}

// verify holds the peer to the roots; a SPIFFE certificate names no host.
func (n *native) verify(raw [][]byte, _ [][]*x509.Certificate) error {
	cert, err := x509.ParseCertificate(raw[0])
	if err == nil {
		_, err = cert.Verify(x509.VerifyOptions{Roots: n.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	}
	return err
}

func (n *native) client(version uint16) *http.Transport {
	tr := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{n.pair}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12,
		MaxVersion: version, VerifyPeerCertificate: n.verify}}
	n.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// serve answers as the service, to whom the agent authorizes.
func (n *native) serve(service string) (addr string) {
	conf := &tls.Config{Certificates: []tls.Certificate{n.pair}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12,
		VerifyPeerCertificate: func(raw [][]byte, chains [][]*x509.Certificate) error {
			if err := n.verify(raw, chains); err != nil {
				return err
			}
			cert, _ := x509.ParseCertificate(raw[0])
			return n.authorized(service, cert.URIs[0].String())
		}}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		n.t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "native "+r.URL.Path) })}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	n.t.Cleanup(func() { _ = s.Close(); <-done })
	a := l.Addr().(*net.TCPAddr)
	n.consul.Put("/v1/agent/service/register", map[string]any{"Name": service, "Address": "127.0.0.1", "Port": a.Port, "Connect": map[string]any{"Native": true}}, nil)
	return a.String()
}

func (n *native) authorized(service, caller string) error {
	body := fmt.Sprintf(`{"Target": %q, "ClientCertURI": %q, "ClientCertSerial": "00"}`, service, caller)
	req, err := http.NewRequest(http.MethodPost, "http://"+n.consul.HTTPAddr()+"/v1/agent/connect/authorize", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Close = true
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		Authorized bool
		Reason     string
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || !answer.Authorized {
		return fmt.Errorf("denied: %s %v", answer.Reason, err)
	}
	return nil
}

// Services that do Connect by themselves, without any proxy.
func TestNativeConnectServicesInteroperateBothWays(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	intend(consul, "orders", "web", "allow", "ingress", "allow", "*", "deny")
	intend(consul, "inventory", "web", "allow", "orders", "allow", "*", "deny")
	intend(consul, "web", "orders", "allow", "*", "deny")
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true, OrdersAllow: "[]", StockAllow: "[]", Sidecar: "  allow_tls12: true\n"})
	web := newNative(t, consul, "web")
	ask := func(n *native, version uint16, addr string) (int, string) {
		req, err := http.NewRequest(http.MethodGet, "https://"+addr+"/native", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := n.client(version).RoundTrip(req)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if status, body := ask(web, version, c.Orders.Mesh); status != http.StatusOK || !strings.Contains(body, "/svc/web") {
			t.Errorf("%s: %d %s", tls.VersionName(version), status, body)
		}
		if status, body := ask(newNative(t, consul, "stranger"), version, c.Orders.Mesh); status != http.StatusForbidden || !strings.Contains(body, "peer-denied") {
			t.Errorf("%s: a stranger: %d %s", tls.VersionName(version), status, body)
		}
	}
	web.serve("web")
	out := func(s *kit.Side) (int, string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		status, b, err := s.App.Ask(ctx, "web", "/native", http.Header{})
		if err != nil {
			return 0, err.Error()
		}
		return status, string(b)
	}
	kit.Eventually(t, time.Minute, "orders reaches the native service", func() error {
		if status, body := out(c.Orders); status != http.StatusOK || body != "native /native" {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	kit.Eventually(t, time.Minute, "inventory is refused by it", func() error {
		status, body := out(c.Inventory)
		if status == http.StatusOK {
			t.Fatalf("served: %s", body)
		}
		if status != http.StatusBadGateway && status != http.StatusServiceUnavailable || !strings.Contains(body, `"code"`) {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}

// The same by Consul's own SDK.
func TestConsulsSDKInteroperatesBothWays(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	intend(consul, "orders", "web", "allow", "*", "deny")
	intend(consul, "web", "orders", "allow", "*", "deny")
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true, OrdersAllow: "[]", StockAllow: "[]", Sidecar: "  allow_tls12: true\n", NoIngress: true})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	sdk := func(args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, kit.NativeBinary(t), append([]string{"-agent", consul.HTTPAddr()}, args...)...)
	}
	kit.Eventually(t, time.Minute, "the SDK's client reaches orders", func() error {
		out, err := sdk("-service", "web", "-ask", "https://orders.service.consul/by-sdk").CombinedOutput()
		if text := string(out); err != nil || !strings.HasPrefix(text, "200\n") || !strings.Contains(text, `"/by-sdk"`) || !strings.Contains(text, "/svc/web") {
			return fmt.Errorf("%v %s", err, text)
		}
		return nil
	})
	out, err := sdk("-service", "stranger", "-ask", "https://orders.service.consul/by-sdk").CombinedOutput()
	if err == nil && !strings.HasPrefix(string(out), "403\n") {
		t.Errorf("a stranger got %s", out)
	}
	addr := kit.FreeAddr(t)
	server := sdk("-service", "web", "-listen", addr)
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = server.Wait()
	})
	_, port, _ := net.SplitHostPort(addr)
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	consul.Put("/v1/agent/service/register", map[string]any{"Name": "web", "Address": "127.0.0.1", "Port": n, "Connect": map[string]any{"Native": true}}, nil)
	kit.Eventually(t, time.Minute, "orders reaches the SDK's server", func() error {
		status, b, err := c.Orders.App.Ask(ctx, "web", "/asked", http.Header{})
		if err != nil || status != http.StatusOK || string(b) != "by the SDK: /asked" {
			return fmt.Errorf("%d %s %v", status, b, err)
		}
		return nil
	})
	if status, b, err := c.Inventory.App.Ask(ctx, "web", "/asked", http.Header{}); err != nil || status == http.StatusOK {
		t.Errorf("inventory, which is denied, got %d %s %v", status, b, err)
	}
}
