package examples_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// named is a service that says who it is, and can be made ill.
type named struct {
	*httptest.Server
	ill    atomic.Bool
	slow   atomic.Int64 // milliseconds
	probes atomic.Int64
}

func newNamed(t *testing.T, name string) *named {
	t.Helper()
	n := &named{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			n.probes.Add(1)
		} else if d := n.slow.Load(); d > 0 {
			time.Sleep(time.Duration(d) * time.Millisecond)
		}
		if n.ill.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(name))
	}))
	t.Cleanup(n.Close)
	return n
}

func (n *named) addr() string { return n.Listener.Addr().String() }

func threeOf(t *testing.T) (all []*named, env map[string]string) {
	env = map[string]string{}
	for _, name := range []string{"ONE", "TWO", "THREE"} {
		n := newNamed(t, name)
		all = append(all, n)
		env[name] = n.addr()
	}
	return all, env
}

func TestLoadBalancingPicksAsConfigured(t *testing.T) {
	all, env := threeOf(t)
	g := start(t, "load-balancing.yaml", env)
	count := func(path string, n int, lines ...string) map[string]int {
		out := map[string]int{}
		for range n {
			out[g.get(path, "", lines...).body]++
		}
		return out
	}
	if got := count("/catalog/x", 30); got["ONE"] != 10 || got["TWO"] != 10 || got["THREE"] != 10 {
		t.Errorf("round robin: %v", got)
	}
	all[0].slow.Store(100)
	count("/search/x", 20) // each has been met
	if got := count("/search/x", 100); got["ONE"] > 5 {
		t.Errorf("peak_ewma: a slow endpoint has %d of 100", got["ONE"])
	}
	all[0].slow.Store(0)
	for _, tenant := range []string{"acme", "globex", "initech"} {
		if got := count("/tenants/x", 20, "X-Tenant: "+tenant); len(got) != 1 {
			t.Errorf("tenant %s: %v", tenant, got)
		}
	}
	if got := count("/tenants/x", 20); len(got) != 1 {
		t.Errorf("by address: %v", got)
	}
	places := map[string]int{}
	for i := range 60 {
		places[g.get("/tenants/x", "", fmt.Sprint("X-Tenant: t", i)).body]++
	}
	if len(places) != 3 || places["ONE"] < 8 || places["TWO"] < 8 || places["THREE"] < 8 {
		t.Errorf("60 tenants: %v", places)
	}
}

func TestLoadBalancingKeepsABrowserWithItsEndpoint(t *testing.T) {
	_, env := threeOf(t)
	g := start(t, "load-balancing.yaml", env)
	places := map[string]bool{}
	for range 20 {
		first := g.get("/shop/x", "")
		line := first.Header.Get("Set-Cookie")
		cookie, attributes, _ := strings.Cut(line, ";")
		if !strings.HasPrefix(cookie, "shop_lb=") || !strings.Contains(attributes, "HttpOnly") || !strings.Contains(attributes, "SameSite=Lax") {
			t.Fatalf("%q", line)
		}
		places[first.body] = true
		for range 5 {
			again := g.get("/shop/y", "", "Cookie: a=b; "+cookie)
			if again.body != first.body || again.Header.Get("Set-Cookie") != "" {
				t.Fatalf("was at %s, is at %s; %q", first.body, again.body, again.Header.Get("Set-Cookie"))
			}
		}
	}
	if len(places) < 2 {
		t.Errorf("20 browsers are all at %v", places)
	}
}

// serviceState is what the admin API says of a service.
type serviceState struct {
	Service   string `json:"service"`
	Serving   string `json:"serving"`
	Endpoints []struct {
		Address, State, Why string
	} `json:"endpoints"`
}

func ordersState(t *testing.T, admin string) serviceState {
	t.Helper()
	return stateOf(t, admin, "orders")
}

func stateOf(t *testing.T, admin, service string) serviceState {
	t.Helper()
	var all []serviceState
	if err := json.Unmarshal([]byte(fetchText(t, "http://"+admin+"/services")), &all); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Service == service {
			return s
		}
	}
	t.Fatalf("no %s in %v", service, all)
	return serviceState{}
}

func TestHealthAndFailoverGoDownTheListAndBack(t *testing.T) {
	one, two, standby, last := newNamed(t, "one"), newNamed(t, "two"), newNamed(t, "standby"), newNamed(t, "last")
	g, adminAddr := startCaching(t, "health-and-failover.yaml", map[string]string{"ONE": one.addr(), "TWO": two.addr(), "STANDBY": standby.addr(),
		"LAST": last.addr(), "INTERVAL": "150ms", "TIMEOUT": "100ms", "SLOW_START": "300ms", "RETURN": "500ms"})
	serves := func(want ...string) {
		t.Helper()
		kit.Eventually(t, 30*time.Second, fmt.Sprint("served by ", want), func() error {
			for range 10 {
				a := g.get("/orders/x", "")
				ok := false
				for _, w := range want {
					ok = ok || a.StatusCode == http.StatusOK && a.body == w
				}
				if !ok {
					return fmt.Errorf("%d by %q; %+v", a.StatusCode, a.body, ordersState(t, adminAddr))
				}
			}
			return nil
		})
	}
	serves("one", "two")
	one.ill.Store(true)
	serves("two")
	if s := ordersState(t, adminAddr); s.Serving != "primary" {
		t.Errorf("%+v", s)
	}
	two.ill.Store(true)
	serves("standby")
	s := ordersState(t, adminAddr)
	if s.Serving != "1: service orders-standby" {
		t.Errorf("%+v", s)
	}
	for _, e := range s.Endpoints {
		if e.State != "unhealthy" && e.State != "ejected" || e.Why == "" {
			t.Errorf("%+v", e)
		}
	}
	standby.Close()
	serves("last")
	metrics := fetchText(t, "http://"+adminAddr+"/metrics")
	for _, line := range []string{`lintel_failover_tier{lintel_service="orders"} 2`, `lintel_endpoints_by_state{lintel_service="orders",lintel_state="healthy",lintel_tier="2: static"} 1`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no %s in the metrics", line)
		}
	}
	two.ill.Store(false)
	one.ill.Store(false)
	serves("one", "two")
	if one.probes.Load() == 0 || two.probes.Load() == 0 {
		t.Error("nobody was probed")
	}
}
