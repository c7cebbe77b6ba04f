package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// farm is endpoints whose state a test sets.
type farm struct {
	mu     sync.Mutex
	down   map[string]string // address: how
	probes map[string]int
}

func newFarm() *farm { return &farm{down: map[string]string{}, probes: map[string]int{}} }

func (f *farm) set(address, how string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[address] = how
}

func (f *farm) probed(address string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.probes[address]
}

func (f *farm) transport() *clustertest.Transport {
	return &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
		f.mu.Lock()
		how := f.down[address]
		if x.ID == "probe" {
			f.probes[address]++
		}
		f.mu.Unlock()
		switch how {
		case "connect", "reset", "pool-full":
			return clustertest.Fault(how, how != "reset")
		case "500":
			clustertest.Respond(x, 500, "no")
		case "503":
			clustertest.Respond(x, 503, "no")
		case "hangs":
			<-x.Context().Done()
			return clustertest.Fault("timeout", false)
		case "client":
			return &exchange.Fault{Source: exchange.FromClient, Status: 400, Code: "body-incomplete"}
		case "self":
			return &exchange.Fault{Source: exchange.FromSelf, Status: 503, Code: "identity"}
		default:
			clustertest.Respond(x, 200, "ok")
		}
		return nil
	}}
}

func states(c *Cluster) map[string]string {
	out := map[string]string{}
	for _, e := range c.Status().Endpoints {
		out[e.Address] = e.State
	}
	return out
}

// send makes n requests without retries and counts the endpoints.
func send(c *Cluster, n int) map[string]int {
	count := map[string]int{}
	for range n {
		x := newExchange("GET", "")
		_ = c.Forward(x, &Options{})
		count[x.Endpoint]++
		over(x)
	}
	return count
}

var probing = Health{Kind: "http", Path: "/healthz", Status: []string{"2xx"}, Protocol: exchange.HTTP1,
	Interval: time.Second, Timeout: 300 * time.Millisecond, Healthy: 2, Unhealthy: 3}

func TestProbesTakeEndpointsOutAndBack(t *testing.T) {
	for _, how := range []string{"connect", "503", "hangs"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, h := newFarm(), probing
				c := newTest(t, f.transport(), Config{Health: &h, Panic: 0.5}, "a:1", "b:1", "c:1")
				defer func() { _ = c.Close() }()
				time.Sleep(5 * time.Second)
				if s := states(c); s["a:1"] != "healthy" || f.probed("a:1") < 4 || f.probed("a:1") > 7 {
					t.Fatalf("%v after %d probes in 5 s", s, f.probed("a:1"))
				}
				f.set("a:1", how)
				time.Sleep(1700 * time.Millisecond) // not three probes yet
				if s := states(c); s["a:1"] != "healthy" {
					t.Fatalf("out before three probes failed: %v", s)
				}
				time.Sleep(3 * time.Second)
				if s := states(c); s["a:1"] != "unhealthy" || s["b:1"] != "healthy" {
					t.Fatalf("%v", s)
				}
				if n := send(c, 300); n["a:1"] != 0 {
					t.Errorf("an unhealthy endpoint is used: %v", n)
				}
				if why := c.Status().Endpoints[0].Why; why == "" {
					t.Error("nobody says why")
				}
				f.set("a:1", "")
				time.Sleep(4 * time.Second)
				if n := send(c, 300); n["a:1"] == 0 {
					t.Errorf("a healthy endpoint is not used: %v %v", n, states(c))
				}
			})
		})
	}
}

func TestTheFirstProbeDecidesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, h := newFarm(), probing
		f.set("a:1", "connect")
		c := newTest(t, f.transport(), Config{Health: &h}, "a:1", "b:1")
		defer func() { _ = c.Close() }()
		time.Sleep(h.Interval / 5)
		if s := states(c); s["a:1"] != "unhealthy" || s["b:1"] != "healthy" {
			t.Errorf("%v", s)
		}
	})
}

