package ratelimit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/proxy/store/redistest"
)

// instance is a process of its own, as far as limits go.
func instance(t testing.TB, addr string, up bool) (*filter.Env, *store.Redis) {
	t.Helper()
	r, err := store.NewRedis(store.RedisConfig{Name: "default", Mode: "single", Addresses: []string{addr}, Timeout: 2 * time.Second, Prefix: "lintel:"})
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	t.Cleanup(func() { _ = r.Close() })
	await(t, r, up)
	e := env(store.NewSet(), "r")
	e.Redis = func(name string) (*store.Redis, error) {
		if name != "default" {
			return nil, errors.New("no such connection")
		}
		return r, nil
	}
	return e, r
}

func await(t testing.TB, r *store.Redis, up bool) {
	t.Helper()
	redistest.WaitFor(t, "the connection", func() error {
		if s := r.Status(); s.Up != up {
			return errors.New(s.Err)
		}
		return nil
	})
}

func count(f *limiter, n int) (passed int) {
	for range n {
		if fault, _ := run(f, from("192.0.2.1")); fault == nil {
			passed++
		}
	}
	return passed
}

func TestTwoInstancesCountTogether(t *testing.T) {
	server := redistest.Start(t)
	for _, algorithm := range []string{"gcra", "sliding_window", "fixed_window"} {
		c := Config{Algorithm: algorithm, Store: "redis", OnStoreError: "closed", Lease: 1,
			Limits: []Window{{Requests: 20, Window: 48 * time.Hour}, {Requests: 100, Window: 96 * time.Hour}}}
		e1, _ := instance(t, server.Addr(), true)
		e2, _ := instance(t, server.Addr(), true)
		f, g := mustBuild(t, c, e1), mustBuild(t, c, e2)
		if n := count(f, 12) + count(g, 12); n != 20 {
			t.Errorf("%s: %d let through, want 20", algorithm, n)
		}
		fault, h := run(f, from("192.0.2.1"))
		if fault == nil || fault.Status != 429 || fault.RetryAfter <= 0 || !strings.Contains(h.Get("RateLimit"), "r=0;") || !strings.Contains(h.Get("RateLimit"), "r=80;") {
			t.Errorf("%s: %+v, told %q: want a refusal by the first limit, and 80 left of the other", algorithm, fault, h.Get("RateLimit"))
		}
	}
}

func TestOtherSettingsAreOtherCounts(t *testing.T) {
	server := redistest.Start(t)
	e, _ := instance(t, server.Addr(), true)
	for _, c := range []Config{{Requests: 2}, {Requests: 3}, {Requests: 2, Name: "n"}, {Requests: 2, Key: []string{"route"}}} {
		c.Window, c.Store, c.OnStoreError = 24*time.Hour, "redis", "closed"
		if n := count(mustBuild(t, c, e), 10); n != c.Requests {
			t.Errorf("%+v: %d let through", c, n)
		}
	}
}

// What on_store_error says is what happens: before Redis was ever there, and
// after; and Redis counts again once it is back.
func TestWithoutRedisOnStoreErrorDecides(t *testing.T) {
	for how, want := range map[string]int{"local": 5, "open": 20, "closed": 0} {
		t.Run(how, func(t *testing.T) {
			server := redistest.Start(t)
			server.Stop()
			e, r := instance(t, server.Addr(), false)
			var mu sync.Mutex
			var log bytes.Buffer
			e.Log = slog.New(slog.NewTextHandler(locked{&mu, &log}, nil))
			f := mustBuild(t, Config{Requests: 5, Window: 24 * time.Hour, Store: "redis", OnStoreError: how, Name: "n"}, e)
			if n := count(f, 20); n != want {
				t.Errorf("%d let through without Redis, want %d", n, want)
			}
			fault, h := run(f, from("192.0.2.1"))
			switch how {
			case "local":
				if fault == nil || fault.Code != "rate-limited" || !strings.HasPrefix(h.Get("RateLimit"), `"n";r=0;`) {
					t.Errorf("%+v, told %q", fault, h.Get("RateLimit"))
				}
			case "open":
				if fault != nil || h.Get("RateLimit") != "" {
					t.Errorf("%+v, told %q, though nothing is known", fault, h.Get("RateLimit"))
				}
			case "closed":
				if fault == nil || fault.Status != 503 || fault.Code != "limit-unknown" || fault.RetryAfter <= 0 || strings.Contains(fault.Detail, server.Addr()) {
					t.Errorf("%+v", fault)
				}
			}
			if n := r.Status().Missed[how]; n != 21 {
				t.Errorf("%d decisions are counted, want 21", n)
			}
			mu.Lock()
			if n := strings.Count(log.String(), "on_store_error="+how); n != 1 {
				t.Errorf("the log says it %d times, want once: %s", n, log.String())
			}
			mu.Unlock()

			server.Restart()
			await(t, r, true)
			if n := count(f, 20); n != 5 {
				t.Errorf("%d let through with Redis back, want 5", n)
			}
			server.Stop()
			await(t, r, false)
			server.Restart()
			await(t, r, true)
			if fault, _ := run(f, from("192.0.2.3")); fault != nil {
				t.Errorf("after two outages: %+v", fault)
			}
		})
	}
}

