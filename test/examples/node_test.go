package examples_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const secret = "a secret of at least thirty-two bytes"

func startNode(t *testing.T) (g *gateway, users, orders *service) {
	t.Helper()
	users, orders = newService(t), newService(t)
	return start(t, "node-gateway.yaml", map[string]string{"JWT_SECRET": secret, "USERS_ADDR": users.addr(), "ORDERS_ADDR": orders.addr()}), users, orders
}

func hs256(t *testing.T, c jwt.MapClaims) string {
	return signed(t, jwt.SigningMethodHS256, []byte(secret), c)
}

func TestNodeGatewayRefusesInJSON(t *testing.T) {
	g, users, _ := startNode(t)
	expired := claims("ada")
	expired["exp"] = time.Now().Add(-time.Hour).Unix()
	for name, test := range map[string]struct{ token, code string }{
		"no token":      {"", "no-token"},
		"not a token":   {"nonsense", "bad-token"},
		"expired":       {hs256(t, expired), "token-expired"},
		"wrong secret":  {signed(t, jwt.SigningMethodHS256, []byte(strings.ToUpper(secret)), claims("ada")), "bad-token"},
		"alg none":      {signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims("ada")), "bad-token"},
		"other issuer":  {hs256(t, jwt.MapClaims{"iss": "https://evil.example", "sub": "ada", "exp": time.Now().Add(time.Hour).Unix()}), "bad-token"},
		"without an id": {hs256(t, jwt.MapClaims{"iss": issuer, "exp": time.Now().Add(time.Hour).Unix()}), "bad-token"},
	} {
		a := g.get("/api/users/7", test.token)
		var problem struct {
			Title, Code string
			Status      int
		}
		if err := json.Unmarshal([]byte(a.body), &problem); err != nil {
			t.Errorf("%s: the body is no JSON: %v: %q", name, err, a.body)
		}
		if a.StatusCode != http.StatusUnauthorized || problem.Status != http.StatusUnauthorized || problem.Code != test.code ||
			a.Header.Get("Content-Type") != "application/problem+json" || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: %d %s %q %s, expected 401 %s as a problem with a challenge", name, a.StatusCode, a.Header.Get("Content-Type"), a.Header.Get("WWW-Authenticate"), a.body, test.code)
		}
	}
	if users.count() != 0 {
		t.Errorf("the service was asked %d times without a valid token", users.count())
	}
}

func TestNodeGatewaySaysWhoTheUserIs(t *testing.T) {
	g, users, _ := startNode(t)
	g.get("/api/users/7", hs256(t, claims("ada", "admin", "customer")),
		"X-User-Id: eve", "x_user_id: eve", "X-USER-ROLES: root", "X-User-Roles: root", "Connection: X-User-Id")
	r := users.last(t)
	if id := r.Header.Values("X-User-Id"); len(id) != 1 || id[0] != "ada" {
		t.Errorf("X-User-Id is %q, expected ada alone", id)
	}
	if roles := r.Header.Values("X-User-Roles"); len(roles) != 1 || strings.Join(strings.FieldsFunc(roles[0], func(c rune) bool { return c == ',' || c == ' ' }), " ") != "admin customer" {
		t.Errorf("X-User-Roles is %q, expected admin and customer alone", roles)
	}
	for name, values := range r.Header {
		for _, v := range values {
			if v == "eve" || v == "root" {
				t.Errorf("what the client said of itself arrived: %s: %s", name, v)
			}
		}
	}
}

func TestNodeGatewayStripsThePrefix(t *testing.T) {
	g, users, orders := startNode(t)
	token := hs256(t, claims("ada"))
	for path, want := range map[string]string{"/api/users/7": "/7", "/api/users/7/posts": "/7/posts", "/api/users": "/", "/api/users/": "/", "/api/users/../users/7": "/7"} {
		if a := g.get(path, token); a.StatusCode != http.StatusOK || users.last(t).URL.Path != want {
			t.Errorf("%s: %d, the service saw %s, expected %s", path, a.StatusCode, users.last(t).URL.Path, want)
		}
	}
	if a := g.get("/api/orders/7", token); a.StatusCode != http.StatusOK || orders.last(t).URL.Path != "/7" {
		t.Errorf("orders: %d, it saw %s", a.StatusCode, orders.last(t).URL.Path)
	}
	before := users.count()
	if a := g.get("/api/usersX/7", token); a.StatusCode != http.StatusNotFound || users.count() != before {
		t.Errorf("/api/usersX/7: %d: a prefix ends at a segment", a.StatusCode)
	}
}

func TestNodeGatewayIsHealthyWithoutAToken(t *testing.T) {
	g, _, _ := startNode(t)
	if a := g.get("/health", ""); a.StatusCode != http.StatusOK || a.body != `{"status":"ok"}` || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %q", a.StatusCode, a.Header.Get("Content-Type"), a.body)
	}
}
