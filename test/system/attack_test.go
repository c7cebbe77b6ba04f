package system

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/test/kit"
)

// attackChain lets mallory call orders, so that only the tokens stand in the
// way, and lets ingress alone say through whom a transaction came.
func attackChain(t *testing.T) *kit.Chain {
	return kit.StartChain(t, kit.ChainOptions{
		OrdersAllow: "[{from: [ingress, mallory, inventory]}]\n    chain_asserters: [ingress]"})
}

func tokens(txn, hop string) http.Header {
	h := http.Header{}
	if txn != "" {
		h.Set("Txn-Token", txn)
	}
	if hop != "" {
		h.Set("Hop-Token", hop)
	}
	return h
}

func TestHostileTokensAreRefused(t *testing.T) {
	t.Parallel()
	c := attackChain(t)
	ingress, mallory := join(t, c.CADir, "ingress"), join(t, c.CADir, "mallory")
	user := txntoken.MintRequest{Subject: "ada", Roles: []string{"admin"}}
	good := ingress.mint(t, user).Token

	t.Run("what is genuine passes", func(t *testing.T) {
		m := ingress.dial(t, c.Orders)
		e := echo(t, m.ask("GET", "/x", tokens(good, m.hop(good, nil))))
		if e.Header.Get("X-User-Id") != "ada" || e.Header.Get("X-Lintel-Chain") != svc("ingress") || e.Header.Get("Hop-Token") != "" {
			t.Errorf("the app was told %v", e.Header)
		}
		forgeWorks := ingress.forge(t, nil) // or the refusals below prove nothing
		if e := echo(t, m.ask("GET", "/x", tokens(forgeWorks, m.hop(forgeWorks, nil)))); e.Header.Get("X-User-Id") != "ada" {
			t.Errorf("the app was told %v", e.Header)
		}
	})

	outsider := joinDomain(t, t.TempDir(), "", "ingress")
	foreign := joinDomain(t, t.TempDir(), "evil.example", "ingress")
	flip := func(s string, at int) string {
		b := []byte(s)
		if b[at] == 'A' {
			b[at] = 'B'
		} else {
			b[at] = 'A'
		}
		return string(b)
	}
	past := time.Now().Add(-time.Minute).Unix()
	dots := []int{strings.IndexByte(good, '.'), strings.LastIndexByte(good, '.')}
	for name, tc := range map[string]struct {
		by     *workload
		token  string
		status int
	}{
		"Txn-Token with another header":                   {ingress, flip(good, dots[0]-8), 401},
		"Txn-Token with other claims":                     {ingress, flip(good, dots[1]-8), 401},
		"Txn-Token with another signature":                {ingress, flip(good, len(good)-8), 401},
		"Txn-Token without its signature":                 {ingress, good[:dots[1]+1], 401},
		"Txn-Token of alg none":                           {ingress, unsigned(good), 401},
		"Txn-Token signed as HMAC":                        {ingress, hmacked(t, good), 401},
		"Txn-Token that is rubbish":                       {ingress, "rubbish", 401},
		"Txn-Token that has expired":                      {ingress, ingress.forge(t, map[string]any{"iat": past - 15, "exp": past}), 401},
		"Txn-Token of the future":                         {ingress, ingress.forge(t, map[string]any{"iat": past + 3600, "exp": past + 3660}), 401},
		"Txn-Token that lives for days":                   {ingress, ingress.forge(t, map[string]any{"exp": past + 86400*3}), 401},
		"Txn-Token for another trust domain":              {ingress, ingress.forge(t, map[string]any{"aud": "evil.example"}), 401},
		"Txn-Token of another trust domain":               {ingress, foreign.forge(t, nil), 401},
		"Txn-Token of an unknown CA":                      {ingress, outsider.forge(t, nil), 401},
		"user's Txn-Token by mallory":                     {mallory, mallory.mint(t, user).Token, 403},
		"user's Txn-Token by mallory, sent by ingress":    {ingress, mallory.mint(t, user).Token, 403},
		"user's Txn-Token by mallory in ingress's name":   {mallory, mallory.forge(t, map[string]any{"iss": svc("ingress"), "req_wl": svc("ingress")}), 401},
		"mallory's own Txn-Token that says it is ingress": {mallory, mallory.forge(t, map[string]any{"sub": svc("ingress")}), 403},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.Orders.App.Requests.Load()
			m := tc.by.dial(t, c.Orders)
			a := m.ask("GET", "/x", tokens(tc.token, m.hop(tc.token, nil)))
			if a.StatusCode != tc.status && !(tc.status == 401 && a.StatusCode == 403) {
				t.Errorf("status %d, want %d: %s", a.StatusCode, tc.status, a.Text)
			}
			if p := problem(t, a); p.Code != "bad-txn-token" || strings.Contains(a.Text, "spiffe://") {
				t.Errorf("code %q: %s", p.Code, a.Text)
			}
			if n := c.Orders.App.Requests.Load(); n != before {
				t.Errorf("%d requests reached the app", n-before)
			}
		})
	}

	other := ingress.mint(t, txntoken.MintRequest{Subject: "eve"}).Token
	long := slices.Repeat([]string{svc("ingress")}, txntoken.MaxChain+1)
	for name, tc := range map[string]struct {
		by     *workload
		send   func(m *meshConn) http.Header
		status int
	}{
		"moved to another connection": {ingress, func(m *meshConn) http.Header {
			return tokens(good, ingress.dial(t, c.Orders).hop(good, nil))
		}, 401},
		"moved to another destination": {ingress, func(m *meshConn) http.Header {
			return tokens(good, m.hop(good, func(c *txntoken.HopClaims) { c.Dest = svc("inventory") }))
		}, 401},
		"moved to another Txn-Token": {ingress, func(m *meshConn) http.Header {
			return tokens(other, m.hop(good, nil))
		}, 401},
		"without the Txn-Token it was made for": {ingress, func(m *meshConn) http.Header {
			return tokens("", m.hop(good, nil))
		}, 401},
		"made for no Txn-Token, with one": {ingress, func(m *meshConn) http.Header {
			return tokens(good, m.hop("", nil))
		}, 401},
		"by another than the TLS peer": {mallory, func(m *meshConn) http.Header {
			return tokens(good, m.hop(good, func(c *txntoken.HopClaims) { c.Self = svc("ingress") }))
		}, 401},
		"with an over-long chain": {ingress, func(m *meshConn) http.Header {
			return tokens(good, m.hop(good, func(c *txntoken.HopClaims) { c.Chain = long }))
		}, 508},
		"with a chain by one who may not say": {mallory, func(m *meshConn) http.Header {
			return tokens(good, m.hop(good, func(c *txntoken.HopClaims) { c.Chain = []string{svc("ingress")} }))
		}, 403},
		"that is altered": {ingress, func(m *meshConn) http.Header {
			hop := m.hop(good, nil)
			return tokens(good, flip(hop, len(hop)-8))
		}, 401},
		"given twice": {ingress, func(m *meshConn) http.Header {
			h := tokens(good, m.hop(good, nil))
			h.Add("Hop-Token", h.Get("Hop-Token"))
			return h
		}, 400},
	} {
		t.Run("hop token "+name, func(t *testing.T) {
			before := c.Orders.App.Requests.Load()
			m := tc.by.dial(t, c.Orders)
			a := m.ask("GET", "/x", tc.send(m))
			if a.StatusCode != tc.status {
				t.Errorf("status %d, want %d: %s", a.StatusCode, tc.status, a.Text)
			}
			if n := c.Orders.App.Requests.Load(); n != before {
				t.Errorf("%d requests reached the app", n-before)
			}
		})
	}
	t.Run("a chain may begin with one who may not say more", func(t *testing.T) {
		m := mallory.dial(t, c.Orders)
		e := echo(t, m.ask("GET", "/x", tokens("", m.hop("", nil))))
		if got := e.Header.Get("X-Lintel-Chain"); got != svc("mallory") {
			t.Errorf("chain %q", got)
		}
	})
	t.Run("a Txn-Token without a hop token gives no identity", func(t *testing.T) {
		for _, w := range []*workload{ingress, mallory} {
			e := echo(t, w.dial(t, c.Orders).ask("GET", "/x", tokens(good, "")))
			if e.Header.Get("X-User-Id") != "" || e.Header.Get("Txn-Token") != "" || e.Header.Get("X-Lintel-Chain") != w.id {
				t.Errorf("%s: the app was told %v", w.id, e.Header)
			}
		}
	})
	t.Run("a Txn-Token captured by mallory and sent on its own connection names mallory", func(t *testing.T) {
		// It is a bearer token within its seconds; what the chain says cannot be faked.
		m := mallory.dial(t, c.Orders)
		e := echo(t, m.ask("GET", "/x", tokens(good, m.hop(good, nil))))
		if got := e.Header.Get("X-Lintel-Chain"); got != svc("mallory") {
			t.Errorf("chain %q", got)
		}
	})
}

