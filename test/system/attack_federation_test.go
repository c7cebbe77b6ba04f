package system

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/store/redistest"
	"lintel.dev/lintel/test/kit"
)

func certPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// A federated trust domain may be hostile: its CA signs whatever it likes, its
// workloads say whatever they like. It gains what policy names and no more.
func TestAFederatedTrustDomainGainsWhatPolicyNames(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	dir := t.TempDir()
	shop, other := joinDomain(t, dir, "evil.example", "shop"), joinDomain(t, dir, "evil.example", "other")
	evil, ours := stealCA(t, dir), stealCA(t, c.CADir)
	text := strings.Replace(c.Orders.Config, "identity:\n", fmt.Sprintf("identity:\n  federation: [{trust_domain: evil.example, file: %q}]\n",
		kit.File(t, "evil.pem", certPEM(evil.cert.Raw))), 1)
	text = strings.Replace(text, "allow: [{from: [ingress]}]", "allow: [{from: ['*']}, {from: spiffe://evil.example/svc/shop, methods: GET, paths: /stock/*}]", 1)
	c.Orders.Process.Kill()
	kit.Replace(t, c.Orders.File, text)
	c.Orders.Process = kit.Start(t, nil, "sidecar", "-c", c.Orders.File).Ready(c.Orders.Admin)
	our := kit.File(t, "ours.pem", certPEM(ours.cert.Raw))
	for _, w := range []*workload{shop, other} {
		f, err := mtls.Federate(unclosed{w.Source}, []mtls.FederationConfig{{TrustDomain: mtls.DefaultTrustDomain, File: our}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		w.Source = f
	}
	m := shop.dial(t, c.Orders)
	e := echo(t, m.ask("GET", "/stock/7", tokens("", m.hop("", nil))))
	if got := e.Header.Get("X-Lintel-Chain"); got != shop.id || e.Header.Get("X-User-Id") != "" {
		t.Errorf("the app was told %v", e.Header)
	}
	before := c.Orders.App.Requests.Load()
	user := txntoken.MintRequest{Subject: "ada", Roles: []string{"admin"}}
	good := join(t, c.CADir, "ingress").mint(t, user).Token
	for name, a := range map[string]struct {
		by     *workload
		method string
		path   string
		send   func(*meshConn) http.Header
		status int
	}{
		"another path":    {shop, "GET", "/x", nil, 403},
		"another method":  {shop, "POST", "/stock/7", nil, 403},
		"another service": {other, "GET", "/stock/7", nil, 403},
		"a chain that begins with us": {shop, "GET", "/stock/7", func(m *meshConn) http.Header {
			return tokens("", m.hop("", func(c *txntoken.HopClaims) { c.Chain = []string{svc("ingress")} }))
		}, 403},
		"a user of its own":                {shop, "GET", "/stock/7", func(m *meshConn) http.Header { tok := shop.mint(t, user).Token; return tokens(tok, m.hop(tok, nil)) }, 401},
		"a user of its own, said to be us": {shop, "GET", "/stock/7", func(m *meshConn) http.Header { tok := shop.forge(t, nil); return tokens(tok, m.hop(tok, nil)) }, 401},
		"a token of ours":                  {shop, "GET", "/stock/7", func(m *meshConn) http.Header { return tokens(good, m.hop(good, nil)) }, 403},
	} {
		m := a.by.dial(t, c.Orders)
		var h http.Header
		if a.send != nil {
			h = a.send(m)
		}
		if got := m.ask(a.method, a.path, h); got.StatusCode != a.status && !(a.status == 401 && got.StatusCode == 403) {
			t.Errorf("%s: %d, want %d: %s", name, got.StatusCode, a.status, got.Text)
		}
	}
	for _, protocol := range meshProtocols {
		for name, id := range map[string]string{"in our name": svc("ingress"), "in a third one's": "spiffe://third.example/svc/x"} {
			if said, err := heard(c.Orders.Mesh, rogue(protocol, evil.sign(nil, id)), protocol); said != "" || err == nil || strings.Contains(err.Error(), "timeout") {
				t.Errorf("%s, ALPN %q: heard %q, %v", name, protocol, said, err)
			}
		}
	}
	if n := c.Orders.App.Requests.Load() - before; n != 0 {
		t.Errorf("%d requests reached the app", n)
	}
}

// unclosed is a source that somebody else closes.
type unclosed struct{ mtls.Source }

func (unclosed) Close() error { return nil }

// A partner's root that leaves the bundle is believed no longer, on connections
// that were open before either: by requests, nor by opaque streams.
func TestARootThatIsGoneEndsWhatIsOpen(t *testing.T) {
	t.Parallel()
	dir, next, bundles := t.TempDir(), t.TempDir(), t.TempDir()
	shop := joinDomain(t, dir, "evil.example", "shop")
	joinDomain(t, next, "evil.example", "shop")
	bundle := filepath.Join(bundles, "evil.pem")
	kit.Replace(t, bundle, certPEM(stealCA(t, dir).cert.Raw))

	c := kit.StartChain(t, kit.ChainOptions{})
	text := strings.Replace(c.Orders.Config, "identity:\n", fmt.Sprintf("identity:\n  federation: [{trust_domain: evil.example, file: %q}]\n", bundle), 1)
	text = strings.Replace(text, "allow: [{from: [ingress]}]", "allow: [{from: spiffe://evil.example/svc/shop}]", 1)
	c.Orders.Process.Kill()
	kit.Replace(t, c.Orders.File, text)
	c.Orders.Process = kit.Start(t, nil, "sidecar", "-c", c.Orders.File).Ready(c.Orders.Admin)

	redis, mesh, admin := redistest.Start(t), kit.FreeAddr(t), kit.FreeAddr(t)
	kit.Start(t, nil, "sidecar", "-c", kit.File(t, "redis.yaml", fmt.Sprintf("version: 1\nsidecar: {service: redis, app: %q, app_protocol: tcp, mesh: %q, outbound: \"off\", "+
		"policy: {allow: [{from: spiffe://evil.example/svc/shop}]}}\nidentity: {source: embedded, embedded: {dir: %q}, federation: [{trust_domain: evil.example, file: %q}]}\n"+
		"admin: {address: %q}\n", redis.Addr(), mesh, c.CADir, bundle, admin))).Ready(admin)

	f, err := mtls.Federate(unclosed{shop.Source}, []mtls.FederationConfig{{TrustDomain: mtls.DefaultTrustDomain,
		File: kit.File(t, "ours.pem", certPEM(stealCA(t, c.CADir).cert.Raw))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	shop.Source = f
	m := shop.dial(t, c.Orders)
	if a := m.ask("GET", "/stock/7", nil); a.StatusCode != 200 {
		t.Fatalf("before: %d %s", a.StatusCode, a.Text)
	}
	stream := shop.dial(t, &kit.Side{Mesh: mesh, App: &kit.App{Name: "redis"}})
	ping := func() error {
		_ = stream.conn.SetDeadline(time.Now().Add(limit))
		if _, err := io.WriteString(stream.conn, "PING\r\n"); err != nil {
			return err
		}
		_, err := stream.r.ReadString('\n')
		return err
	}
	if err := ping(); err != nil {
		t.Fatal(err)
	}
	kit.Replace(t, bundle, certPEM(stealCA(t, next).cert.Raw)) // read again within 5 s
	kit.Eventually(t, limit, "the open connection is believed no longer", func() error {
		a, err := m.try("GET", "/stock/7", nil)
		if err != nil || a.StatusCode == 200 {
			return fmt.Errorf("%d, %v", a.StatusCode, err)
		}
		if a.StatusCode != 403 || !strings.Contains(a.Text, "peer-untrusted") || strings.Contains(a.Text, "spiffe://") {
			t.Errorf("%d %s", a.StatusCode, a.Text)
		}
		return nil
	})
	if !m.closed() {
		t.Error("its connection is left open")
	}
	kit.Eventually(t, limit, "the opaque stream ends", func() error {
		if err := ping(); err == nil {
			return errors.New("redis answers")
		}
		return nil
	})
}
