package ops_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// intend replaces the intentions for a destination; pairs are a source and
// allow or deny.
func intend(c *kit.Consul, destination string, pairs ...string) {
	var sources []map[string]any
	for i := 0; i < len(pairs); i += 2 {
		sources = append(sources, map[string]any{"Name": pairs[i], "Action": pairs[i+1]})
	}
	c.Put("/v1/config", map[string]any{"Kind": "service-intentions", "Name": destination, "Sources": sources}, nil)
}

// What policy says of Consul's intentions and default follows a reload, in both
// directions, and never stays laxer than the file.
func TestPolicyTowardsConsulFollowsAReload(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t) // without ACLs its default is to allow
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true})
	token := c.Token(nil)
	use := func(policy string, want int) {
		t.Helper()
		kit.Replace(t, c.Orders.File, strings.Replace(c.Orders.Config, "allow: [{from: [ingress]}]", policy, 1))
		c.Orders.Process.Signal(syscall.SIGHUP)
		kit.Eventually(t, time.Minute, policy, func() error {
			if status, body := c.Get("/orders/x", token); status != want {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
	}
	use("default: deny", http.StatusForbidden)
	use("default: consul", http.StatusOK)
	use("default: deny", http.StatusForbidden)
	intend(consul, "orders", "ingress", "allow")
	use("default: deny", http.StatusOK)
	use("intentions: false", http.StatusForbidden)
}

func TestConsulIntentionsDecideAtRunTime(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	intend(consul, "orders", "ingress", "allow")
	intend(consul, "inventory", "orders", "allow")
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true, OrdersAllow: "[]", StockAllow: "[]"})
	token := c.Token(nil)
	status, e := c.Echo("/orders/call?service=inventory&path=/x", token, nil)
	if second := e.Second(t); status != http.StatusOK || second.Header.Get("X-User-Id") != "ada" ||
		!strings.Contains(second.Header.Get("X-Lintel-Chain"), "/svc/ingress") || !strings.Contains(second.Header.Get("X-Lintel-Chain"), "/svc/orders") {
		t.Fatalf("through Connect: %d, inventory saw %v", status, second.Header)
	}
	answers := func(path string, want int, text string) {
		t.Helper()
		kit.Eventually(t, time.Minute, fmt.Sprintf("%s answers %d", path, want), func() error {
			if status, body := c.Get(path, token); status != want || !strings.Contains(body, text) {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
	}
	intend(consul, "orders", "ingress", "deny")
	answers("/orders/x", http.StatusForbidden, "peer-denied")
	asked := c.Orders.App.Requests.Load()
	for range 10 {
		if status, body := c.Get("/orders/x", token); status != http.StatusForbidden {
			t.Errorf("denied, and then %d %s", status, body)
		}
	}
	if n := c.Orders.App.Requests.Load() - asked; n > 0 {
		t.Errorf("%d denied requests reached the app", n)
	}
	intend(consul, "orders", "ingress", "allow")
	answers("/orders/x", http.StatusOK, "orders")
	intend(consul, "inventory", "web", "allow") // orders is named no more
	answers("/orders/call?service=inventory&path=/x", http.StatusOK, `"next_status":403`)
}

func TestForeignConnectCallersAreServedByPolicyForNoUser(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	intend(consul, "orders", "web", "deny")
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, ConsulCA: true, OrdersAllow: "[{from: [ingress]}]"})
	_, real := c.Echo("/orders/x", c.Token(nil), nil)
	stolen := real.Header.Get("Txn-Token")
	if stolen == "" {
		t.Fatal("the app was handed no Txn-Token to steal")
	}

	var leaf struct{ CertPEM, PrivateKeyPEM string }
	var roots struct{ Roots []struct{ RootCert string } }
	if err := consul.Get("/v1/agent/connect/ca/leaf/web", &leaf); err != nil {
		t.Fatal(err)
	}
	if err := consul.Get("/v1/agent/connect/ca/roots", &roots); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(leaf.CertPEM), []byte(leaf.PrivateKeyPEM))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(roots.Roots[0].RootCert))
	tr := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error { // a SPIFFE certificate names no host
			cert, err := x509.ParseCertificate(raw[0])
			if err == nil {
				_, err = cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			}
			return err
		}}}
	t.Cleanup(tr.CloseIdleConnections)
	ask := func(base string, tr http.RoundTripper) (int, string) {
		req, err := http.NewRequest(http.MethodGet, base+"/foreign", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-User-Id", "mallory")
		req.Header.Set("Txn-Token", stolen)
		res, err := tr.RoundTrip(req)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, err.Error()
		}
		return res.StatusCode, string(b)
	}
	served := func(base string, tr http.RoundTripper) {
		t.Helper()
		var e kit.Echo
		kit.Eventually(t, time.Minute, "a foreign caller is served", func() error {
			status, body := ask(base, tr)
			if status != http.StatusOK {
				return fmt.Errorf("%d %s", status, body)
			}
			return json.Unmarshal([]byte(body), &e)
		})
		for _, name := range []string{"X-User-Id", "X-User-Roles", "Txn-Token", "X-Lintel-Txn"} {
			if v := e.Header.Get(name); v != "" {
				t.Errorf("the app saw %s: %s", name, v)
			}
		}
		if chain := e.Header.Get("X-Lintel-Chain"); !strings.HasSuffix(chain, "/svc/web") || strings.Contains(chain, ",") {
			t.Errorf("chain %q, want web's identity alone", chain)
		}
	}
	if status, body := ask("https://"+c.Orders.Mesh, tr); status != http.StatusForbidden || !strings.Contains(body, "peer-denied") {
		t.Errorf("denied by intention: %d %s", status, body)
	}
	kit.Eventually(t, time.Minute, "the reason is in the access log", func() error {
		if !strings.Contains(c.Orders.Process.Stdout.String(), "/svc/web may not") {
			return errors.New("not yet")
		}
		return nil
	})
	intend(consul, "orders", "web", "allow")
	served("https://"+c.Orders.Mesh, tr)

	local := kit.FreeAddr(t)
	proxy := exec.Command(consulBin(t), "connect", "proxy", "-service", "web", "-upstream", "orders:"+local[strings.LastIndex(local, ":")+1:],
		"-http-addr", consul.HTTPAddr(), "-log-level", "warn")
	var says strings.Builder
	proxy.Stdout, proxy.Stderr = &says, &says
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = proxy.Process.Kill()
		_ = proxy.Wait()
		if t.Failed() {
			t.Logf("consul connect proxy: %s", says.String())
		}
	})
	served("http://"+local, &http.Transport{DisableKeepAlives: true})
}

