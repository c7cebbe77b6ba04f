package examples_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func startKong(t *testing.T) (g *gateway, users, orders *service, sign func(jwt.MapClaims) string) {
	t.Helper()
	users, orders = newService(t), newService(t)
	key, sign := keyPair(t)
	g = start(t, "kong-style.yaml", map[string]string{"JWT_KEY_FILE": key, "USERS_ADDR": users.addr(), "ORDERS_ADDR": orders.addr()})
	return g, users, orders, sign
}

func TestKongStyleRequiresAToken(t *testing.T) {
	g, users, orders, sign := startKong(t)
	_, otherKey := keyPair(t)
	for name, token := range map[string]string{"none": "", "garbage": "x.y.z", "another issuer's key": otherKey(claims("ada"))} {
		for _, path := range []string{"/users/7", "/orders/7"} {
			if a := g.get(path, token); a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: %d, challenge %q: expected 401 with a challenge", path, name, a.StatusCode, a.Header.Get("WWW-Authenticate"))
			}
		}
	}
	if n := users.count() + orders.count(); n != 0 {
		t.Errorf("the services were asked %d times without a valid token", n)
	}
	if a := g.get("/users/7", sign(claims("ada"))); a.StatusCode != http.StatusOK || a.body != `{"path":"/users/7"}` {
		t.Errorf("with a valid token: %d %s", a.StatusCode, a.body)
	}
}

func TestKongStyleTellsServicesWhereARequestCameFrom(t *testing.T) {
	g, users, _, sign := startKong(t)
	g.get("/users/7", sign(claims("ada")), "X-Request-Source: elsewhere")
	r := users.last(t)
	if got := r.Header.Values("X-Request-Source"); len(got) != 1 || got[0] != "gateway" {
		t.Errorf("X-Request-Source is %q, expected gateway alone", got)
	}
	if r.Header.Get("Authorization") != "" {
		t.Error("the token reached the service")
	}
}

func TestKongStyleLimitsEachRouteByUser(t *testing.T) {
	for route, limit := range map[string]int{"users": 100, "orders": 60} {
		t.Run(route, func(t *testing.T) {
			g, _, _, sign := startKong(t)
			token := sign(claims("ada"))
			began, served := time.Now(), 0
			a := g.get("/"+route+"/7", token)
			for ; a.StatusCode == http.StatusOK; a = g.get("/"+route+"/7", token) {
				served++
				// What a slow machine takes is given back meanwhile, one by one.
				if most := limit + int(time.Since(began)*time.Duration(limit)/time.Minute) + 1; served > most {
					t.Fatalf("%d requests were served in %s, expected %d at most", served, time.Since(began), most)
				}
			}
			if served < limit {
				t.Errorf("%d requests were served, expected %d", served, limit)
			}
			if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" || a.Header.Get("RateLimit") == "" {
				t.Errorf("request %d: %d, Retry-After %q, RateLimit %q: expected 429 with both", served+1, a.StatusCode, a.Header.Get("Retry-After"), a.Header.Get("RateLimit"))
			}
			if a := g.get("/"+route+"/7", sign(claims("grace"))); a.StatusCode != http.StatusOK {
				t.Errorf("another user: %d, expected a limit of their own", a.StatusCode)
			}
		})
	}
}

func TestKongStyleCachesJSONForEachUser(t *testing.T) {
	g, users, _, sign := startKong(t)
	ada, grace := sign(claims("ada")), sign(claims("grace"))
	first, second := g.get("/users/7", ada), g.get("/users/7", ada)
	if users.count() != 1 {
		t.Errorf("the service was asked %d times, expected once", users.count())
	}
	if status := second.Header.Get("Cache-Status"); !strings.Contains(status, "hit") || strings.Contains(first.Header.Get("Cache-Status"), "; hit") {
		t.Errorf("Cache-Status is %q, then %q", first.Header.Get("Cache-Status"), status)
	}
	if second.body != first.body || second.Header.Get("Age") == "" {
		t.Errorf("the cached answer is %q with Age %q, expected %q", second.body, second.Header.Get("Age"), first.body)
	}
	g.get("/users/7", grace)
	if users.count() != 2 {
		t.Errorf("the service was asked %d times, expected another user's request to reach it", users.count())
	}
	g.get("/users/8", ada)
	if users.count() != 3 {
		t.Errorf("the service was asked %d times, expected another path to reach it", users.count())
	}
}
