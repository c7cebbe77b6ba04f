package ratelimit

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func mustBuildConcurrency(t testing.TB, c Concurrency, e *filter.Env) *concurrency {
	t.Helper()
	f, err := ConcurrencyKind().Build(&c, e)
	if err != nil {
		t.Fatal(err)
	}
	return f.(*concurrency)
}

func TestNoMoreThanSoManyAreInProgress(t *testing.T) {
	f := mustBuildConcurrency(t, Concurrency{InFlight: 3}, env(store.NewSet(), "r"))
	var now, most, refused atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 300 {
				x := from("192.0.2.1")
				if f.OnRequest(x).Fault() == nil {
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					now.Add(-1)
				} else {
					refused.Add(1)
				}
				f.Done(x)
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d were in progress at once", most.Load())
	}
	if n := f.counts.Keys(); n != 0 {
		t.Errorf("%d keys are held when nothing is in progress", n)
	}
}

func TestAPlaceIsGivenBackOnce(t *testing.T) {
	f := mustBuildConcurrency(t, Concurrency{InFlight: 1, Status: 503, RetryAfter: 2 * time.Second}, env(store.NewSet(), "r"))
	first, second, other := from("192.0.2.1"), from("192.0.2.1"), from("192.0.2.2")
	if f.OnRequest(first).Fault() != nil || f.OnRequest(other).Fault() != nil {
		t.Fatal("the first of a client was refused")
	}
	fault := f.OnRequest(second).Fault()
	if fault == nil || fault.Status != 503 || fault.Code != "too-many-in-flight" || fault.RetryAfter != 2*time.Second {
		t.Fatalf("the second: %+v", fault)
	}
	f.Done(second) // had none
	if f.OnRequest(from("192.0.2.1")).Fault() == nil {
		t.Error("who was refused gave back a place")
	}
	f.Done(first)
	f.Done(first)
	third, fourth := from("192.0.2.1"), from("192.0.2.1")
	if f.OnRequest(third).Fault() != nil {
		t.Error("a place given back is not free")
	}
	if f.OnRequest(fourth).Fault() == nil {
		t.Error("a place was given back twice")
	}
}

func TestALowerNumberCountsWhatIsInProgress(t *testing.T) {
	set := store.NewSet()
	f := mustBuildConcurrency(t, Concurrency{InFlight: 5}, env(set, "r"))
	for range 3 {
		f.OnRequest(from("192.0.2.1"))
	}
	g := mustBuildConcurrency(t, Concurrency{InFlight: 3}, env(set, "r"))
	if g.OnRequest(from("192.0.2.1")).Fault() == nil {
		t.Error("a reload forgot what is in progress")
	}
}

func TestConcurrencyExplainsItselfAndTakesNothing(t *testing.T) {
	f := mustBuildConcurrency(t, Concurrency{InFlight: 1, Key: []string{"consumer", "route"}}, env(store.NewSet(), "r"))
	x := from("192.0.2.1")
	x.Shadow = true
	f.OnRequest(x)
	if f.counts.Keys() != 0 {
		t.Error("explain took a place")
	}
	if got, want := f.Explain(), "1 requests in progress, by consumer+route; else 429"; got != want {
		t.Errorf("explains %q, want %q", got, want)
	}
}

func TestWrongConcurrencyIsRefusedAtItsKey(t *testing.T) {
	for want, c := range map[string]Concurrency{
		"in_flight": {}, "key[0]": {InFlight: 1, Key: []string{"cookie"}}, "name": {InFlight: 1, Name: "a b"},
	} {
		if _, err := ConcurrencyKind().Build(&c, env(store.NewSet(), "r")); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}

func BenchmarkConcurrency(b *testing.B) {
	f := mustBuildConcurrency(b, Concurrency{InFlight: 1000}, env(store.NewSet(), "r"))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := from("192.0.2.1")
		for pb.Next() {
			f.OnRequest(x)
			f.Done(x)
		}
	})
}

func ExampleConcurrency() {
	f, err := ConcurrencyKind().Build(&Concurrency{InFlight: 20, Key: []string{"consumer"}}, &filter.Env{Store: store.NewSet().Lease(), Route: "orders"})
	fmt.Println(f.(filter.Explainer).Explain(), err)
	// Output: 20 requests in progress, by consumer; else 429 <nil>
}
