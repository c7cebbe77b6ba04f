package cluster

import (
	"testing"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// TestARunRemembersNothingOfTheExchangeBefore: which endpoints failed, that the
// retries are used up and what the answer was are the exchange's own.
func TestARunRemembersNothingOfTheExchangeBefore(t *testing.T) {
	fail := true
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		if fail {
			return clustertest.Fault("connect", true)
		}
		clustertest.Respond(x, 200, "ok")
		return nil
	}}
	c := New(Config{Service: "s", Transport: tr, Balance: "round_robin"})
	c.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}})
	o := Options{Attempts: 1, OnConnect: true}
	for range 50 {
		for _, fail = range []bool{true, false} {
			x := &exchange.Exchange{}
			x.Request.Method = "GET"
			fault := c.Forward(x, &o)
			if (fault != nil) != fail {
				t.Fatalf("failing %v: %v", fail, fault)
			}
			if want := map[bool]int{true: 2, false: 1}[fail]; x.Attempts != want {
				t.Fatalf("failing %v: %d attempts, want %d", fail, x.Attempts, want)
			}
			if x.Response.Body != nil {
				_ = x.Response.Body.Close()
			}
			x.RunDone()
			if s := c.Status(); s.InFlight != 0 {
				t.Fatalf("%d in flight", s.InFlight)
			}
		}
	}
}