// TestAFullPoolIsNoVerdict: an endpoint whose connections are all busy is not ill.
func TestAFullPoolIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, h := newFarm(), probing
		tr := f.transport()
		tr.Connect = func(ctx context.Context, address string) error {
			<-ctx.Done() // that is how a wait for a connection ends
			return clustertest.Fault("pool-full", true)
		}
		c := newTest(t, tr, Config{Health: &h}, "a:1")
		defer func() { _ = c.Close() }()
		time.Sleep(10 * time.Second)
		if s := states(c); s["a:1"] != "healthy" {
			t.Errorf("%v", s)
		}
	})
}

// TestProbesAreFewAtOnceAndEndWithTheCluster, and with the endpoint.
func TestProbesAreFewAtOnceAndEndWithTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most, all atomic.Int64
		tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
			all.Add(1)
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(50 * time.Millisecond)
			clustertest.Respond(x, 200, "ok")
			return nil
		}}
		h := probing
		c := newTest(t, tr, Config{Health: &h}, named(500)...)
		time.Sleep(3 * time.Second)
		if most.Load() > probesAtOnce || most.Load() < 10 {
			t.Errorf("%d probes at once", most.Load())
		}
		c.Replace([]Endpoint{{Address: "only:1"}})
		time.Sleep(time.Second)
		before := all.Load()
		time.Sleep(10 * time.Second)
		if n := all.Load() - before; n < 8 || n > 12 {
			t.Errorf("%d probes of one endpoint in 10 s", n)
		}
		_ = c.Close()
		time.Sleep(time.Second)
		before = all.Load()
		time.Sleep(10 * time.Second)
		if all.Load() != before {
			t.Error("probed after the end")
		}
	})
}

func TestPanicUsesAll(t *testing.T) {
	for _, c := range []struct {
		threshold float64
		down      int
		panics    bool
	}{{0.5, 2, false}, {0.5, 3, true}, {0.5, 4, true}, {0, 3, false}, {0, 4, false}, {0.8, 1, true}} {
		t.Run(fmt.Sprint(c.threshold, c.down), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, h := newFarm(), probing
				all := []string{"a:1", "b:1", "c:1", "d:1"}
				for _, a := range all[:c.down] {
					f.set(a, "connect")
				}
				cl := newTest(t, f.transport(), Config{Health: &h, Panic: c.threshold}, all...)
				defer func() { _ = cl.Close() }()
				time.Sleep(2 * time.Second)
				s := cl.Status()
				if s.Panic != c.panics {
					t.Errorf("panic is %v", s.Panic)
				}
				n := send(cl, 400)
				if used := n["a:1"] > 0; used != c.panics {
					t.Errorf("%v", n)
				}
				if c.down == 4 && c.threshold == 0 {
					x := newExchange("GET", "")
					if fault := cl.Forward(x, &Options{}); code(fault) != "no-endpoint" {
						t.Errorf("%v", fault)
					}
					over(x)
				}
				for _, a := range all {
					f.set(a, "")
				}
				time.Sleep(5 * time.Second)
				if cl.Status().Panic {
					t.Error("panic goes on")
				}
			})
		})
	}
}

var ejecting = Outlier{Consecutive: 5, Interval: 10 * time.Second, Base: 30 * time.Second, Longest: 75 * time.Second, MinRequests: 20, MaxEjected: 0.5}

