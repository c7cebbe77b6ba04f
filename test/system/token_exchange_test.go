package system

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/test/kit"
)

// partnerIssuer signs users' tokens for a workload without Lintel.
type partnerIssuer struct{ key *ecdsa.PrivateKey }

func newPartnerIssuer(t *testing.T) (i partnerIssuer, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return partnerIssuer{key}, kit.File(t, "partner.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
}

func (i partnerIssuer) token(t *testing.T, change map[string]any) string {
	t.Helper()
	c := jwt.MapClaims{"iss": "https://partner.test", "aud": "mesh", "sub": "bob", "scope": "stock.read stock.write admin", "exp": time.Now().Add(time.Minute).Unix()}
	maps.Copy(c, change)
	s, err := jwt.NewWithClaims(jwt.SigningMethodES256, c).SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// post sends a form on a mesh connection.
func (m *meshConn) post(path, contentType, body string, h http.Header) answer {
	m.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: orders\r\nContent-Type: %s\r\nContent-Length: %d\r\n", path, contentType, len(body))
	_ = h.Write(&b)
	_ = m.conn.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(m.conn, b.String()+"\r\n"+body); err != nil {
		m.t.Fatal(err)
	}
	a, err := readAnswer(m.r)
	if err != nil {
		m.t.Fatal(err)
	}
	return a
}

func TestAWorkloadWithoutLintelGetsATxnToken(t *testing.T) {
	t.Parallel()
	issuer, file := newPartnerIssuer(t)
	minters := "\n    user_minters: [ingress, orders]\n    token_bearers: [legacy]"
	c := kit.StartChain(t, kit.ChainOptions{
		OrdersAllow: "[{from: [ingress]}]" + minters, StockAllow: "[{from: [orders]}, {from: [legacy], user: true}]" + minters,
		Sidecar: fmt.Sprintf(`  token_exchange:
    clients: [{from: [legacy], scope: [stock.read, stock.write], details: [order]}]
    verify:
      - jwt: {iss: "https://partner.test", audiences: [mesh], keys: [{file: %q}]}
`, file)})
	legacy, mallory, ingress := join(t, c.CADir, "legacy"), join(t, c.CADir, "mallory"), join(t, c.CADir, "ingress")
	const path, form = "/.lintel/txn-token", "application/x-www-form-urlencoded"
	good := func(change map[string]string) string {
		v := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "requested_token_type": {"urn:ietf:params:oauth:token-type:txn_token"},
			"audience": {mtls.DefaultTrustDomain}, "scope": {"stock.read"}, "subject_token": {issuer.token(t, nil)},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "request_details": {`{"order":"7"}`}, "request_context": {`{"req_ip":"192.0.2.7"}`}, "unknown": {"x"}}
		for k, s := range change {
			v.Set(k, s)
		}
		return v.Encode()
	}
	before := c.Orders.App.Requests.Load()
	a := legacy.dial(t, c.Orders).post(path, form, good(nil), nil)
	var given map[string]any
	if err := json.Unmarshal([]byte(a.Text), &given); err != nil || a.StatusCode != 200 || given["token_type"] != "N_A" || len(given) != 3 ||
		given["issued_token_type"] != "urn:ietf:params:oauth:token-type:txn_token" || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", a.StatusCode, a.Header, a.Text)
	}
	token, _ := given["access_token"].(string)
	if said := claimsOf(t, token); said.Scope != "stock.read" || said.Tctx["order"] != "7" || said.Rctx["req_ip"] != "192.0.2.7" || said.Rctx["authn"] != "jwt" || said.Tctx["sub_iss"] != "https://partner.test" {
		t.Errorf("the token says %+v", said)
	}
	e := echo(t, legacy.dial(t, c.Inventory).ask("GET", "/x", tokens(token, "")))
	if e.Header.Get("X-User-Id") != "bob" || e.Header.Get("X-User-Scope") != "stock.read" || e.Header.Get("X-Lintel-Chain") != svc("legacy") {
		t.Errorf("the app was told %v", e.Header)
	}
	if a := mallory.dial(t, c.Inventory).ask("GET", "/x", tokens(token, "")); a.StatusCode != http.StatusForbidden {
		t.Errorf("mallory with the token: %d %s", a.StatusCode, a.Text)
	}

	for name, tc := range map[string]struct {
		by     *workload
		change map[string]string
		code   string
	}{
		"by one who may not ask":          {mallory, nil, "unauthorized_client"},
		"by the ingress":                  {ingress, nil, "unauthorized_client"},
		"another grant":                   {legacy, map[string]string{"grant_type": "client_credentials"}, "unsupported_grant_type"},
		"another token":                   {legacy, map[string]string{"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"},
		"another audience":                {legacy, map[string]string{"audience": "evil.example"}, "invalid_target"},
		"a resource":                      {legacy, map[string]string{"resource": "https://x"}, "invalid_target"},
		"an actor":                        {legacy, map[string]string{"actor_token": "x"}, "invalid_request"},
		"unsigned JSON":                   {legacy, map[string]string{"subject_token_type": "urn:ietf:params:oauth:token-type:unsigned_json", "subject_token": `{"sub":"root"}`}, "invalid_request"},
		"no subject":                      {legacy, map[string]string{"subject_token": ""}, "invalid_request"},
		"a subject with a line break":     {legacy, map[string]string{"subject_token": "a\r\nX-User-Id: root"}, "invalid_request"},
		"a Txn-Token as subject":          {legacy, map[string]string{"subject_token": ingress.mint(t, txntoken.MintRequest{Subject: "ada"}).Token}, "invalid_request"},
		"an expired subject":              {legacy, map[string]string{"subject_token": issuer.token(t, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})}, "invalid_request"},
		"a subject for another audience":  {legacy, map[string]string{"subject_token": issuer.token(t, map[string]any{"aud": "web"})}, "invalid_request"},
		"a subject of another issuer":     {legacy, map[string]string{"subject_token": c.Token(nil)}, "invalid_request"},
		"an unsigned subject":             {legacy, map[string]string{"subject_token": unsigned(issuer.token(t, nil))}, "invalid_request"},
		"a workload of ours as subject":   {legacy, map[string]string{"subject_token": issuer.token(t, map[string]any{"sub": svc("orders")})}, "invalid_request"},
		"no scope":                        {legacy, map[string]string{"scope": ""}, "invalid_scope"},
		"more scope than the client may":  {legacy, map[string]string{"scope": "stock.read admin"}, "invalid_scope"},
		"more scope than the user has":    {legacy, map[string]string{"scope": "stock.write", "subject_token": issuer.token(t, map[string]any{"scope": "stock.read"})}, "invalid_scope"},
		"roles in the details":            {legacy, map[string]string{"request_details": `{"roles":["admin"]}`}, "invalid_request"},
		"details that are not the client": {legacy, map[string]string{"request_details": `{"tenant":"x"}`}, "invalid_request"},
		"an object in the details":        {legacy, map[string]string{"request_details": `{"order":{"id":1}}`}, "invalid_request"},
		"details that are no JSON":        {legacy, map[string]string{"request_details": `{"order":"1"}{}`}, "invalid_request"},
		"a false address":                 {legacy, map[string]string{"request_context": `{"req_ip":"localhost"}`}, "invalid_request"},
		"its own authn":                   {legacy, map[string]string{"request_context": `{"authn":"mfa"}`}, "invalid_request"},
	} {
		a := tc.by.dial(t, c.Orders).post(path, form, good(tc.change), nil)
		var e struct{ Error, Error_description string }
		if err := json.Unmarshal([]byte(a.Text), &e); err != nil || a.StatusCode != 400 || e.Error != tc.code || e.Error_description == "" || strings.Contains(a.Text, "access_token\":") || strings.Contains(a.Text, "spiffe://") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Text)
		}
	}
	stolen := ingress.mint(t, txntoken.MintRequest{Subject: "ada", Scope: "stock.read"}).Token
	for name, tc := range map[string]struct {
		contentType, body string
		header            http.Header
		status            int
	}{
		"JSON":                              {"application/json", `{}`, nil, 400},
		"a parameter twice":                 {form, good(nil) + "&scope=admin", nil, 400},
		"too large":                         {form, good(nil) + "&x=" + strings.Repeat("a", 40<<10), nil, 413},
		"Authorization in its place":        {form, good(map[string]string{"subject_token": ""}), http.Header{"Authorization": {"Bearer " + issuer.token(t, nil)}}, 400},
		"a Txn-Token of a user beside it":   {form, good(map[string]string{"subject_token": "x"}), http.Header{"Txn-Token": {stolen}}, 400},
		"a percent sign that means nothing": {form, good(nil) + "&x=%zz", nil, 400},
	} {
		if a := legacy.dial(t, c.Orders).post(path, tc.contentType, tc.body, tc.header); a.StatusCode != tc.status || strings.Contains(a.Text, "access_token\":") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Text)
		}
	}
	if a := legacy.dial(t, c.Orders).ask("GET", path+"?"+good(nil), nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %s", a.StatusCode, a.Text)
	}
	if n := c.Orders.App.Requests.Load(); n != before {
		t.Errorf("%d requests reached the app", n-before)
	}
}