func consulBin(t testing.TB) string {
	if bin := os.Getenv("LINTEL_CONSUL_BIN"); bin != "" {
		return bin
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "lintel", "consul-1.19.2")
}

func TestDemoRunsOnConsulTwice(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	for round := range 2 {
		p := kit.Start(t, consul.Env(), "demo", "--consul", "--output", "json", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
		var ready struct {
			Ingress, Admin, Token string
			Commands              []struct{ Name, Command, Expect string }
		}
		kit.Eventually(t, 2*time.Minute, "the demo is ready", func() error {
			if !p.Running() {
				t.Fatalf("round %d: the demo ended: %s", round, p.Stderr.String())
			}
			line, err := bufio.NewReader(strings.NewReader(p.Stdout.String())).ReadString('\n')
			if err != nil {
				return fmt.Errorf("no line yet: %s", p.Stderr.String())
			}
			return json.Unmarshal([]byte(line), &ready)
		})
		if len(ready.Commands) != 5 {
			t.Fatalf("%d commands", len(ready.Commands))
		}
		for _, cmd := range ready.Commands {
			out, err := exec.Command("sh", "-c", cmd.Command).CombinedOutput()
			if err != nil || !strings.Contains(string(out), cmd.Expect) {
				t.Errorf("round %d: %s: %v\n%s\nwant %q", round, cmd.Name, err, out, cmd.Expect)
			}
		}
		p.Signal(syscall.SIGINT)
		if code := p.Wait(time.Minute); code != 0 {
			t.Errorf("round %d: the demo ended with %d: %s", round, code, p.Stderr.String())
		}
		var services map[string]any
		if err := consul.Get("/v1/agent/services", &services); err != nil || len(services) > 0 {
			t.Errorf("round %d: left behind in Consul: %v %v", round, services, err)
		}
	}
}
