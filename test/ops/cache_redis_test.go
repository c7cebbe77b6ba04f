package ops_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/proxy/store/redistest"
	"lintel.dev/lintel/test/kit"
)

// startSharing runs an ingress that shares its cache through Redis.
func startSharing(t testing.TB, redis, service string) limited {
	t.Helper()
	l := limited{kit.FreeAddr(t), kit.FreeAddr(t)}
	file := kit.File(t, "ingress.yaml", fmt.Sprintf(`
version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
redis: {default: {%s}}
routes:
  - {name: r, match: {path: /*}, filters: [{cache: {name: pages, ttl: 1h, shared: {timeout: 100ms}}}], service: s}
services:
  s: {static: %q}
`, l.edge, l.admin, redis, service))
	kit.Start(t, nil, "ingress", "-c", file).Ready(l.admin)
	return l
}

// shares waits until an ingress asks Redis for answers, or does not.
func (l limited) shares(t testing.TB, ready bool) {
	t.Helper()
	kit.Eventually(t, time.Minute, fmt.Sprintf("redis is asked: %t", ready), func() error {
		if _, body := fetch(l.admin, "/cache?compact"); !strings.Contains(body, fmt.Sprintf(`"ready":%t`, ready)) {
			return errors.New(body)
		}
		return nil
	})
}

// page asks an ingress for a page of a host that both serve.
func (l limited) page(client *http.Client, path string) (status int, body, info string, err error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+l.edge+path, nil)
	if err != nil {
		return 0, "", "", err
	}
	req.Host = "shop.example"
	res, err := client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), res.Header.Get("Cache-Status"), err
}

// counting is a service that numbers its answers, with a tag.
func counting(t testing.TB) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Surrogate-Key", "all "+strings.Trim(r.URL.Path, "/"))
		_, _ = fmt.Fprintf(w, "%s %d", r.URL.Path, asked.Add(1))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), asked
}

// Two processes share hits and purges, through a single Redis and a cluster.
func TestTwoIngressesShareACacheThroughRedis(t *testing.T) {
	for _, kind := range []string{"single", "cluster"} {
		t.Run(kind, func(t *testing.T) {
			servers := []*redistest.Server{}
			if kind == "cluster" {
				servers = redistest.Cluster(t, 3)
			} else {
				servers = append(servers, redistest.Start(t))
			}
			var addrs []string
			for _, s := range servers {
				addrs = append(addrs, fmt.Sprintf("%q", s.Addr()))
			}
			redis := fmt.Sprintf("mode: %s, addresses: [%s], timeout: 5s", kind, strings.Join(addrs, ", "))
			service, asked := counting(t)
			one, two := startSharing(t, redis, service), startSharing(t, redis, service)
			one.shares(t, true)
			two.shares(t, true)
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			const pages = 20
			bodies := map[string]string{}
			for i := range pages {
				path := fmt.Sprint("/", i)
				status, body, _, err := one.page(client, path)
				if err != nil || status != http.StatusOK {
					t.Fatal(status, err)
				}
				bodies[path] = body
			}
			kit.Eventually(t, time.Minute, "all is in Redis", func() error {
				if n := metric(t, one.admin, `lintel_cache_shared_total{name="name:pages",outcome="stored"}`); n != pages {
					return fmt.Errorf("%v of %d", n, pages)
				}
				return nil
			})
			for path, want := range bodies {
				if _, body, info, err := two.page(client, path); err != nil || body != want || !strings.HasSuffix(info, "; detail=redis") {
					t.Errorf("%s: %q %s %v, want %q", path, body, info, err, want)
				}
			}
			if n := asked.Load(); n != pages {
				t.Errorf("the service was asked %d times for %d pages", n, pages)
			}
			got, err := admin.AskPurge(t.Context(), two.admin, admin.PurgeRequest{Tag: "7"})
			if err != nil || got != (admin.PurgeResult{Purged: 1}) {
				t.Errorf("%+v %v", got, err)
			}
			kit.Eventually(t, time.Minute, "the other forgets", func() error {
				if _, body, _, err := one.page(client, "/7"); err != nil || body == bodies["/7"] {
					return fmt.Errorf("%q %w", body, err)
				}
				return nil
			})
			if _, body, _, _ := one.page(client, "/8"); body != bodies["/8"] {
				t.Errorf("what was not purged: %q", body)
			}
			if kind == "cluster" {
				for i, s := range servers {
					if s.Do("DBSIZE") == "0" {
						t.Errorf("node %d holds no key: the test shows no cluster", i)
					}
				}
			}
		})
	}
}

