package ops_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store/redistest"
	"lintel.dev/lintel/test/kit"
)

// limited is a running ingress with a limit in Redis.
type limited struct{ edge, admin string }

func startLimited(t testing.TB, redis, filter string) limited {
	t.Helper()
	l := limited{kit.FreeAddr(t), kit.FreeAddr(t)}
	file := kit.File(t, "ingress.yaml", fmt.Sprintf(`
version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
redis: {default: {%s}}
routes:
  - {name: r, match: {path: /*}, filters: [{rate_limit: {%s}}], respond: {body: served}}
`, l.edge, l.admin, redis, filter))
	kit.Start(t, nil, "ingress", "-c", file).Ready(l.admin)
	return l
}

// redisUp waits until an ingress finds its Redis answering, or not.
func (l limited) redisUp(t testing.TB, up bool) {
	t.Helper()
	kit.Eventually(t, time.Minute, fmt.Sprintf("redis is up: %t", up), func() error {
		r := mustReady(t, l.admin)
		if got := r.detail("redis default"); strings.HasPrefix(got, fmt.Sprintf("ok=%t ", up)) && r.Code == http.StatusOK {
			return nil
		} else {
			return errors.New(got)
		}
	})
}

func (l limited) get(client *http.Client, key string) (int, string, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+l.edge+"/", nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("X-Key", key)
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// Two processes, one limit: through a single Redis and through a cluster, with
// exact leases and with larger ones.
func TestTwoIngressesShareALimitThroughRedis(t *testing.T) {
	for _, kind := range []string{"single", "cluster"} {
		t.Run(kind, func(t *testing.T) {
			nodes := 1
			var servers []*redistest.Server
			if kind == "cluster" {
				nodes = 3
				servers = redistest.Cluster(t, nodes)
			} else {
				servers = []*redistest.Server{redistest.Start(t)}
			}
			var addrs []string
			for _, s := range servers {
				addrs = append(addrs, fmt.Sprintf("%q", s.Addr()))
			}
			redis := fmt.Sprintf("mode: %s, addresses: [%s], timeout: 5s", kind, strings.Join(addrs, ", "))
			for _, lease := range []int{1, 10} {
				const limit, keys = 100, 6
				filter := fmt.Sprintf("name: l%d, requests: %d, window: 240h, algorithm: fixed_window, key: [header:X-Key], store: redis, on_store_error: closed, lease: %d", lease, limit, lease)
				both := []limited{startLimited(t, redis, filter), startLimited(t, redis, filter)}
				for _, l := range both {
					l.redisUp(t, true)
				}
				var served [keys]atomic.Int64
				var wg sync.WaitGroup
				for worker := range 4 {
					wg.Go(func() {
						tr := &http.Transport{}
						defer tr.CloseIdleConnections()
						client := &http.Client{Transport: tr, Timeout: time.Minute}
						for i := range keys * limit {
							status, body, err := both[worker%2].get(client, fmt.Sprint("key", i%keys))
							switch {
							case err == nil && status == http.StatusOK:
								served[i%keys].Add(1)
							case err != nil || status != http.StatusTooManyRequests:
								t.Errorf("%d %s %v", status, body, err)
								return
							}
						}
					})
				}
				wg.Wait()
				for i := range served {
					// No time passes in a window of ten days: what is lost with
					// leases that end is all that may be missing.
					if n := served[i].Load(); n > limit || lease == 1 && n != limit || n < limit/2 {
						t.Errorf("lease %d: key %d: %d served by both, want %d", lease, i, n, limit)
					}
				}
			}
			if nodes > 1 {
				for i, s := range servers {
					if s.Do("DBSIZE") == "0" {
						t.Errorf("node %d holds no key: the test shows no cluster", i)
					}
				}
			}
		})
	}
}

// Redis is killed, started and frozen under load: all that clients ever see is
// what the limit says.
func TestRedisComesAndGoesUnderLoad(t *testing.T) {
	server := redistest.Start(t)
	redis := fmt.Sprintf("addresses: [%q]", server.Addr())
	filter := "limits: [{requests: 20, window: 1s}, {requests: 600, window: 1m}], key: [header:X-Key], store: redis, on_store_error: local"
	both := []limited{startLimited(t, redis, filter), startLimited(t, redis, filter)}
	for _, l := range both {
		l.redisUp(t, true)
	}
	var served, refused atomic.Int64
	var slowest atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			tr := &http.Transport{DisableKeepAlives: worker%4 == 3}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr, Timeout: time.Minute}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				began := time.Now()
				// Many keys that are asked for now and then, and a hot one.
				key := "hot"
				if i%2 == 0 {
					key = fmt.Sprint(worker, "-", i%50)
				}
				status, body, err := both[worker%2].get(client, key)
				if took := int64(time.Since(began)); took > slowest.Load() {
					slowest.Store(took)
				}
				switch {
				case err == nil && status == http.StatusOK:
					served.Add(1)
				case err == nil && status == http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Errorf("%s: %d %s %v", time.Now().Format("15:04:05.000"), status, body, err)
				}
			}
		})
	}
	more := func(n int64) { // requests, however long that takes
		t.Helper()
		from := served.Load() + refused.Load()
		kit.Eventually(t, time.Minute, "some load", func() error {
			if got := served.Load() + refused.Load() - from; got < n {
				return fmt.Errorf("%d of %d requests", got, n)
			}
			return nil
		})
	}
	each := func(up bool) {
		t.Helper()
		for _, l := range both {
			l.redisUp(t, up)
		}
	}
	more(300)
	for range 3 {
		server.Stop()
		each(false)
		more(300)
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
	t.Logf("%d served, %d refused, the slowest in %v", served.Load(), refused.Load(), time.Duration(slowest.Load()))
	if served.Load() == 0 || refused.Load() == 0 {
		t.Error("either nothing was served or nothing refused: the test shows nothing")
	}
	for _, l := range both {
		if n := metric(t, l.admin, `lintel_rate_limit_without_redis_total{decided="local",name="default"}`); n == 0 {
			t.Error("nothing was decided without Redis")
		}
		if n := metric(t, l.admin, `lintel_redis_commands_total{name="default"}`); n == 0 {
			t.Error("nothing was decided by Redis")
		}
		if n := metric(t, l.admin, `lintel_panics_total`); n != 0 {
			t.Errorf("%v panics", n)
		}
	}
}

// Lintel starts without its Redis, says so, and finds it when it comes.
func TestIngressStartsWithoutItsRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	l := startLimited(t, fmt.Sprintf("addresses: [%q]", server.Addr()), "requests: 3, window: 240h, store: redis, on_store_error: local, lease: 1")
	l.redisUp(t, false)
	count := func() (served int) {
		for range 6 {
			if status, _, err := l.get(http.DefaultClient, ""); err == nil && status == http.StatusOK {
				served++
			}
		}
		return served
	}
	if n := count(); n != 3 {
		t.Errorf("%d served without Redis, want the limit of 3", n)
	}
	server.Restart()
	l.redisUp(t, true)
	if n := count(); n != 3 {
		t.Errorf("%d served with Redis, want 3", n)
	}
}
