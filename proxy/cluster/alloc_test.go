//go:build !race

package cluster

import (
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// silent is a transport that answers without allocating anything.
type silent struct{ info exchange.ConnInfo }

func (s *silent) Reserve(*exchange.Exchange, string, exchange.Protocol) (exchange.Upstream, error) {
	return s, nil
}
func (*silent) Retire(string)              {}
func (*silent) Close()                     {}
func (*silent) Open() int                  { return 0 }
func (s *silent) Info() *exchange.ConnInfo { return &s.info }
func (*silent) Release()                   {}
func (*silent) RoundTrip(x *exchange.Exchange) error {
	x.Response.Status = 200
	return nil
}

// Neither what is not configured nor what is allocates anything as long as
// nobody has to wait and nothing fails.
func TestForwardingAllocatesNothing(t *testing.T) {
	breaker := BreakerConfig{Enabled: true, Per: "both", Failures: 10, Window: 10 * time.Second, Open: time.Second, Trials: 1}
	plain := breaker
	plain.Per = "service"
	for name, cfg := range map[string]Config{
		"plain": {Breaker: plain},
		"all": {Breaker: breaker, RetryBudget: RetryBudgetConfig{Ratio: 0.2, Window: 10 * time.Second},
			Limit: &LimitConfig{Max: 100, Min: 1, Adaptive: true, QueueTimeout: time.Second}},
	} {
		cfg.Service, cfg.Transport = "orders", &silent{}
		c := New(cfg)
		c.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}})
		x := &exchange.Exchange{}
		o := opts
		once := func() {
			x.Start, x.Request.Method = time.Now(), "GET"
			if f := c.Forward(x, &o); f != nil {
				t.Fatal(f)
			}
			x.RunDone()
			x.Reset()
		}
		once()
		// One is the exchange's Life, which engines make anyway.
		if n := testing.AllocsPerRun(2000, once); n > 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A hedge costs a few allocations before it is needed: the attempt's own life, its
// timer, and what both attempts share.
func TestAHedgeThatNobodyNeedsAllocatesLittle(t *testing.T) {
	c := New(Config{Service: "orders", Transport: &silent{}})
	c.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}})
	x, o := &exchange.Exchange{}, opts
	for _, v := range []struct {
		hedge *Hedge
		most  float64
	}{{HedgeAfter(time.Second, []string{"GET"}), 7}, {HedgeAfter(time.Second, []string{"HEAD"}), 1}, {HedgeBeyond(0.9, []string{"HEAD"}), 1}} {
		o.Hedge = v.hedge
		if n := testing.AllocsPerRun(2000, func() {
			x.Start, x.Request.Method = time.Now(), "GET"
			if f := c.Forward(x, &o); f != nil {
				t.Fatal(f)
			}
			x.RunDone()
			x.Reset()
		}); n > v.most {
			t.Errorf("%v: %v allocations, want at most %v", v.hedge.Methods, n, v.most)
		}
	}
}

func BenchmarkForward(b *testing.B) {
	breaker := BreakerConfig{Enabled: true, Failures: 10, Window: 10 * time.Second, Open: time.Second, Trials: 1}
	both := breaker
	both.Per = "both"
	for _, v := range []struct {
		name string
		cfg  Config
	}{
		{"breaker", Config{Breaker: breaker}},
		{"budget", Config{Breaker: breaker, RetryBudget: RetryBudgetConfig{Ratio: 0.2, Window: 10 * time.Second}}},
		{"limit", Config{Breaker: breaker, Limit: &LimitConfig{Max: 100, QueueTimeout: time.Second}}},
		{"adaptive", Config{Breaker: breaker, Limit: &LimitConfig{Max: 100, Min: 1, Adaptive: true, QueueTimeout: time.Second}}},
		{"endpoints", Config{Breaker: both}},
		{"hedge", Config{Breaker: breaker}}, // that nobody needs
	} {
		b.Run(v.name, func(b *testing.B) {
			o := opts
			if v.name == "hedge" {
				o.Hedge = HedgeAfter(time.Second, []string{"GET"})
			}
			b.ReportAllocs()
			v.cfg.Service, v.cfg.Transport = "orders", &silent{}
			c := New(v.cfg)
			c.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}})
			x := &exchange.Exchange{}
			for b.Loop() {
				x.Start, x.Request.Method = time.Now(), "GET"
				if f := c.Forward(x, &o); f != nil {
					b.Fatal(f)
				}
				x.RunDone()
				x.Reset()
			}
		})
	}
}
