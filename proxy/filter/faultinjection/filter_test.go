package faultinjection

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func mustBuild(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := buildOne(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func buildOne(t testing.TB, c Config) (*Filter, error) {
	lease := store.NewSet().Lease()
	t.Cleanup(lease.Release)
	f, err := build(&c, &filter.Env{Store: lease, Route: "r", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return f.(*Filter), nil
}

// asks is a request whose waits are noted, not waited.
func asks(waited *time.Duration, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{ClientIP: netip.MustParseAddr("192.0.2.1")}
	x.Request.Method = "GET"
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
	}
	x.Waiter = func(ctx context.Context, wait func(context.Context) error) error {
		begun := time.Now()
		err := wait(ctx)
		*waited += time.Since(begun)
		return err
	}
	return x
}

func TestSharesAreExact(t *testing.T) {
	for _, share := range []float64{0, 0.01, 0.05, 0.1, 1.0 / 3, 0.5, 0.999, 1} {
		f := mustBuild(t, Config{Abort: &Abort{Status: 503, Share: share}})
		n := 0
		for range 1000 {
			var w time.Duration
			if f.OnRequest(asks(&w)).Fault() != nil {
				n++
			}
		}
		if math.Abs(float64(n)-1000*share) > 1 {
			t.Errorf("share %v: %d of 1000", share, n)
		}
	}
}

func TestADelayedRequestWaitsAndIsToldSo(t *testing.T) {
	f := mustBuild(t, Config{Delay: &Delay{Time: 20 * time.Millisecond, Share: 1}, Abort: &Abort{Status: 418, GRPC: 8, Share: 1}})
	var w time.Duration
	x := asks(&w)
	x.Request.Proto = "HTTP/2.0"
	x.Request.Header.Add("Content-Type", "application/grpc")
	fault := f.OnRequest(x).Fault()
	x.Fault = fault
	f.OnResponse(x)
	if fault == nil || fault.Status != 418 || fault.Code != "fault-injected" || w < 20*time.Millisecond ||
		x.Response.Header.Get(Told) != "delay=20ms, abort=418" || x.Response.Header.Get("Grpc-Status") != "8" {
		t.Errorf("%v after %v, %v", fault, w, x.Response.Header)
	}
	if f.counts.Delays.Load() != 1 || f.counts.Aborts.Load() != 1 || f.counts.active.Load() != 0 {
		t.Errorf("%d delays, %d aborts, %d active", f.counts.Delays.Load(), f.counts.Aborts.Load(), f.counts.active.Load())
	}
}

func TestAClientThatGoesEndsTheWait(t *testing.T) {
	f := mustBuild(t, Config{Delay: &Delay{Time: time.Minute, Share: 1}})
	var w time.Duration
	x := asks(&w)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("gone")
	x.Begin(ctx)
	cancel(cause)
	fault := f.OnRequest(x).Fault()
	x.RunDone()
	if fault == nil || fault.Source != exchange.FromClient || w > 10*time.Second || f.counts.active.Load() != 0 || f.counts.Delays.Load() != 0 {
		t.Errorf("%v after %v", fault, w)
	}
}

func TestNoMoreThanSoManyWaitAtOnce(t *testing.T) {
	f := mustBuild(t, Config{Delay: &Delay{Time: time.Minute, Share: 1}, MaxActive: 2})
	f.counts.active.Store(2)
	var w time.Duration
	x := asks(&w)
	if fault := f.OnRequest(x).Fault(); fault != nil || w > 10*time.Second || f.counts.active.Load() != 2 {
		t.Errorf("%v after %v, %d active", fault, w, f.counts.active.Load())
	}
	if f.OnResponse(x); x.Response.Header.Has(Told) {
		t.Error("it says that it was delayed")
	}
}

func TestOnlyWhoMayAskGetsWhatIsAsked(t *testing.T) {
	f := mustBuild(t, Config{Asked: &Asked{Addresses: []string{"10.0.0.0/8"}, Key: "a key of sixteen bytes", MaxDelay: 5 * time.Millisecond}})
	for name, c := range map[string]struct {
		from   string
		lines  []string
		status int
		told   string
	}{
		"from an address":       {"10.1.2.3", []string{"X-Fault-Abort: 418"}, 418, "abort=418"},
		"with the key":          {"192.0.2.1", []string{"x-fault-abort: 503", "X-Fault-Key: a key of sixteen bytes"}, 503, "abort=503"},
		"with another key":      {"192.0.2.1", []string{"X-Fault-Abort: 503", "X-Fault-Key: b key of sixteen bytes"}, 0, ""},
		"with two keys":         {"192.0.2.1", []string{"X-Fault-Abort: 503", "X-Fault-Key: a key of sixteen bytes", "X-Fault-Key: x"}, 0, ""},
		"with neither":          {"192.0.2.1", []string{"X-Fault-Abort: 503", "X-Fault-Delay: 1s"}, 0, ""},
		"a delay is cut":        {"10.0.0.1", []string{"X-Fault-Delay: 10h"}, 0, "delay=5ms"},
		"no status":             {"10.0.0.1", []string{"X-Fault-Abort: 200"}, 0, ""},
		"no number":             {"10.0.0.1", []string{"X-Fault-Abort: all", "X-Fault-Delay: -1s"}, 0, ""},
		"nothing":               {"10.0.0.1", nil, 0, ""},
		"by an invalid address": {"", []string{"X-Fault-Abort: 503"}, 0, ""},
	} {
		var w time.Duration
		x := asks(&w, c.lines...)
		x.ClientIP, _ = netip.ParseAddr(c.from)
		fault := f.OnRequest(x).Fault()
		f.OnResponse(x)
		status := 0
		if fault != nil {
			status = fault.Status
		}
		if status != c.status || x.Response.Header.Get(Told) != c.told {
			t.Errorf("%s: %d %q, want %d %q", name, status, x.Response.Header.Get(Told), c.status, c.told)
		}
		for _, n := range []string{AskDelay, AskAbort, AskKey} {
			if x.Request.Header.Has(n) {
				t.Errorf("%s: the service sees %s", name, n)
			}
		}
	}
}

func TestExplainTakesNoRequestsTurn(t *testing.T) {
	f := mustBuild(t, Config{Delay: &Delay{Time: time.Minute, Share: 1}, Abort: &Abort{Status: 503, Share: 0.5}})
	var w time.Duration
	x := asks(&w)
	x.Shadow = true
	if v := f.OnRequest(x); v.Fault() != nil || w > 0 || x.Unasked == "" || f.delays.n.Load() != 0 || f.aborts.n.Load() != 0 || f.counts.Delays.Load() != 0 {
		t.Errorf("%v %v %q", v.Fault(), w, x.Unasked)
	}
}

func TestWrongConfigIsRefusedAtItsKey(t *testing.T) {
	for key, c := range map[string]Config{
		"no fault":           {},
		"delay.time":         {Delay: &Delay{Time: 2 * time.Minute, Share: 1}},
		"methods[0]":         {Abort: &Abort{Status: 503, Share: 1}, Methods: []string{"get"}},
		"asked: nobody":      {Asked: &Asked{}},
		"asked.key":          {Asked: &Asked{Key: "short"}},
		"asked.addresses[1]": {Asked: &Asked{Addresses: []string{"10.0.0.0/8", "here"}}},
	} {
		if _, err := buildOne(t, c); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: got %v", key, err)
		}
	}
}

func TestARequestWhoseTurnItIsNotCostsNothing(t *testing.T) {
	f := mustBuild(t, Config{Delay: &Delay{Time: time.Second, Share: 1e-9}, Abort: &Abort{Status: 503, Share: 1e-9}, Asked: &Asked{Addresses: []string{"10.0.0.0/8"}}})
	var w time.Duration
	x := asks(&w)
	if n := testing.AllocsPerRun(100, func() { f.OnRequest(x) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNoTurn(b *testing.B) {
	f := mustBuild(b, Config{Abort: &Abort{Status: 503, Share: 1e-9}})
	var w time.Duration
	x := asks(&w)
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}
