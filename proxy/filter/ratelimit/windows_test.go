package ratelimit

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// run is one exchange: request, answer, end.
func run(f *limiter, x *exchange.Exchange) (*exchange.Fault, *exchange.Fields) {
	fault := f.OnRequest(x).Fault()
	f.OnResponse(x)
	h := x.Response.Header
	f.Done(x)
	return fault, &h
}

func TestEveryWindowIsToldAndTheTightestRefuses(t *testing.T) {
	f := mustBuild(t, Config{Name: "api", Algorithm: "fixed_window", Legacy: "seconds",
		Limits: []Window{{Requests: 2, Window: 24 * time.Hour}, {Requests: 100, Window: 48 * time.Hour}}}, env(store.NewSet(), "r"))
	for i, left := range []string{"1", "0", "0"} {
		fault, h := run(f, from("192.0.2.1"))
		if (fault != nil) != (i == 2) {
			t.Fatalf("request %d: %v", i, fault)
		}
		if got, want := h.Joined("RateLimit-Policy"), `"api-24h";q=2;w=86400, "api-48h";q=100;w=172800`; got != want {
			t.Errorf("RateLimit-Policy: %s\nwant %s", got, want)
		}
		got := h.Joined("RateLimit")
		more := strconv.Itoa(99 - min(i, 1))
		if !strings.HasPrefix(got, `"api-24h";r=`+left+`;t=`) || !strings.Contains(got, `, "api-48h";r=`+more+`;t=`) {
			t.Errorf("request %d: RateLimit: %s", i, got)
		}
		if h.Get("X-RateLimit-Limit") != "2" || h.Get("X-RateLimit-Remaining") != left {
			t.Errorf("request %d: of old: %q of %q", i, h.Get("X-RateLimit-Remaining"), h.Get("X-RateLimit-Limit"))
		}
		if fault != nil {
			reset, _ := strconv.Atoi(h.Get("X-RateLimit-Reset"))
			if wait := time.Duration(reset) * time.Second; wait <= 0 || fault.RetryAfter-wait > time.Second || wait-fault.RetryAfter > time.Second {
				t.Errorf("Retry-After %v, X-RateLimit-Reset %v", fault.RetryAfter, wait)
			}
			if !strings.HasPrefix(fault.Detail, "more than 2 requests per 24h") {
				t.Errorf("told %q", fault.Detail)
			}
		}
	}
}

func TestResetCanBeATimeOfDay(t *testing.T) {
	f := mustBuild(t, Config{Requests: 1, Window: time.Hour, Legacy: "epoch"}, env(store.NewSet(), "r"))
	before := time.Now().Unix()
	_, h := run(f, from("192.0.2.1"))
	reset, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || reset < before+3600 || reset > time.Now().Unix()+3600 {
		t.Errorf("X-RateLimit-Reset: %q", h.Get("X-RateLimit-Reset"))
	}
}

// However many ask at once: each Remaining is told once, and 429 comes with 0.
func TestHeadersAreRightUnderConcurrency(t *testing.T) {
	f := mustBuild(t, Config{Name: "n", Requests: 200, Window: time.Hour, Algorithm: "sliding_window"}, env(store.NewSet(), "r"))
	var mu sync.Mutex
	seen := map[string]int{}
	var refused atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				fault, h := run(f, from("192.0.2.1"))
				left, _, _ := strings.Cut(strings.TrimPrefix(h.Get("RateLimit"), `"n";r=`), ";")
				if fault != nil {
					refused.Add(1)
					if left != "0" || fault.RetryAfter <= 0 {
						t.Errorf("refused with %s left, retry after %v", left, fault.RetryAfter)
					}
					continue
				}
				mu.Lock()
				seen[left]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 200 || refused.Load() != 200 {
		t.Errorf("%d different numbers left, %d refused: want 200 each", len(seen), refused.Load())
	}
	for left, n := range seen {
		if n != 1 {
			t.Errorf("%s left was told %d times", left, n)
		}
	}
}

func TestRequestsCostWhatTheirMethodCosts(t *testing.T) {
	f := mustBuild(t, Config{Requests: 10, Window: time.Hour, Cost: 2, MethodCost: map[string]int{"POST": 5}}, env(store.NewSet(), "r"))
	ask := func(method string) bool {
		x := from("192.0.2.1")
		x.Request.Method = method
		fault, _ := run(f, x)
		return fault == nil
	}
	for i, c := range []struct {
		method string
		passes bool
	}{{"POST", true}, {"GET", true}, {"POST", false}, {"GET", true}, {"GET", false}} {
		if got := ask(c.method); got != c.passes {
			t.Errorf("%d: %s passes: %v", i, c.method, got)
		}
	}
}

