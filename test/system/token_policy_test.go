package system

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/caller"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/test/kit"
)

// claimsOf reads a token without believing it.
func claimsOf(t testing.TB, token string) (c struct {
	Scope string
	Tctx  map[string]any
	Rctx  map[string]any
}) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %q", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUsersReachInventoryOnlyThroughOrders(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{
		Identity: "  hop_token: {max_chain: 3}\n",
		Routes: `  - name: stock
    match: {path: /stock/*}
    policies: [user]
    strip_prefix: /stock
    service: inventory
`,
		StockAllow: "[{from: [ingress, orders, jobs]}]\n    require:\n      - {for: user, direct_from: [orders], through: [ingress, orders]}\n      - {paths: [/admin/*], scope: [stock.write]}"})
	token := c.Token(map[string]any{"scope": "stock.read"})
	if status, body := c.Get("/orders/call?service=inventory&path=/x", token); status != http.StatusOK || !strings.Contains(body, `"next_status":200`) {
		t.Errorf("through orders: %d %s", status, body)
	}
	a := fetch(t, c, "GET", "/stock/x", token, nil, nil)
	if a.StatusCode != http.StatusForbidden || problem(t, a).Code != "chain-denied" || strings.Contains(a.Text, "spiffe://") {
		t.Errorf("straight to inventory: %d %s", a.StatusCode, a.Text)
	}
	if status, body := c.Get("/orders/call?service=inventory&path=/admin/x", token); !strings.Contains(body, `"scope-denied"`) {
		t.Errorf("without the scope: %d %s", status, body)
	}
	if status, body := c.Get("/orders/call?service=inventory&path=/admin/x", c.Token(map[string]any{"scope": "stock.read stock.write"})); !strings.Contains(body, `"next_status":200`) {
		t.Errorf("with the scope: %d %s", status, body)
	}
	ingress, orders, jobs := join(t, c.CADir, "ingress"), join(t, c.CADir, "orders"), join(t, c.CADir, "jobs")
	user := ingress.mint(t, txntoken.MintRequest{Subject: "ada"}).Token
	for name, tc := range map[string]struct {
		by     *workload
		token  string
		chain  []string
		status int
		code   string
	}{
		"a workload on its own":             {jobs, "", nil, 200, ""},
		"a user's token stolen by jobs":     {jobs, user, nil, 403, "chain-denied"},
		"jobs says it came through orders":  {jobs, user, []string{svc("ingress"), svc("orders")}, 403, "chain-denied"},
		"orders without the edge before it": {orders, user, nil, 403, "chain-denied"},
		"orders as it should be":            {orders, user, []string{svc("ingress")}, 200, ""},
		"a chain over the bound":            {orders, user, []string{svc("ingress"), svc("jobs"), svc("jobs")}, 508, "chain-too-long"},
	} {
		m := tc.by.dial(t, c.Inventory)
		a := m.ask("GET", "/x", tokens(tc.token, m.hop(tc.token, func(c *txntoken.HopClaims) { c.Chain = tc.chain })))
		if a.StatusCode != tc.status || tc.code != "" && problem(t, a).Code != tc.code {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Text)
		}
	}
}

