package cluster

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// Everything at once: whatever becomes of exchanges, in the end nothing counts as
// in flight anywhere.
func TestNothingStaysCountedUnderStress(t *testing.T) {
	for _, balance := range []string{"round_robin", "least_request", "peak_ewma", "consistent_hash"} {
		t.Run(balance, func(t *testing.T) { stress(t, balance) })
	}
}

func stress(t *testing.T, balance string) {
	tr := &clustertest.Transport{
		Connect: func(_ context.Context, _ string) error {
			if rand.IntN(20) == 0 {
				return clustertest.Fault("connect-refused", true)
			}
			return nil
		},
		Answer: func(x *exchange.Exchange, address string) error {
			if rand.IntN(4) == 0 {
				if err := x.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond); err != nil {
					return err
				}
			}
			switch rand.IntN(12) {
			case 0:
				return clustertest.Fault("reset", false)
			case 1:
				return clustertest.Fault("stale-connection", true)
			case 2, 3:
				clustertest.Respond(x, 503, "no")
			case 4:
				panic("of a test")
			default:
				clustertest.Respond(x, 200, address)
			}
			return nil
		},
	}
	spare := newTest(t, &clustertest.Transport{}, Config{Tier: "spare"}, "spare:1")
	c := newTest(t, tr, Config{Balance: balance, Hash: []HashKey{{From: "path"}}, BoundedLoad: 1.25, SlowStart: 5 * time.Millisecond, Panic: 0.3, Subset: 6,
		Breaker:  BreakerConfig{Enabled: true, Failures: 30, Open: time.Millisecond, Trials: 1, Window: 50 * time.Millisecond, Per: "both"},
		Outlier:  &Outlier{Consecutive: 4, Interval: 5 * time.Millisecond, Base: 3 * time.Millisecond, Longest: 10 * time.Millisecond, MaxEjected: 1},
		Limit:    &LimitConfig{Max: 22, Queue: 8, QueueTimeout: 2 * time.Millisecond},
		Failover: &Failover{Tiers: []*Cluster{spare}, Return: time.Millisecond}})
	t.Cleanup(func() { _ = c.Close() })
	all := make([]Endpoint, 10)
	for i := range all {
		all[i] = Endpoint{Address: fmt.Sprintf("e%d:1", i), Weight: 1 + i%3}
	}
	c.Replace(all)
	stop := make(chan struct{})
	var changing, asking sync.WaitGroup
	changing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				n := rand.IntN(len(all) + 1)
				rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				c.Replace(append([]Endpoint(nil), all[:n]...))
				_ = c.Status()
			}
		}
	})
	for range 24 {
		asking.Go(func() {
			for range 300 {
				askOnce(c)
			}
		})
	}
	asking.Wait()
	close(stop)
	changing.Wait()
	for range 2000 { // second attempts that were given up may still be about to end
		if c.Status().Concurrency.Busy == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if h := c.Status().Hedges; h.Won+h.Lost+h.Failed == 0 {
		t.Errorf("nothing was hedged: %+v", h)
	}
	c.mu.Lock()
	for _, m := range c.members {
		if n := m.busy.Load(); n != 0 {
			t.Errorf("%s: %d in flight", m.Address, n)
		}
	}
	c.mu.Unlock()
	c.limit.mu.Lock()
	if c.limit.busy != 0 || c.limit.queue.Len() != 0 {
		t.Errorf("the limit counts %d, and %d wait", c.limit.busy, c.limit.queue.Len())
	}
	c.limit.mu.Unlock()
}

// askOnce is one exchange, which may be cancelled, and whose panics end where a pipe's do.
func askOnce(c *Cluster) {
	x := newExchange([]string{"GET", "POST"}[rand.IntN(2)], []string{"", "abc"}[rand.IntN(2)])
	x.Start, x.Request.Path = time.Now(), fmt.Sprint("/", rand.IntN(50))
	if rand.IntN(10) == 0 {
		life := x.Life()
		timer := time.AfterFunc(time.Duration(rand.IntN(2))*time.Millisecond, func() { life.Cancel(io.ErrUnexpectedEOF) })
		defer timer.Stop()
	}
	o := opts
	o.Timeout = time.Duration(1+rand.IntN(5)) * time.Millisecond
	if rand.IntN(3) == 0 {
		o.PerTry = time.Duration(1+rand.IntN(2000)) * time.Microsecond
	}
	if rand.IntN(2) == 0 {
		o.Hedge = HedgeAfter(time.Duration(1+rand.IntN(500))*time.Microsecond, []string{"GET", "POST"})
	}
	defer over(x)
	defer func() {
		if p := recover(); p != nil && p != "of a test" {
			panic(p)
		}
	}()
	if f := c.Forward(x, &o); f == nil && x.Response.Body != nil {
		_, _ = io.Copy(io.Discard, x.Response.Body)
	}
}