func TestConsumersCanHaveLimitsOfTheirOwn(t *testing.T) {
	e := env(store.NewSet(), "r")
	e.Consumers = []filter.Consumer{{Name: "big"}, {Name: "gold", Tags: map[string]string{"plan": "gold"}},
		{Name: "free", Tags: map[string]string{"plan": "free"}}, {Name: "own", Tags: map[string]string{"plan": "gold"}}}
	f := mustBuild(t, Config{Requests: 1, Window: time.Hour, Key: []string{"consumer"}, Overrides: &Overrides{
		Consumers: map[string]Override{"big": {Unlimited: true}, "own": {Requests: 2}},
		Tags:      map[string]Override{"plan=gold": {Limits: []Window{{Requests: 3, Window: time.Minute * 10}, {Requests: 50, Window: time.Hour}}}},
	}}, e)
	for consumer, want := range map[string]int{"": 1, "free": 1, "gold": 3, "own": 2, "big": 100} {
		n := 0
		for n < 100 {
			x := from("192.0.2.1")
			x.Consumer = consumer
			if fault, _ := run(f, x); fault != nil {
				break
			}
			n++
		}
		if n != want {
			t.Errorf("%q: %d let through, want %d", consumer, n, want)
		}
	}
}

func TestKeysOfPeersAndPathParameters(t *testing.T) {
	peer := func(id string) *exchange.Exchange {
		x := from("192.0.2.1")
		x.Peer.ID = id
		return x
	}
	param := func(v string) *exchange.Exchange {
		x := from("192.0.2.1")
		x.Params = []exchange.Param{{Name: "id", Value: v}}
		return x
	}
	for key, pair := range map[string][2]*exchange.Exchange{
		"peer": {peer("spiffe://a/1"), peer("spiffe://a/2")}, "path_param:id": {param("1"), param("2")},
	} {
		f := mustBuild(t, Config{Requests: 1, Window: time.Hour, Key: []string{key}}, env(store.NewSet(), "r"))
		if !passes(f, pair[0]) || !passes(f, pair[1]) || passes(f, pair[0]) || !passes(f, from("192.0.2.1")) {
			t.Errorf("%s: two are not counted apart, or one is not counted", key)
		}
	}
}

func TestWrongWindowsAreRefusedAtTheirKey(t *testing.T) {
	e := func() *filter.Env {
		e := env(store.NewSet(), "r")
		e.Consumers = []filter.Consumer{{Name: "c", Tags: map[string]string{"a": "1", "b": "2"}}}
		return e
	}
	minute, hour := Window{Requests: 5, Window: time.Minute}, Window{Requests: 50, Window: time.Hour}
	for want, c := range map[string]Config{
		"requests: found both":                  {Requests: 1, Limits: []Window{minute}},
		"burst: found 3 beside":                 {Burst: 3, Limits: []Window{minute}},
		"limits[1].window: found 1m twice":      {Limits: []Window{minute, minute}},
		"limits[0].window: found 0s":            {Limits: []Window{{Requests: 1}}},
		"limits: found 7":                       {Limits: []Window{hour, minute, hour, hour, hour, hour, hour}},
		"limits[1].requests: a request may":     {Limits: []Window{hour, minute}, Cost: 6},
		"requests: a request may cost 9":        {Requests: 100, Burst: 8, MethodCost: map[string]int{"POST": 9}},
		"burst: found 2, but only":              {Requests: 5, Burst: 2, Algorithm: "sliding_window"},
		"method_cost: found \"post\"":           {Requests: 5, MethodCost: map[string]int{"post": 2}},
		"on_store_error: missing: say":          {Requests: 5, Store: "redis"},
		"on_store_error: found \"open\"":        {Requests: 5, OnStoreError: "open"},
		"lease: found 5, but":                   {Requests: 5, Lease: 5},
		"store: found redis":                    {Requests: 5, Store: "redis", OnStoreError: "local"},
		"overrides.consumers.d: no consumer":    {Requests: 5, Overrides: &Overrides{Consumers: map[string]Override{"d": {Requests: 1}}}},
		"overrides.tags.gold: found":            {Requests: 5, Overrides: &Overrides{Tags: map[string]Override{"gold": {Requests: 1}}}},
		"overrides.tags.b=2: consumer c has":    {Requests: 5, Overrides: &Overrides{Tags: map[string]Override{"a=1": {Requests: 1}, "b=2": {Requests: 1}}}},
		"overrides.tags.a=1.requests: found ne": {Requests: 5, Overrides: &Overrides{Tags: map[string]Override{"a=1": {}}}},
		"overrides.consumers.c: found unlim":    {Requests: 5, Overrides: &Overrides{Consumers: map[string]Override{"c": {Requests: 1, Unlimited: true}}}},
	} {
		_, err := Kind().Build(&c, e())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v\nwant %s…", err, want)
		}
	}
}

func BenchmarkThreeWindows(b *testing.B) {
	for _, algorithm := range []string{"gcra", "sliding_window", "fixed_window"} {
		b.Run(algorithm, func(b *testing.B) {
			f := mustBuild(b, Config{Algorithm: algorithm, Limits: []Window{{Requests: 1e6, Window: time.Second},
				{Requests: 5e7, Window: time.Minute}, {Requests: 1e9, Window: time.Hour}}}, env(store.NewSet(), "r"))
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