// Redis is killed, started and frozen under load, with purges all the while:
// every answer is a 200, and at the end nobody has what was purged.
func TestACacheOutlivesItsRedisUnderLoad(t *testing.T) {
	server := redistest.Start(t)
	service, _ := counting(t)
	redis := fmt.Sprintf("addresses: [%q]", server.Addr())
	both := []limited{startSharing(t, redis, service), startSharing(t, redis, service)}
	var served, slowest atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				path, began := fmt.Sprint("/", i%50), time.Now()
				if i%10 == 0 {
					path = fmt.Sprint("/", worker, "-", i) // never asked for before
				}
				status, body, _, err := both[worker%2].page(client, path)
				if took := int64(time.Since(began)); took > slowest.Load() {
					slowest.Store(took)
				}
				if err != nil || status != http.StatusOK || !strings.HasPrefix(body, path+" ") {
					t.Errorf("%s: %d %q %v", path, status, body, err)
				}
				served.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		from := served.Load()
		kit.Eventually(t, time.Minute, "some load", func() error {
			if got := served.Load() - from; got < n {
				return fmt.Errorf("%d of %d requests", got, n)
			}
			return nil
		})
	}
	each := func(ready bool) {
		t.Helper()
		for _, l := range both {
			l.shares(t, ready)
		}
	}
	purge := func() (untold bool) {
		t.Helper()
		got, err := admin.AskPurge(t.Context(), both[0].admin, admin.PurgeRequest{Tag: "all"})
		if err != nil {
			t.Fatal(err)
		}
		return got.Untold
	}
	each(true)
	more(300)
	if purge() {
		t.Error("the other was not told")
	}
	for range 2 {
		server.Stop()
		each(false)
		more(300)
		if !purge() {
			t.Error("the other was told without Redis")
		}
		server.Restart()
		each(true)
		more(300)
	}
	server.Freeze()
	each(false)
	more(300)
	server.Thaw()
	each(true)
	more(300)
	close(stop)
	wg.Wait()
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	_, old, _, _ := both[1].page(client, "/7")
	if purge() {
		t.Error("the other was not told in the end")
	}
	kit.Eventually(t, time.Minute, "the other forgets", func() error {
		if _, body, _, err := both[1].page(client, "/7"); err != nil || body == old {
			return fmt.Errorf("%q %w", body, err)
		}
		return nil
	})
	// Each still gives the other what it has asked for.
	for i, path := range []string{"/of-one", "/of-two"} {
		from, to := both[i], both[1-i]
		stored := func() float64 {
			return metric(t, from.admin, `lintel_cache_shared_total{name="name:pages",outcome="stored"}`)
		}
		before := stored()
		_, body, _, _ := from.page(client, path)
		kit.Eventually(t, time.Minute, path+" is in Redis", func() error {
			if stored() == before {
				return errors.New("not yet")
			}
			return nil
		})
		if _, got, info, err := to.page(client, path); err != nil || got != body {
			t.Errorf("%s: %q %s %v, want %q", path, got, info, err, body)
		}
	}
	t.Logf("%d served, the slowest in %v", served.Load(), time.Duration(slowest.Load()))
	for _, l := range both {
		for _, outcome := range []string{"hit", "miss", "stored"} {
			if metric(t, l.admin, fmt.Sprintf(`lintel_cache_shared_total{name="name:pages",outcome=%q}`, outcome)) == 0 {
				t.Errorf("no %s: the test shows nothing", outcome)
			}
		}
		if n := metric(t, l.admin, `lintel_panics_total`); n != 0 {
			t.Errorf("%v panics", n)
		}
	}
}
