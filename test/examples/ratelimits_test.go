package examples_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store/redistest"
)

func TestRateLimitsHoldInEveryWindow(t *testing.T) {
	api := newService(t)
	g := start(t, "rate-limits.yaml", map[string]string{"API_ADDR": api.addr()})
	served, refused := 0, 0
	for range 400 {
		a := g.get("/api/x", "")
		for _, name := range []string{"RateLimit", "RateLimit-Policy"} {
			if v := a.Header.Get(name); !strings.Contains(v, `"api-1s";`) || !strings.Contains(v, `"api-1h";`) {
				t.Fatalf("%s: %q, want both windows", name, v)
			}
		}
		if a.Header.Get("X-RateLimit-Remaining") == "" || a.Header.Get("X-RateLimit-Reset") == "" {
			t.Fatal("X-RateLimit fields are missing")
		}
		switch a.StatusCode {
		case http.StatusOK:
			served++
		case http.StatusTooManyRequests:
			if refused++; a.Header.Get("Retry-After") == "" || a.Header.Get("X-RateLimit-Remaining") != "0" {
				t.Fatalf("429 with Retry-After %q and %q left", a.Header.Get("Retry-After"), a.Header.Get("X-RateLimit-Remaining"))
			}
		default:
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	if api.count() != served || served < 20 || served > 300 || refused == 0 {
		t.Errorf("%d served, %d refused, the service saw %d", served, refused, api.count())
	}
}

func TestReportsAreTwoAtOnce(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 10)
	api := newHandler(t, func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-hold
		w.WriteHeader(http.StatusNoContent)
	})
	g := start(t, "rate-limits.yaml", map[string]string{"API_ADDR": api.addr()})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if a := g.get("/reports/sales", ""); a.StatusCode != http.StatusNoContent {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
	<-entered
	<-entered
	if a := g.get("/reports/sales", ""); a.StatusCode != http.StatusTooManyRequests || !strings.Contains(a.body, "too-many-in-flight") || a.Header.Get("Retry-After") != "5" {
		t.Errorf("the third: %d %s, Retry-After %q", a.StatusCode, a.body, a.Header.Get("Retry-After"))
	}
	close(hold)
	wg.Wait()
	redistest.WaitFor(t, "the places", func() error { // Done comes after the answer
		a := g.get("/reports/costs", "")
		if a.StatusCode != http.StatusNoContent {
			return &strangeStatus{a.StatusCode}
		}
		return nil
	})
}

func TestAClientThatLeavesGivesItsPlaceBack(t *testing.T) {
	entered := make(chan struct{}, 10)
	api := newHandler(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("slow") {
			entered <- struct{}{}
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusNoContent)
	})
	g := start(t, "rate-limits.yaml", map[string]string{"API_ADDR": api.addr()})
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, g.base+"/reports/sales?slow", nil)
			if res, err := g.client.Do(req); err == nil {
				_ = res.Body.Close()
				t.Errorf("answered with %d", res.StatusCode)
			}
		})
	}
	<-entered
	<-entered
	if a := g.get("/reports/costs", ""); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the third: %d", a.StatusCode)
	}
	leave()
	wg.Wait()
	redistest.WaitFor(t, "the places", func() error {
		if a := g.get("/reports/costs", ""); a.StatusCode != http.StatusNoContent {
			return &strangeStatus{a.StatusCode}
		}
		return nil
	})
}

type strangeStatus struct{ status int }

func (s *strangeStatus) Error() string { return http.StatusText(s.status) }

func TestTwoGatewaysShareOneLimit(t *testing.T) {
	server, api := redistest.Start(t), newService(t)
	env := map[string]string{"API_ADDR": api.addr(), "REDIS_ADDR": server.Addr(), "REDIS_TIMEOUT": "5s"}
	gateways := []*gateway{start(t, "rate-limits-redis.yaml", env), start(t, "rate-limits-redis.yaml", env)}
	for _, g := range gateways {
		// Until Redis is connected, each counts for itself. What this took from
		// the limit is forgotten again.
		redistest.WaitFor(t, "Redis", func() error {
			g.get("/api/x", "")
			if server.Do("DBSIZE") == "0" {
				return &strangeStatus{http.StatusServiceUnavailable}
			}
			server.Do("FLUSHALL")
			return nil
		})
	}
	began, before, refused := time.Now(), api.count(), 0
	for i := range 120 {
		switch a := gateways[i%2].get("/api/x", ""); a.StatusCode {
		case http.StatusOK:
		case http.StatusTooManyRequests:
			refused++
		default:
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	back := int(time.Since(began)*50/time.Minute) + 1
	if served := api.count() - before; served < 50 || served > 50+back || refused == 0 {
		t.Errorf("%d served, want 50 between both, and %d that came back", served, back)
	}
}
