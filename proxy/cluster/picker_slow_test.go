package cluster

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// nothing is a transport that is never asked.
type nothing struct{ exchange.Transport }

func (nothing) Retire(string) {}
func (nothing) Close()        {}
func (nothing) Open() int     { return 0 }

// load has workers send requests, each its next when the last is answered, for a
// time; it returns the share of each endpoint and the latencies, sorted.
func load(t *testing.T, cfg Config, latency func(address string) time.Duration, workers int, d time.Duration, addresses ...string) (map[string]float64, []time.Duration) {
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
		time.Sleep(latency(address))
		clustertest.Respond(x, 200, "ok")
		return nil
	}}
	c := newTest(t, tr, cfg, addresses...)
	defer func() { _ = c.Close() }()
	var mu sync.Mutex
	var took []time.Duration
	count := map[string]float64{}
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range workers {
		wg.Go(func() {
			for time.Now().Before(end) {
				x := newExchange("GET", "")
				from := time.Now()
				if f := c.Forward(x, &Options{}); f != nil {
					t.Error(f)
				}
				mu.Lock()
				took = append(took, time.Since(from))
				count[x.Endpoint]++
				mu.Unlock()
				over(x)
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	for a := range count {
		count[a] /= float64(len(took))
	}
	return count, took
}

// TestSlowEndpoint has one of three endpoints answer ten times slower, and
// measures who notices. Time is virtual.
func TestSlowEndpoint(t *testing.T) {
	const fast, slow = 10 * time.Millisecond, 100 * time.Millisecond
	for _, c := range []struct {
		balance       string
		least, most   float64 // share of the slow one
		p99           time.Duration
		p99IsAtLeast  bool
		requestsLeast int
	}{
		{"round_robin", 0.32, 0.35, slow, true, 5_000}, // does not
		{"consistent_hash", 0.25, 0.42, slow, true, 4_000},
		{"least_request", 0.03, 0.08, slow, true, 20_000}, // a share as it is fast: seldom enough to keep the others busy
		{"peak_ewma", 0, 0.01, 2 * fast, false, 28_000},
	} {
		t.Run(c.balance, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				share, took := load(t, Config{Balance: c.balance, Hash: []HashKey{{From: "consumer"}}}, func(a string) time.Duration {
					if a == "slow:1" {
						return slow
					}
					return fast
				}, 16, 20*time.Second, "a:1", "b:1", "slow:1")
				p99 := took[len(took)*99/100]
				t.Logf("%s: %d requests, slow endpoint's share %.2f%%, p50 %s, p99 %s", c.balance, len(took), 100*share["slow:1"], took[len(took)/2], p99)
				if s := share["slow:1"]; s < c.least || s > c.most {
					t.Errorf("the slow endpoint's share is %.3f, expected %.3f to %.3f", s, c.least, c.most)
				}
				if c.p99IsAtLeast != (p99 >= c.p99) || len(took) < c.requestsLeast {
					t.Errorf("p99 %s of %d requests", p99, len(took))
				}
			})
		})
	}
}

// TestPeakEWMATriesAgainWhatWasSlow: one that has recovered gets its share back.
func TestPeakEWMATriesAgainWhatWasSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		share, _ := load(t, Config{Balance: "peak_ewma"}, func(a string) time.Duration {
			if a == "slow:1" && time.Since(began) < 5*time.Second {
				return 100 * time.Millisecond
			}
			return 10 * time.Millisecond
		}, 8, 5*time.Minute, "a:1", "b:1", "slow:1")
		if s := share["slow:1"]; s < 0.25 || s > 0.36 {
			t.Errorf("the share of one that was slow for 5 s of 5 minutes is %.3f", s)
		}
	})
}

// TestPeakEWMAIsNotAttractedByFastFailures: an endpoint that refuses everything
// at once looks fast to who only measures time.
func TestPeakEWMAIsNotAttractedByFastFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
			if address == "bad:1" {
				return clustertest.Fault("connect", true)
			}
			time.Sleep(20 * time.Millisecond)
			clustertest.Respond(x, 200, "ok")
			return nil
		}}
		c := newTest(t, tr, Config{Balance: "peak_ewma"}, "a:1", "b:1", "bad:1")
		for range 1000 {
			x := newExchange("GET", "")
			_ = c.Forward(x, &Options{})
			over(x)
		}
		if n := tr.Calls()["bad:1"]; n > 10 {
			t.Errorf("%d of 1000 requests went to the endpoint that refuses", n)
		}
	})
}
