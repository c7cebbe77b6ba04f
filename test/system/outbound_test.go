package system

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"lintel.dev/lintel/test/kit"
)

func TestAppReachesTheMeshAndNothingElse(t *testing.T) {
	t.Parallel()
	upstream := kit.FreeAddr(t)
	c := kit.StartChain(t, kit.ChainOptions{NoIngress: true, StockAllow: "[{from: [orders, inventory]}]"})
	kit.Replace(t, c.Orders.File, strings.Replace(c.Orders.Config, "  policy:", fmt.Sprintf("  upstreams: [{service: inventory, bind: %q}]\n  policy:", upstream), 1))
	c.Orders.Process.Kill() // listeners are opened at start
	c.Orders.Process = kit.Start(t, nil, "sidecar", "-c", c.Orders.File).Ready(c.Orders.Admin)
	bystander := kit.StartApp(t, "bystander", "")
	out := c.Orders.App.Outbound

	ask := func(t *testing.T, client *http.Client, target, host string) answer {
		t.Helper()
		req, err := http.NewRequestWithContext(bounded(t), http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{res, string(b)}
	}
	asProxy := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: out})}}
	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for name, try := range map[string]func(t *testing.T) answer{
		"by Host":                   func(t *testing.T) answer { return ask(t, plain, "http://"+out+"/x?q=1", "inventory") },
		"by Host with a port":       func(t *testing.T) answer { return ask(t, plain, "http://"+out+"/x?q=1", "inventory:80") },
		"by Consul's name":          func(t *testing.T) answer { return ask(t, plain, "http://"+out+"/x?q=1", "inventory.service.consul") },
		"as its HTTP proxy":         func(t *testing.T) answer { return ask(t, asProxy, "http://inventory/x?q=1", "") },
		"by a loopback port for it": func(t *testing.T) answer { return ask(t, plain, "http://"+upstream+"/x?q=1", "") },
		"by that port and its name": func(t *testing.T) answer { return ask(t, plain, "http://"+upstream+"/x?q=1", "inventory") },
	} {
		t.Run(name, func(t *testing.T) {
			e := echo(t, try(t))
			if e.App != "inventory" || e.Path != "/x?q=1" || e.Header.Get("X-Lintel-Chain") != svc("orders") {
				t.Errorf("%+v", e)
			}
		})
	}
	t.Run("a page's own name is not taken on its port", func(t *testing.T) {
		if a := ask(t, plain, "http://"+upstream+"/x", "attacker.example"); a.StatusCode != http.StatusBadGateway {
			t.Errorf("%d %s", a.StatusCode, a.Text)
		}
	})
	for _, authority := range []string{"unknown", "example.com", "127.0.0.1", "localhost", bystander.Addr, "inventory.evil.test", "[::1]", "INVENTORY@evil", "169.254.169.254"} {
		t.Run("never dials "+authority, func(t *testing.T) {
			a := exchangeRaw(t, out, "GET /x HTTP/1.1\r\nHost: "+authority+"\r\nConnection: close\r\n\r\n")[0]
			if a.StatusCode != http.StatusBadGateway && a.StatusCode != http.StatusBadRequest {
				t.Errorf("Host: %d %s", a.StatusCode, a.Text)
			}
			a = exchangeRaw(t, out, "GET http://"+authority+"/x HTTP/1.1\r\nHost: "+authority+"\r\nConnection: close\r\n\r\n")[0]
			if a.StatusCode != http.StatusBadGateway && a.StatusCode != http.StatusBadRequest {
				t.Errorf("absolute-form: %d %s", a.StatusCode, a.Text)
			}
			a = exchangeRaw(t, out, "CONNECT "+authority+":443 HTTP/1.1\r\nHost: "+authority+":443\r\n\r\n")[0]
			if a.StatusCode/100 == 2 {
				t.Errorf("CONNECT: %d %s", a.StatusCode, a.Text)
			}
		})
	}
	if n := bystander.Requests.Load(); n != 0 {
		t.Errorf("%d requests reached an app outside the mesh", n)
	}
	t.Run("the app may check the Txn-Token itself", func(t *testing.T) {
		a := ask(t, plain, "http://"+out+"/x", "inventory")
		token := echo(t, a).Header.Get("Txn-Token")
		if token != "" && strings.Contains(keysOf(t, c.Inventory), `"kty"`) {
			t.Error("the keys offered to the app include those of a workload that speaks for itself only")
		}
	})
}

func keysOf(t *testing.T, s *kit.Side) string {
	t.Helper()
	res, err := http.Get("http://" + s.Admin + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s %v", res.StatusCode, b, err)
	}
	return string(b)
}

func TestAppCanVerifyTheTxnTokenWithTheSidecarsKeys(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	_, e := c.Echo("/orders/x", c.Token(nil), nil)
	var set struct {
		Keys []struct{ Kid, Kty, Crv, X, Y string }
	}
	if err := json.Unmarshal([]byte(keysOf(t, c.Orders)), &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("%v, %d keys", err, len(set.Keys))
	}
	verified := false
	for _, k := range set.Keys {
		key, err := ecKey(k.X, k.Y)
		if err != nil {
			t.Fatal(err)
		}
		claims := jwt.MapClaims{}
		if _, err := jwt.ParseWithClaims(e.Header.Get("Txn-Token"), claims, func(*jwt.Token) (any, error) { return key, nil }, jwt.WithAudience("lintel.local")); err != nil {
			continue
		}
		verified = true
		if claims["sub"] != "ada" || claims["txn"] != e.Header.Get("X-Lintel-Txn") || claims["req_wl"] != svc("ingress") {
			t.Errorf("claims %v", claims)
		}
	}
	if !verified {
		t.Errorf("none of %d keys verifies the token the app was given", len(set.Keys))
	}
	head, _, _ := strings.Cut(e.Header.Get("Txn-Token"), ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || !strings.Contains(string(raw), `"txntoken+jwt"`) {
		t.Errorf("header %s %v", raw, err)
	}
}
