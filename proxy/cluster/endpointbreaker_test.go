package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

func perEndpoint(open time.Duration) BreakerConfig {
	return BreakerConfig{Enabled: true, Per: "endpoint", Failures: 3, Window: time.Minute, Open: open, Trials: 1}
}

// Time is virtual: a slow machine gives no trial that is not expected.
func TestAFailingEndpointIsLeftOutAndComesBack(t *testing.T) {
	var sick atomic.Bool
	sick.Store(true)
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
		if address == "a:1" && sick.Load() {
			return clustertest.Fault("reset", false)
		}
		clustertest.Respond(x, 200, "ok")
		return nil
	}}
	for _, balance := range []string{"round_robin", "least_request"} {
		synctest.Test(t, func(t *testing.T) {
			sick.Store(true)
			c := newTest(t, tr, Config{Balance: balance, Breaker: perEndpoint(time.Second)}, "a:1", "b:1", "c:1")
			send := func(n int) (failed int) {
				for range n {
					x := newExchange("POST", "")
					if c.Forward(x, &Options{}) != nil {
						failed++
					}
					over(x)
				}
				return failed
			}
			if n := send(100); n != 3 {
				t.Errorf("%s: %d failures before it was left out, want 3", balance, n)
			}
			if s := c.Status(); s.Breaker != "off" || s.Endpoints[0].Breaker != "open" || s.Endpoints[1].Breaker != "closed" {
				t.Errorf("%s: %+v", balance, s)
			}
			c.Replace([]Endpoint{{Address: "a:1", Weight: 2}, {Address: "b:1"}, {Address: "c:1"}})
			if n := send(20); n != 0 {
				t.Errorf("%s: another weight brought it back: %d failures", balance, n)
			}
			for c.Status().Endpoints[0].Breaker == "open" {
				time.Sleep(time.Millisecond)
			}
			if n := send(50); n != 1 || c.Status().Endpoints[0].Breaker != "open" {
				t.Errorf("%s: %d failures by a trial, want 1", balance, n)
			}
			sick.Store(false)
			for c.Status().Endpoints[0].Breaker == "open" {
				time.Sleep(time.Millisecond)
			}
			if n := send(50); n != 0 || c.Status().Endpoints[0].Breaker != "closed" {
				t.Errorf("%s: %d failures, %+v", balance, n, c.Status())
			}
		})
	}
}

func TestWithEveryEndpointsBreakerOpenNobodyIsAsked(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(*exchange.Exchange, string) error { return clustertest.Fault("reset", false) }}
	var addresses []string
	for _, l := range "abcdefghijkl" { // more than an exchange remembers
		addresses = append(addresses, string(l)+":1")
	}
	both := perEndpoint(time.Minute)
	both.Per, both.Failures = "both", 1
	fallback := &Fallback{Answer: exchange.Instead{Status: 200, Body: []byte("[]")}, On: []string{"breaker-open"}}
	for _, b := range []BreakerConfig{perEndpoint(time.Minute), both} {
		c := newTest(t, tr, Config{Breaker: b, Fallback: fallback}, addresses...)
		var last *exchange.Fault
		for range 60 {
			x := newExchange("POST", "")
			if last = c.Forward(x, &Options{}); last.Code == "reset" && last.Instead != nil {
				t.Error("the fallback stands in for a reset")
			}
			over(x)
		}
		asked := 0
		for _, n := range tr.Calls() {
			asked += n
		}
		if last.Code != "breaker-open" || last.RetryAfter < 50*time.Second || last.Instead != &fallback.Answer {
			t.Errorf("%s: %+v after %d attempts", b.Per, last, asked)
		}
	}
	if n := tr.Calls()["a:1"]; n < 3 || n > 4 {
		t.Errorf("a:1 was asked %d times, want 3 and perhaps once more", n)
	}
}

func TestFallbackStandsInForWhatItNames(t *testing.T) {
	for _, c := range []struct {
		on   []string
		f    *exchange.Fault
		fits bool
	}{
		{[]string{"no-endpoint"}, &exchange.Fault{Source: exchange.FromUpstream, Code: "no-endpoint"}, true},
		{[]string{"breaker-open"}, &exchange.Fault{Source: exchange.FromUpstream, Code: "no-endpoint"}, false},
		{[]string{"unreachable"}, &exchange.Fault{Source: exchange.FromUpstream, Code: "connect-refused"}, true},
		{[]string{"unreachable"}, &exchange.Fault{Source: exchange.FromUpstream, Code: "timeout"}, false},
		{[]string{"timeout"}, &exchange.Fault{Source: exchange.FromUpstream, Code: "timeout"}, true},
		{[]string{"unreachable"}, &exchange.Fault{Source: exchange.FromClient, Code: "client-gone"}, false},
	} {
		if got := (&Fallback{On: c.on}).fits(c.f); got != c.fits {
			t.Errorf("%v for %s: %t", c.on, c.f.Code, got)
		}
	}
}

