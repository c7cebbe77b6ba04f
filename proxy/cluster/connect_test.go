package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// dials is a transport for opaque streams, whose answers are a function.
type dials struct {
	clustertest.Transport
	dial func(ctx context.Context, address string, n int) error
	n    int
}

type wire struct{ exchange.Wire }

func (d *dials) Dial(ctx context.Context, address string) (exchange.Wire, exchange.Peer, error) {
	d.n++
	if err := d.dial(ctx, address, d.n); err != nil {
		return nil, exchange.Peer{}, err
	}
	return wire{}, exchange.Peer{ID: "spiffe://test/" + address}, nil
}

func newDials(t *testing.T, cfg Config, dial func(ctx context.Context, address string, n int) error, addresses ...string) (*Cluster, *dials) {
	d := &dials{dial: dial}
	cfg.Protocol = "tcp"
	var c *Cluster
	t.Cleanup(func() { _ = c.Close() }) // after what newTest looks at
	c = newTest(t, d, cfg, addresses...)
	return c, d
}

func TestConnecting(t *testing.T) {
	refused, broken := clustertest.Fault("connect-refused", true), clustertest.Fault("tls", false)
	for name, c := range map[string]struct {
		dial     func(n int) error
		o        Options
		all      []string
		fault    string
		attempts int
	}{
		"at once":              {func(int) error { return nil }, opts, []string{"a:1", "b:1"}, "", 1},
		"elsewhere":            {func(n int) error { return []error{refused, nil}[n-1] }, opts, []string{"a:1", "b:1"}, "", 2},
		"nowhere":              {func(int) error { return refused }, opts, []string{"a:1", "b:1", "c:1"}, "connect-refused", 3},
		"not worth a retry":    {func(int) error { return broken }, opts, []string{"a:1", "b:1"}, "tls", 1},
		"no retries":           {func(int) error { return refused }, Options{OnConnect: true}, []string{"a:1", "b:1"}, "connect-refused", 1},
		"not on connect":       {func(int) error { return refused }, Options{Attempts: 5}, []string{"a:1", "b:1"}, "connect-refused", 1},
		"no endpoint":          {func(int) error { return nil }, opts, nil, "no-endpoint", 0},
		"something else fails": {func(int) error { return errors.New("what") }, opts, []string{"a:1"}, "internal", 1},
	} {
		t.Run(name, func(t *testing.T) {
			asked := map[string]int{}
			cl, _ := newDials(t, Config{}, func(_ context.Context, address string, n int) error {
				asked[address]++
				return c.dial(n)
			}, c.all...)
			st := &exchange.Stream{}
			w, peer, over, fault := cl.Connect(t.Context(), st, &c.o)
			if code(fault) != c.fault || st.Attempts != c.attempts || (w == nil) != (fault != nil) {
				t.Fatalf("%v after %d attempts, want %q after %d", fault, st.Attempts, c.fault, c.attempts)
			}
			for a, n := range asked {
				if n > 1 {
					t.Errorf("%s was asked %d times", a, n)
				}
			}
			if fault != nil {
				return
			}
			if peer.ID != "spiffe://test/"+st.Endpoint || cl.Status().InFlight != 1 {
				t.Errorf("%+v %+v, %d in flight", peer, st, cl.Status().InFlight)
			}
			over()
		})
	}
	none := newTest(t, &clustertest.Transport{}, Config{}, "a:1") // its transport dials nothing
	if _, _, _, fault := none.Connect(t.Context(), &exchange.Stream{}, &opts); code(fault) != "internal" {
		t.Errorf("%v", fault)
	}
}

func TestConnectingTeachesBreakersAndOutliers(t *testing.T) {
	one := BreakerConfig{Enabled: true, Failures: 2, Open: time.Minute, Window: time.Minute, Trials: 1}
	each := one
	each.Per = "endpoint"
	bad := func(_ context.Context, address string, _ int) error {
		if address == "bad:1" {
			return clustertest.Fault("connect-refused", true)
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		cl, d := newDials(t, Config{Breaker: one}, bad, "bad:1")
		for range 5 {
			if _, _, _, fault := cl.Connect(t.Context(), &exchange.Stream{}, &Options{}); fault == nil {
				t.Fatal("it connects")
			}
		}
		if _, _, _, fault := cl.Connect(t.Context(), &exchange.Stream{}, &opts); code(fault) != "breaker-open" || d.n != 2 {
			t.Errorf("%v after %d", fault, d.n)
		}
		for name, cfg := range map[string]Config{"a breaker each": {Breaker: each}, "outlier": {Outlier: &Outlier{Consecutive: 2, Interval: time.Hour, Base: time.Hour, Longest: time.Hour, MaxEjected: 0.5}}} {
			cl, d := newDials(t, cfg, bad, "bad:1", "good:1")
			for range 40 {
				_, _, over, fault := cl.Connect(t.Context(), &exchange.Stream{}, &opts)
				if fault != nil {
					t.Fatalf("%s: %v", name, fault)
				}
				over()
				synctest.Wait()
			}
			if d.n != 42 {
				t.Errorf("%s: the bad one was asked %d times", name, d.n-40)
			}
		}
	})
}

// Whoever goes away meanwhile says nothing about the service.
func TestWhoStopsConnectingBlamesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, d := newDials(t, Config{Breaker: BreakerConfig{Enabled: true, Failures: 1, Open: time.Hour, Window: time.Hour, Trials: 1}},
			func(ctx context.Context, _ string, n int) error {
				if n > 1 {
					return nil
				}
				<-ctx.Done()
				return clustertest.Fault("connect-timeout", true)
			}, "a:1", "b:1")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, _, _, fault := cl.Connect(ctx, &exchange.Stream{}, &opts); fault == nil || d.n != 1 {
			t.Errorf("%v after %d", fault, d.n)
		}
		_, _, over, fault := cl.Connect(t.Context(), &exchange.Stream{}, &opts)
		if fault != nil {
			t.Fatalf("%v", fault)
		}
		over()
	})
}
