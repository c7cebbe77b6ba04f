package ops_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// TestOneOfThreeEndpointsDies under load: no idempotent request fails, the dead one
// is left out, and it is used again once it is back.
func TestOneOfThreeEndpointsDies(t *testing.T) {
	t.Parallel()
	var asked [3]atomic.Int64
	handler := func(i int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" {
				asked[i].Add(1)
			}
			_, _ = io.WriteString(w, "served")
		})
	}
	serve := func(i int, addr string) *http.Server {
		s := &http.Server{Addr: addr, Handler: handler(i)}
		go func() { _ = s.ListenAndServe() }()
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	dead := kit.FreeAddr(t)
	first := serve(0, dead)
	one, two := httptest.NewServer(handler(1)), httptest.NewServer(handler(2))
	t.Cleanup(one.Close)
	t.Cleanup(two.Close)
	edge, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	kit.Start(t, nil, "ingress", "-c", kit.File(t, "ingress.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
routes: [{name: all, match: {path: /*}, service: web, retries: {attempts: 2}}]
services:
  web:
    static: [%q, %q, %q]
    balance: round_robin
    slow_start: 500ms
    health: {http: {path: /healthz}, interval: 300ms, timeout: 200ms, unhealthy: 2}
    outlier: {consecutive: 3, base_ejection: 500ms}
`, edge, admin, dead, one.Listener.Addr(), two.Listener.Addr()))).Ready(admin)
	share := func(within func(before, after int64) bool) func() error {
		return func() error {
			before, all := asked[0].Load(), asked[1].Load()+asked[2].Load()
			for asked[1].Load()+asked[2].Load() < all+40 {
				time.Sleep(5 * time.Millisecond)
			}
			if after := asked[0].Load(); !within(before, after) {
				return fmt.Errorf("%d of some 60 requests", after-before)
			}
			return nil
		}
	}
	l := kit.StartLoad(t, nil, kit.Shot{Method: http.MethodGet, URL: "http://" + edge + "/x", Expect: "served"},
		kit.Shot{Method: http.MethodPut, URL: "http://" + edge + "/y", Body: "z", Expect: "served"})
	kit.Eventually(t, time.Minute, "all three are used", share(func(before, after int64) bool { return after-before > 10 }))
	_ = first.Close()
	killed := time.Now()
	kit.Eventually(t, time.Minute, "the dead one is left out", func() error {
		h, err := healthOf(admin, "web")
		if err != nil {
			return err
		}
		for _, e := range h.Endpoints {
			if e.Address == dead && e.State != "ejected" && e.State != "unhealthy" {
				return fmt.Errorf("%+v", e)
			}
		}
		return nil
	})
	t.Logf("left out %s after its death", time.Since(killed).Round(time.Millisecond))
	l.During(2 * time.Second) // the ejection ends meanwhile: its probes keep it out
	serve(0, dead)
	back := time.Now()
	kit.Eventually(t, time.Minute, "it is used again", share(func(before, after int64) bool { return after-before > 10 }))
	t.Logf("has its share again %s after its return", time.Since(back).Round(time.Millisecond))
	l.Clean(200)
}