// What is not configured costs nothing.
func TestEndpointsWithoutBreakersHaveNone(t *testing.T) {
	c := newTest(t, &clustertest.Transport{}, Config{Breaker: BreakerConfig{Enabled: true, Window: time.Minute}}, "a:1")
	if c.trips || c.limit != nil || c.budget != nil || slices.ContainsFunc(c.lineup.Load().members, func(m *member) bool { return m.trip != nil }) {
		t.Errorf("%+v", c)
	}
}

// With the breakers of all near endpoints open, those further away take what the
// near ones cannot, however many near ones there are.
func TestBreakersOfAllNearEndpointsLeaveTheFarOnes(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
		if address[0] == 'n' {
			return clustertest.Fault("reset", false)
		}
		clustertest.Respond(x, 200, "ok")
		return nil
	}}
	here := &Here{}
	here.Set("z", "")
	c := newTest(t, tr, Config{Breaker: perEndpoint(time.Minute), Locality: "zone", Here: here})
	eps := []Endpoint{{Address: "far:1", Zone: "y"}}
	for _, a := range "12345678" {
		eps = append(eps, Endpoint{Address: "near:" + string(a), Zone: "z"})
	}
	c.Replace(eps)
	failed := 0
	for range 60 {
		x := newExchange("POST", "")
		if f := c.Forward(x, &Options{}); f != nil {
			failed++
			if f.Code != "reset" {
				t.Fatalf("%s, while %d endpoints are healthy", f.Code, len(c.lineup.Load().spare))
			}
		}
		over(x)
	}
	if failed != 8*3 || tr.Calls()["far:1"] == 0 {
		t.Errorf("%d failures, want 3 of each near one; %v", failed, tr.Calls())
	}
	_ = c.Close()
}

// The same for a service that asks to be asked later: who is further away is
// somebody else to ask.
func TestASpareEndpointIsElsewhere(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
		if address == "near:1" {
			clustertest.Respond(x, 503, "later")
			x.Response.Header.Set("Retry-After", "60")
			return nil
		}
		clustertest.Respond(x, 200, "ok")
		return nil
	}}
	here := &Here{}
	here.Set("z", "")
	c := newTest(t, tr, Config{Locality: "zone", Here: here})
	c.Replace([]Endpoint{{Address: "near:1", Zone: "z"}, {Address: "far:1", Zone: "y"}})
	x := newExchange("GET", "")
	if f := c.Forward(x, &opts); f != nil || x.Response.Status != 200 {
		t.Errorf("%v, %d of %s", f, x.Response.Status, x.Endpoint)
	}
	over(x)
	_ = c.Close()
}

// dialer is a transport of opaque streams.
type dialer struct {
	*clustertest.Transport
	dial func(address string) error
}

func (d *dialer) Dial(_ context.Context, address string) (exchange.Wire, exchange.Peer, error) {
	return nil, exchange.Peer{}, d.dial(address)
}

// A stream finds the one endpoint of many whose breaker is not open, as an exchange
// does.
func TestAStreamFindsTheEndpointThatIsLeft(t *testing.T) {
	d := &dialer{&clustertest.Transport{}, func(address string) error {
		if address == "good:1" {
			return nil
		}
		return clustertest.Fault("connect-refused", true)
	}}
	breaker := perEndpoint(time.Minute)
	breaker.Failures = 1
	c := New(Config{Service: "db", Protocol: "tcp", Transport: d, Breaker: breaker})
	var eps []Endpoint
	for i := range 40 {
		eps = append(eps, Endpoint{Address: fmt.Sprintf("bad:%d", i)})
	}
	c.Replace(append(eps, Endpoint{Address: "good:1"}))
	for range 200 {
		st := &exchange.Stream{}
		_, _, over, f := c.Connect(context.Background(), st, &Options{})
		if f == nil {
			over()
		} else if f.Code != "connect-refused" {
			t.Fatalf("%s, while the breaker of good:1 is %s", f.Code, c.Status().Endpoints[40].Breaker)
		}
	}
}