type locked struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// A Redis that hangs in the middle of it all: every request is decided, within
// the timeout.
func TestAStalledRedisHoldsNobodyUp(t *testing.T) {
	server := redistest.Start(t)
	wire := redistest.NewWire(t, server.Addr())
	r, err := store.NewRedis(store.RedisConfig{Name: "default", Mode: "single", Addresses: []string{wire.Addr()}, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	t.Cleanup(func() { _ = r.Close() })
	await(t, r, true)
	e := env(store.NewSet(), "r")
	e.Redis = func(string) (*store.Redis, error) { return r, nil }
	f := mustBuild(t, Config{Requests: 1000, Window: 24 * time.Hour, Key: []string{"header:k"}, Store: "redis", OnStoreError: "local"}, e)
	wire.Hold()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			x := from("192.0.2.1")
			x.Request.Header.Add("k", string(rune('a'+i%20)))
			began := time.Now()
			if fault, _ := run(f, x); fault != nil {
				t.Errorf("%+v", fault)
			}
			if took := time.Since(began); took > 8*time.Second { // one by one it would be 10 s
				t.Errorf("it took %v", took)
			}
		})
	}
	wg.Wait()
	if r.Status().Missed["local"] == 0 {
		t.Error("nobody was decided without Redis: nothing is shown")
	}
	wire.Release()
	await(t, r, true)
	if fault, _ := run(f, from("192.0.2.9")); fault != nil {
		t.Errorf("after the stall: %+v", fault)
	}
}

func TestAClientThatLeavesIsNotCountedAsAnOutage(t *testing.T) {
	server := redistest.Start(t)
	e, r := instance(t, server.Addr(), true)
	f := mustBuild(t, Config{Requests: 5, Window: 24 * time.Hour, Store: "redis", OnStoreError: "closed"}, e)
	x := from("192.0.2.1")
	ctx, cancel := context.WithCancel(t.Context())
	x.Begin(ctx)
	cancel()
	if fault := f.OnRequest(x).Fault(); fault != nil && fault.Code != "client-gone" {
		t.Errorf("%+v", fault)
	}
	f.Done(x)
	if len(r.Status().Missed) > 0 {
		t.Errorf("%v", r.Status().Missed)
	}
}

// What may block goes through Await, and explain asks nobody.
func TestRedisIsAskedInAwaitOnly(t *testing.T) {
	server := redistest.Start(t)
	e, r := instance(t, server.Addr(), true)
	f := mustBuild(t, Config{Requests: 5, Window: 24 * time.Hour, Store: "redis", OnStoreError: "closed"}, e)
	shadow := from("192.0.2.1")
	shadow.Shadow = true
	if f.OnRequest(shadow).Fault() != nil || r.Status().Commands != 0 {
		t.Error("explain asked Redis")
	}
	awaited := 0
	x := from("192.0.2.1")
	x.Waiter = func(ctx context.Context, wait func(context.Context) error) error {
		awaited++
		return wait(ctx)
	}
	if fault, _ := run(f, x); fault != nil || awaited != 1 {
		t.Errorf("%+v, %d waits", fault, awaited)
	}
	if got, want := f.Explain(), "5 requests per 24h, burst 5, by address; counted in redis default, closed when it cannot be asked"; got != want {
		t.Errorf("explains %q\nwant %q", got, want)
	}
	x = from("192.0.2.1") // an engine that gives up
	x.Waiter = func(context.Context, func(context.Context) error) error { return errors.New("given up") }
	if fault := f.OnRequest(x).Fault(); fault == nil || fault.Status != 503 {
		t.Errorf("%+v", fault)
	}
}

func TestAnUnknownConnectionIsRefusedAtItsKey(t *testing.T) {
	server := redistest.Start(t)
	e, _ := instance(t, server.Addr(), true)
	for want, c := range map[string]Config{
		"redis: no such":  {Requests: 1, Store: "redis", Redis: "other", OnStoreError: "local"},
		"lease: found 11": {Requests: 100, Burst: 10, Store: "redis", OnStoreError: "local", Lease: 11},
	} {
		if _, err := Kind().Build(&c, e); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func BenchmarkRedis(b *testing.B) {
	server := redistest.Start(b)
	for _, lease := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("lease", lease), func(b *testing.B) {
			e, _ := instance(b, server.Addr(), true)
			f := mustBuild(b, Config{Requests: 1e6, Window: time.Second, Store: "redis", OnStoreError: "closed", Lease: lease}, e)
			x := from("192.0.2.1")
			x.Response.Header.Recycle()
			b.ReportAllocs()
			for b.Loop() {
				x.Response.Header.Reset()
				f.OnRequest(x)
				f.OnResponse(x)
				f.Done(x)
			}
		})
	}
}
