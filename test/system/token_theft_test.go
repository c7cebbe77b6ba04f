package system

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/test/kit"
)

// dressed signs a user's claims with by's key under whatever header it is told.
func dressed(t *testing.T, by *workload, header map[string]any) string {
	t.Helper()
	svid, err := by.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"aud": mtls.DefaultTrustDomain, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"txn": "t", "sub": "ada", "scope": "", "req_wl": svc("ingress")})
	tok.Header = map[string]any{"alg": "ES256", "typ": "txntoken+jwt"}
	for name, v := range header {
		tok.Header[name] = v
	}
	s, err := tok.SignedString(svid.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func certificatesOf(t *testing.T, of ...*workload) (out []string) {
	t.Helper()
	for _, w := range of {
		svid, err := w.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, base64.StdEncoding.EncodeToString(svid.Certificates[0].Raw))
	}
	return out
}

// TestStolenAndMadeUpTokensAreWorthNothing: whatever mallory, a workload of the
// mesh that may call orders, lays its hands on.
func TestStolenAndMadeUpTokensAreWorthNothing(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Identity: "  leeway: 0s\n",
		OrdersAllow: "[{from: [ingress, mallory]}]\n    chain_asserters: [ingress]\n    require: [{for: user, began_at: ingress}]"})
	ingress, mallory := join(t, c.CADir, "ingress"), join(t, c.CADir, "mallory")
	foreign := joinDomain(t, t.TempDir(), "evil.example", "ingress")
	stolen := ingress.mint(t, txntoken.MintRequest{Subject: "ada"}).Token
	if a := ingress.dial(t, c.Orders).ask("GET", "/x", nil); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.Text)
	}
	x, y := "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" // RFC 7517 A.1
	before := c.Orders.App.Requests.Load()
	for name, tc := range map[string]struct {
		token  string
		chain  []string
		status int
		code   string
	}{
		"the token, in its own name":                     {stolen, nil, 403, "chain-denied"},
		"the token, and it says it came by the ingress":  {stolen, []string{svc("ingress")}, 403, "bad-hop-token"},
		"the ingress's certificate, without its key":     {dressed(t, mallory, map[string]any{"x5c": certificatesOf(t, ingress)}), nil, 401, "bad-txn-token"},
		"its own certificate before the ingress's":       {dressed(t, mallory, map[string]any{"x5c": certificatesOf(t, mallory, ingress)}), nil, 401, "bad-txn-token"},
		"its own certificate, which is on no list":       {dressed(t, mallory, map[string]any{"x5c": certificatesOf(t, mallory)}), nil, 403, "bad-txn-token"},
		"a key in the header":                            {dressed(t, mallory, map[string]any{"x5c": certificatesOf(t, ingress), "jwk": map[string]string{"kty": "EC", "crv": "P-256", "x": x, "y": y}}), nil, 401, "bad-txn-token"},
		"a key and no certificate":                       {dressed(t, mallory, map[string]any{"jwk": map[string]string{"kty": "EC", "crv": "P-256", "x": x, "y": y}}), nil, 401, "bad-txn-token"},
		"a key id and no certificate":                    {dressed(t, mallory, map[string]any{"kid": "ingress"}), nil, 401, "bad-txn-token"},
		"an address of keys":                             {dressed(t, mallory, map[string]any{"x5c": certificatesOf(t, mallory), "jku": "https://evil.example/"}), nil, 401, "bad-txn-token"},
		"a certificate of another trust domain":          {dressed(t, foreign, map[string]any{"x5c": certificatesOf(t, foreign)}), nil, 403, "bad-txn-token"},
		"another domain's, with the ingress's behind it": {dressed(t, foreign, map[string]any{"x5c": certificatesOf(t, foreign, ingress)}), nil, 403, "bad-txn-token"},
		"a token of 20 KiB":                              {stolen + strings.Repeat("A", 20<<10), nil, 401, "bad-txn-token"},
	} {
		m := mallory.dial(t, c.Orders)
		a := m.ask("GET", "/x", tokens(tc.token, m.hop(tc.token, func(c *txntoken.HopClaims) { c.Chain = tc.chain })))
		if a.StatusCode != tc.status || problem(t, a).Code != tc.code {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.Text)
		}
	}
	m := mallory.dial(t, c.Orders)
	twice := tokens(stolen, m.hop(stolen, nil))
	twice.Add("Txn-Token", stolen)
	if a := m.ask("GET", "/x", twice); a.StatusCode != http.StatusBadRequest {
		t.Errorf("two Txn-Tokens: %d %s", a.StatusCode, a.Text)
	}
	if n := c.Orders.App.Requests.Load(); n != before {
		t.Errorf("%d requests reached the app", n-before)
	}
	for _, name := range []string{"Txn_Token", "txn.token", "TXN-TOKEN ", "Hop_Token"} {
		h := http.Header{}
		h[strings.TrimSpace(name)] = []string{stolen}
		e := echo(t, mallory.dial(t, c.Orders).ask("GET", "/x", h))
		if all(e.Header) != "" && strings.Contains(all(e.Header), stolen) || e.Header.Get("X-User-Id") != "" {
			t.Errorf("%s reached the app: %v", name, e.Header)
		}
	}
}

// TestATokenIsWorthNothingOnceItHasExpired: also where it has been verified before.
func TestATokenIsWorthNothingOnceItHasExpired(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Identity: "  leeway: 0s\n"})
	ingress := join(t, c.CADir, "ingress")
	minter, err := txntoken.NewMinter(ingress, txntoken.MinterConfig{Lifetime: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	txn, err := minter.Mint(txntoken.MintRequest{Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	m := ingress.dial(t, c.Orders)
	if e := echo(t, m.ask("GET", "/x", tokens(txn.Token, m.hop(txn.Token, nil)))); e.Header.Get("X-User-Id") != "ada" {
		t.Fatalf("the app was told %v", e.Header)
	}
	kit.Eventually(t, limit, "the token is refused", func() error {
		a := m.ask("GET", "/x", tokens(txn.Token, m.hop(txn.Token, nil)))
		late := time.Since(txn.Expires)
		switch {
		case a.StatusCode == http.StatusOK && late > time.Second:
			t.Fatalf("still accepted %s after it expired", late)
		case a.StatusCode == http.StatusOK:
			return errors.New("still accepted")
		case late < 0:
			t.Fatalf("refused %s before it expired: %s", -late, a.Text)
		case problem(t, a).Code != "bad-txn-token" || strings.Contains(a.Text, "spiffe://"):
			t.Fatalf("%d %s", a.StatusCode, a.Text)
		}
		return nil
	})
}

// TestAWebSocketCarriesTheUser as any request does.
func TestAWebSocketCarriesTheUser(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	seen := make(chan http.Header, 1)
	c.Orders.App.Extra["/who"] = func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Clone()
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err == nil {
			_ = ws.Close(websocket.StatusNormalClosure, "")
		}
	}
	ws, _, err := websocket.Dial(bounded(t), "ws://"+c.Edge+"/orders/who", &websocket.DialOptions{HTTPHeader: http.Header{
		"Authorization": {"Bearer " + c.Token(nil)}, "X-User-Id": {"root"}, "Txn-Token": {"forged"}}})
	if err != nil {
		t.Fatal(err)
	}
	_ = ws.CloseNow()
	h := <-seen
	if h.Get("X-User-Id") != "ada" || h.Get("X-Lintel-Chain") != svc("ingress") || claimsOf(t, h.Get("Txn-Token")).Rctx["authn"] != "jwt" {
		t.Errorf("the app was told %v", h)
	}
}
