//go:build !race

package ratelimit

import (
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store"
)

func TestAddressKeysAllocateNothing(t *testing.T) {
	f := mustBuild(t, Config{Requests: 1_000_000, Window: time.Second}, env(store.NewSet(), "r"))
	for _, ip := range []string{"192.0.2.1", "2001:db8::1"} {
		x := from(ip)
		x.Response.Header.Recycle() // as engines do
		both := func() {
			x.Response.Header.Reset()
			if !passes(f, x) {
				t.Fatal("refused")
			}
			f.OnResponse(x)
			f.Done(x)
		}
		both()
		if n := testing.AllocsPerRun(1000, both); n != 0 {
			t.Errorf("%s: %v allocations to count and to tell, want 0", ip, n)
		}
		if !strings.HasPrefix(x.Response.Header.Get("RateLimit"), `"1000000-per-1s-by-address";r=99`) {
			t.Errorf("told %q", x.Response.Header.Get("RateLimit"))
		}
	}
}

func TestSeveralWindowsAllocateNothing(t *testing.T) {
	for _, algorithm := range []string{"gcra", "sliding_window", "fixed_window"} {
		f := mustBuild(t, Config{Algorithm: algorithm, MethodCost: map[string]int{"POST": 2}, Legacy: "epoch", Limits: []Window{
			{Requests: 1_000_000, Window: time.Minute}, {Requests: 10_000_000, Window: time.Hour}}}, env(store.NewSet(), "r"))
		x := from("192.0.2.1")
		x.Response.Header.Recycle() // as engines do
		one := func() {
			x.Response.Header.Reset()
			if f.OnRequest(x).Fault() != nil {
				t.Fatal("refused")
			}
			f.OnResponse(x)
			f.Done(x)
		}
		one()
		if n := testing.AllocsPerRun(1000, one); n != 0 {
			t.Errorf("%s: %v allocations to count and to tell, want 0", algorithm, n)
		}
	}
}

func TestConcurrencyAllocatesNothing(t *testing.T) {
	f := mustBuildConcurrency(t, Concurrency{InFlight: 3}, env(store.NewSet(), "r"))
	x := from("192.0.2.1")
	one := func() {
		if f.OnRequest(x).Fault() != nil {
			t.Fatal("refused")
		}
		f.Done(x)
	}
	one()
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