func TestOnlyMeshIdentitiesGetIn(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{OrdersAllow: "[{from: [ingress]}, {from: [mallory], methods: [GET], paths: [/allowed/*]}]"})
	before := c.Orders.App.Requests.Load()
	refused := func(t *testing.T, conf *tls.Config) {
		t.Helper()
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: limit}, "tcp", c.Orders.Mesh, conf)
		if err != nil {
			return // refused in the handshake
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(limit))
		_, _ = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: orders\r\n\r\n")
		b, err := io.ReadAll(conn) // with TLS 1.3 the refusal comes with the first read
		if len(b) > 0 || err == nil {
			t.Errorf("was answered %q, %v", b, err)
		}
	}
	anyone := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	t.Run("plaintext is refused", func(t *testing.T) {
		conn, err := net.Dial("tcp", c.Orders.Mesh)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(limit))
		_, _ = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: orders\r\n\r\n")
		b, _ := io.ReadAll(conn)
		if strings.Contains(string(b), "200 OK") || strings.Contains(string(b), `"app"`) {
			t.Errorf("was answered %q", b)
		}
	})
	t.Run("TLS without a certificate is refused", func(t *testing.T) { refused(t, anyone) })
	t.Run("TLS 1.2 is refused", func(t *testing.T) {
		conf := mtls.ClientConfig(join(t, c.CADir, "ingress"), nil, mtls.Options{})
		conf.MinVersion, conf.MaxVersion, conf.InsecureSkipVerify, conf.VerifyConnection, conf.VerifyPeerCertificate = tls.VersionTLS12, tls.VersionTLS12, true, nil, nil
		refused(t, conf)
	})
	for name, w := range map[string]*workload{
		"an unknown CA is refused":       joinDomain(t, t.TempDir(), "", "ingress"),
		"another trust domain's refused": joinDomain(t, t.TempDir(), "evil.example", "ingress"),
	} {
		t.Run(name, func(t *testing.T) {
			conf := mtls.ClientConfig(w, nil, mtls.Options{})
			conf.InsecureSkipVerify, conf.VerifyConnection, conf.VerifyPeerCertificate = true, nil, nil
			refused(t, conf)
		})
	}
	t.Run("a caller that expects another service refuses", func(t *testing.T) {
		expect, err := mtls.Expect(svc("inventory"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = tls.DialWithDialer(&net.Dialer{Timeout: limit}, "tcp", c.Orders.Mesh, mtls.ClientConfig(join(t, c.CADir, "ingress"), expect, mtls.Options{}))
		if err == nil || !strings.Contains(err.Error(), "orders") {
			t.Errorf("dialled orders expecting inventory: %v", err)
		}
	})
	if n := c.Orders.App.Requests.Load(); n != before {
		t.Errorf("%d requests reached the app", n-before)
	}
	t.Run("the ingress sends nothing to an endpoint with another service's identity", func(t *testing.T) {
		before := c.Inventory.App.Requests.Load()
		text := strings.Replace(c.Config, "services:\n", fmt.Sprintf(
			"  - {name: wrong, match: {path: /wrong}, authorization: drop, service: impostor}\nservices:\n  impostor: {mesh: true, static: [%s]}\n", c.Inventory.Mesh), 1)
		kit.Replace(t, c.File, text)
		var a answer
		kit.Eventually(t, limit, "the new route is in force", func() error {
			if a = fetch(t, c, "GET", "/wrong", "", nil, nil); a.StatusCode == http.StatusNotFound {
				return fmt.Errorf("still 404")
			}
			return nil
		})
		if a.StatusCode != http.StatusBadGateway && a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d: %s", a.StatusCode, a.Text)
		}
		if n := c.Inventory.App.Requests.Load(); n != before {
			t.Errorf("%d requests reached the impostor's app", n-before)
		}
	})
	mallory := join(t, c.CADir, "mallory")
	t.Run("a peer that policy does not name is refused and its connection closed", func(t *testing.T) {
		before := c.Orders.App.Requests.Load()
		m := join(t, c.CADir, "stranger").dial(t, c.Orders)
		a := m.ask("GET", "/x", nil)
		if a.StatusCode != http.StatusForbidden || problem(t, a).Code != "peer-denied" {
			t.Errorf("%d %s", a.StatusCode, a.Text)
		}
		if !m.closed() {
			t.Error("the connection is still open")
		}
		if n := c.Orders.App.Requests.Load(); n != before {
			t.Error("the request reached the app")
		}
	})
	t.Run("a peer may do what policy names and nothing else", func(t *testing.T) {
		for _, tc := range []struct {
			method, path string
			status       int
		}{{"GET", "/allowed/x", 200}, {"GET", "/allowed/../secret", 403}, {"GET", "/allowed/%2e%2e/secret", 403},
			{"GET", "//secret", 403}, {"POST", "/allowed/x", 403}, {"GET", "/allowedx", 403}, {"GET", "/allowed/..%2fsecret", 400}} {
			if a := mallory.dial(t, c.Orders).ask(tc.method, tc.path, nil); a.StatusCode != tc.status {
				t.Errorf("%s %s: %d, want %d: %s", tc.method, tc.path, a.StatusCode, tc.status, a.Text)
			}
		}
	})
	t.Run("a policy change denies a peer on the connection it has", func(t *testing.T) {
		m := mallory.dial(t, c.Orders)
		if a := m.ask("GET", "/allowed/x", nil); a.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", a.StatusCode, a.Text)
		}
		kit.Replace(t, c.Orders.File, strings.Replace(c.Orders.Config, "from: [mallory]", "from: [nobody]", 1))
		kit.Eventually(t, limit, "mallory is denied", func() error {
			a, err := m.try("GET", "/allowed/x", nil)
			switch {
			case err != nil:
				t.Fatalf("the connection went without a 403: %v", err)
			case a.StatusCode == http.StatusOK:
				return fmt.Errorf("still served")
			case a.StatusCode != http.StatusForbidden:
				t.Fatalf("%d %s", a.StatusCode, a.Text)
			}
			return nil
		})
		if !m.closed() {
			t.Error("the connection is still open")
		}
		if status, body := c.Get("/orders/x", c.Token(nil)); status != http.StatusOK {
			t.Errorf("ingress suffered from it: %d %s", status, body)
		}
	})
}