func TestOutlierEjection(t *testing.T) {
	for _, c := range []struct {
		how     string
		change  func(*Outlier)
		ejected bool
	}{
		{"connect", nil, true}, {"reset", nil, true}, {"500", nil, true}, {"503", nil, true},
		{"client", nil, false}, {"self", nil, false}, {"pool-full", nil, false},
		{"500", func(o *Outlier) { o.Consecutive, o.Gateway = 0, 5 }, false},
		{"503", func(o *Outlier) { o.Consecutive, o.Gateway = 0, 5 }, true},
		{"connect", func(o *Outlier) { o.Consecutive = 0 }, false},
	} {
		t.Run(fmt.Sprint(c.how, c.change != nil), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, o := newFarm(), ejecting
				if c.change != nil {
					c.change(&o)
				}
				cl := newTest(t, f.transport(), Config{Outlier: &o, Panic: 0.5, Balance: "round_robin"}, "a:1", "b:1", "c:1")
				defer func() { _ = cl.Close() }()
				f.set("a:1", c.how)
				n := send(cl, 12) // four each
				synctest.Wait()
				if s := states(cl); s["a:1"] != "healthy" {
					t.Fatalf("%v after %v", s, n)
				}
				send(cl, 30)
				synctest.Wait()
				if got := states(cl)["a:1"] == "ejected"; got != c.ejected {
					t.Errorf("%v", states(cl))
				}
				if n := send(cl, 30); (n["a:1"] == 0) != c.ejected {
					t.Errorf("%v", n)
				}
			})
		})
	}
}

// TestACallersHurryEjectsNobody: its deadline is its own, and a stalled upload is
// its client's.
func TestACallersHurryEjectsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := newFarm(), ejecting
		f.set("a:1", "hangs")
		c := newTest(t, f.transport(), Config{Outlier: &o}, "a:1", "b:1")
		defer func() { _ = c.Close() }()
		for range 40 {
			x := newExchange("GET", "")
			x.Txn = &exchange.Txn{Deadline: time.Now().Add(50 * time.Millisecond), Retries: -1}
			_ = c.Forward(x, &Options{Timeout: time.Second})
			over(x)
			x = newExchange("GET", "")
			life := x.Life()
			time.AfterFunc(20*time.Millisecond, func() { life.Cancel(errors.New("gone")) })
			_ = c.Forward(x, &Options{})
			over(x)
		}
		synctest.Wait()
		if s := states(c); s["a:1"] != "healthy" {
			t.Errorf("%v", c.Status())
		}
		for range 40 { // the route's own timeout is the endpoint's failure
			x := newExchange("GET", "")
			_ = c.Forward(x, &Options{Timeout: 50 * time.Millisecond})
			over(x)
		}
		synctest.Wait()
		if s := states(c); s["a:1"] != "ejected" {
			t.Errorf("%v", c.Status())
		}
	})
}

func TestEjectionIsCappedAndGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := newFarm(), ejecting
		all := []string{"a:1", "b:1", "c:1", "d:1"}
		c := newTest(t, f.transport(), Config{Outlier: &o, Balance: "round_robin"}, all...)
		defer func() { _ = c.Close() }()
		for _, a := range all {
			f.set(a, "connect")
		}
		for range 60 {
			send(c, 1)
			synctest.Wait()
		}
		ejected := 0
		for _, s := range states(c) {
			if s == "ejected" {
				ejected++
			}
		}
		if ejected != 2 {
			t.Fatalf("%d of 4 ejected with max_ejected 0.5", ejected)
		}
		for _, a := range all[1:] {
			f.set(a, "")
		}
		time.Sleep(3 * time.Minute) // all forgiven
		f.set("a:1", "connect")
		var lengths []time.Duration
		for range 4 {
			for states(c)["a:1"] != "ejected" {
				send(c, 4)
				synctest.Wait()
			}
			from := time.Now()
			for states(c)["a:1"] == "ejected" {
				time.Sleep(100 * time.Millisecond)
			}
			lengths = append(lengths, time.Since(from).Round(time.Second))
		}
		// While an ejection lasts nothing is forgiven. The fourth is cut to the longest.
		if want := []time.Duration{30 * time.Second, 60 * time.Second, 75 * time.Second, 75 * time.Second}; !slices.Equal(lengths, want) {
			t.Errorf("ejections of %v, want %v", lengths, want)
		}
		if n := c.Status().Ejections; n < 6 {
			t.Errorf("%d ejections counted", n)
		}
		f.set("a:1", "")
		time.Sleep(3 * time.Minute)
		f.set("a:1", "connect")
		for states(c)["a:1"] != "ejected" {
			send(c, 4)
			synctest.Wait()
		}
		for _, e := range c.Status().Endpoints {
			if e.Until != nil && time.Until(*e.Until) > 31*time.Second {
				t.Errorf("not forgiven: %+v", e)
			}
		}
	})
}

func TestFailureRateEjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := ejecting
		o.Consecutive, o.FailureRate = 0, 0.3
		n := 0
		tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
			n++
			status := 200
			if address == "a:1" && n%2 == 0 || n%50 == 0 {
				status = 500
			}
			clustertest.Respond(x, status, "")
			return nil
		}}
		c := newTest(t, tr, Config{Outlier: &o}, "a:1", "b:1", "c:1")
		defer func() { _ = c.Close() }()
		send(c, 300)
		time.Sleep(o.Interval + time.Second)
		if s := states(c); s["a:1"] != "ejected" || s["b:1"] != "healthy" || s["c:1"] != "healthy" {
			t.Errorf("%+v", c.Status())
		}
	})
}

// TestTheOnlyEndpointIsNeverEjected unless that is asked for.
func TestTheOnlyEndpointIsNeverEjected(t *testing.T) {
	for _, most := range []float64{0.5, 1} {
		synctest.Test(t, func(t *testing.T) {
			f, o := newFarm(), ejecting
			o.MaxEjected = most
			f.set("a:1", "connect")
			c := newTest(t, f.transport(), Config{Outlier: &o}, "a:1")
			defer func() { _ = c.Close() }()
			send(c, 20)
			synctest.Wait()
			if got := states(c)["a:1"] == "ejected"; got != (most == 1) {
				t.Errorf("max_ejected %v: %v", most, states(c))
			}
		})
	}
}

func TestSlowStartEasesIn(t *testing.T) {
	for _, balance := range balances {
		t.Run(balance, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTest(t, newFarm().transport(), Config{Balance: balance, SlowStart: 30 * time.Second, Hash: []HashKey{{From: "consumer"}}}, "a:1", "b:1")
				defer func() { _ = c.Close() }()
				if s := states(c); s["a:1"] != "healthy" {
					t.Fatalf("when all are new, none is: %v", s)
				}
				c.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}, {Address: "new:1"}})
				share := func() float64 {
					if balance == "peak_ewma" || balance == "least_request" { // the draws are by weight; see TestDistribution
						for _, e := range c.Status().Endpoints {
							if e.Address == "new:1" {
								return e.Share
							}
						}
					}
					return float64(send(c, 6000)["new:1"]) / 6000
				}
				for _, at := range []struct {
					after time.Duration
					part  float64
				}{{0, 0.1}, {15 * time.Second, 0.5}, {14 * time.Second, 0.95}, {3 * time.Second, 1}} {
					time.Sleep(at.after)
					want := at.part / (2 + at.part)
					if got := share(); math.Abs(got-want) > 0.03 {
						t.Errorf("%v further on: share %.3f, want %.3f", at.after, got, want)
					}
				}
				if s := states(c); s["new:1"] != "healthy" {
					t.Errorf("%v", s)
				}
			})
		})
	}
}

func TestAReturnedEndpointIsEasedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o, h := newFarm(), ejecting, probing
		c := newTest(t, f.transport(), Config{Outlier: &o, Health: &h, SlowStart: 20 * time.Second, Balance: "round_robin"}, "a:1", "b:1", "c:1")
		defer func() { _ = c.Close() }()
		f.set("a:1", "500")
		send(c, 20)
		synctest.Wait()
		if s := states(c); s["a:1"] != "ejected" {
			t.Fatal(s)
		}
		f.set("a:1", "")
		time.Sleep(o.Base + time.Second)
		if s := states(c); s["a:1"] != "warming" {
			t.Error("after an ejection:", s)
		}
		time.Sleep(30 * time.Second)
		f.set("b:1", "connect")
		time.Sleep(5 * time.Second)
		f.set("b:1", "")
		time.Sleep(3 * time.Second)
		if s := states(c); s["b:1"] != "warming" || s["a:1"] != "healthy" {
			t.Error("after probes:", s)
		}
	})
}