func TestTheExampleOfATokenPolicy(t *testing.T) {
	t.Parallel()
	_, file := newPartnerIssuer(t)
	dir := t.TempDir()
	s := &kit.Side{App: kit.StartApp(t, "payments", ""), Mesh: kit.FreeAddr(t), Admin: kit.FreeAddr(t)}
	env := []string{"APP=" + s.App.Addr, "MESH=" + s.Mesh, "OUTBOUND=" + kit.FreeAddr(t), "ADMIN=" + s.Admin, "CA_DIR=" + dir, "PARTNER_ISSUER_KEY=" + file}
	kit.Start(t, env, "sidecar", "-c", "../../deploy/examples/token-policy.yaml").Ready(s.Admin)
	ingress, orders, refunds := join(t, dir, "ingress"), join(t, dir, "orders"), join(t, dir, "refunds")
	pays := ingress.mint(t, txntoken.MintRequest{Subject: "ada", Scope: "payments.write", Context: map[string]any{"tenant": "acme"}}).Token
	reads := ingress.mint(t, txntoken.MintRequest{Subject: "ada", Scope: "payments.read"}).Token
	edge := []string{svc("ingress")}
	for name, tc := range map[string]struct {
		by     *workload
		token  string
		chain  []string
		method string
		status int
	}{
		"a user by orders":            {orders, pays, edge, "POST", 200},
		"a user without the scope":    {orders, reads, edge, "POST", 403},
		"reading takes no such scope": {orders, reads, edge, "GET", 200},
		"a user by refunds":           {refunds, pays, edge, "GET", 403},
		"a user from inside":          {orders, pays, nil, "GET", 403},
		"refunds for itself":          {refunds, "", nil, "POST", 200},
		"straight from the edge":      {ingress, pays, nil, "GET", 403},
		"a long way":                  {orders, pays, []string{svc("ingress"), svc("a"), svc("b"), svc("c"), svc("d"), svc("e")}, "GET", 508},
	} {
		m := tc.by.dial(t, s)
		a := m.ask(tc.method, "/payments/1", tokens(tc.token, m.hop(tc.token, func(c *txntoken.HopClaims) { c.Chain = tc.chain })))
		if a.StatusCode != tc.status {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Text)
		} else if tc.status == 200 && tc.token == pays && echo(t, a).Header.Get("X-Tenant") != "acme" {
			t.Errorf("%s: the app was told %v", name, echo(t, a).Header)
		}
	}
}