func TestTheTokenCarriesDeclaredPartsAndAPartOfTheScope(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{
		Identity: "  txn_token: {context: {tenant: {claim: org.id}, device: {header: X-Device}, order: {path_param: id, required: true}}}\n",
		Sidecar:  "  context_headers: {X-Tenant: tenant, X-Device-Id: device, X-Order: order}\n",
		Routes: `  - name: one
    match: {path: "/one/{id}"}
    policies: [user]
    scope: [orders.read]
    service: orders
`})
	org := map[string]any{"org": map[string]any{"id": "acme"}, "scope": "orders.read orders.write"}
	h := http.Header{"X-Device": {"d1"}, "X-Tenant": {"forged"}, "X_tenant": {"forged"}, "X-Order": {"forged"}}
	e := echo(t, fetch(t, c, "GET", "/one/7", c.Token(org), h, nil))
	if e.Header.Get("X-Tenant") != "acme" || e.Header.Get("X-Device-Id") != "d1" || e.Header.Get("X-Order") != "7" || e.Header.Get("X-User-Scope") != "orders.read" || e.Header.Get("X_tenant") != "" {
		t.Errorf("the app was told %v", e.Header)
	}
	said := claimsOf(t, e.Header.Get("Txn-Token"))
	if said.Tctx["tenant"] != "acme" || said.Scope != "orders.read" || said.Rctx["authn"] != "jwt" || said.Rctx["req_ip"] != "127.0.0.1" {
		t.Errorf("the token says %+v", said)
	}
	e = echo(t, fetch(t, c, "GET", "/orders/x", c.Token(org), nil, nil)) // no {id}, and no scope of its own
	if e.Header.Get("X-Tenant") != "acme" || e.Header.Get("X-Order") != "" || e.Header.Get("X-User-Scope") != "orders.read orders.write" {
		t.Errorf("the app was told %v", e.Header)
	}
	a := fetch(t, c, "GET", "/orders/x", c.Token(nil), http.Header{"X-Device": {"d1", "d2"}}, nil)
	if a.StatusCode != http.StatusBadRequest || problem(t, a).Code != "txn-context" {
		t.Errorf("a part that is there twice: %d %s", a.StatusCode, a.Text)
	}
	e = echo(t, fetch(t, c, "GET", "/open/x", "", http.Header{"X-Tenant": {"forged"}}, nil)) // nobody: no token, no headers
	if e.Header.Get("X-Tenant") != "" {
		t.Errorf("the app was told %v", e.Header)
	}
	// Nor does a neighbour's own word count.
	_, e = c.Echo("/orders/call?service=inventory&path=/x&with=nothing&h-X-Tenant=forged", c.Token(org), nil)
	if got := e.Second(t).Header; got.Get("X-Tenant") != "" || got.Get("X-Lintel-Chain") != svc("orders") {
		t.Errorf("inventory was told %v", got)
	}
}

func TestAnAppReadsItsCaller(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Workload: true})
	verified, trusted := caller.FromSidecar("http://"+c.Orders.Admin, mtls.DefaultTrustDomain), caller.TrustHeaders()
	seen := make(chan string, 1)
	c.Orders.App.Extra["/who"] = func(w http.ResponseWriter, r *http.Request) {
		a, err := verified.Of(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		b, err := trusted.Of(r)
		if err != nil || a.User != b.User || strings.Join(a.Chain, " ") != strings.Join(b.Chain, " ") {
			http.Error(w, fmt.Sprintf("%+v %+v %v", a, b, err), http.StatusInternalServerError)
			return
		}
		select {
		case seen <- r.Header.Get("Txn-Token"):
		default:
		}
		_, _ = fmt.Fprintf(w, "%s by %s, admin %t, may read %t", a.User, a.Service(), a.Has("admin"), a.May("read"))
	}
	a := fetch(t, c, "GET", "/orders/who", c.Token(map[string]any{"scope": "read"}), nil, nil)
	if want := "ada by " + svc("ingress") + ", admin true, may read true"; a.Text != want {
		t.Errorf("%d %q, want %q", a.StatusCode, a.Text, want)
	}
	token := <-seen
	t.Run("in another language", func(t *testing.T) {
		script, err := filepath.Abs("../../deploy/examples/caller.mjs")
		if err != nil {
			t.Fatal(err)
		}
		node := func(token string) string {
			out, err := exec.CommandContext(bounded(t), "node", script, "http://"+c.Orders.Admin, mtls.DefaultTrustDomain, token).CombinedOutput()
			if err != nil {
				return "refused"
			}
			return strings.TrimSpace(string(out))
		}
		if got := node(token); got != "ada admin" && got != "ada customer,admin" {
			t.Errorf("node read %q", got)
		}
		evil := join(t, c.CADir, "mallory")
		for name, bad := range map[string]string{"altered": token[:len(token)-8] + "AAAAAAAA", "alg none": unsigned(token), "HMAC": hmacked(t, token), "mallory's": evil.forge(t, nil),
			"another audience": join(t, c.CADir, "ingress").forge(t, map[string]any{"aud": "evil.example"})} {
			if got := node(bad); got != "refused" {
				t.Errorf("%s: node read %q", name, got)
			}
		}
	})
	t.Run("a workload's own call", func(t *testing.T) {
		m := join(t, c.CADir, "ingress").dial(t, c.Orders)
		if got := m.ask("GET", "/who", tokens("", m.hop("", nil))); !strings.HasPrefix(got.Text, " by "+svc("ingress")) {
			t.Errorf("%d %q", got.StatusCode, got.Text)
		}
	})
}
