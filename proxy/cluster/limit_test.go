package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

func TestTheQueueIsServedInOrderAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimit(&LimitConfig{Max: 1, Queue: 3, QueueTimeout: time.Second})
		if !l.take() || l.take() {
			t.Fatal("one place")
		}
		var mu sync.Mutex
		var order []int
		for i := range 3 {
			go func() {
				if err := l.wait(t.Context()); err != nil {
					t.Error(i, err)
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				l.give()
			}()
			synctest.Wait()
		}
		if err := l.wait(t.Context()); !errors.Is(err, errNoPlace) {
			t.Error("a fourth waits:", err)
		}
		l.give()
		synctest.Wait()
		if !slices.Equal(order, []int{0, 1, 2}) || l.busy != 0 || l.queue.Len() != 0 || l.full.Load() != 1 || l.waited.Load() != 3 {
			t.Errorf("served %v, busy %d, queued %d", order, l.busy, l.queue.Len())
		}
	})
}

func TestWaitingEndsInTimeOrWithTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimit(&LimitConfig{Max: 1, Queue: 9, QueueTimeout: time.Second})
		l.take()
		from := time.Now()
		if err := l.wait(t.Context()); !errors.Is(err, errTooLate) || time.Since(from) != time.Second || l.late.Load() != 1 {
			t.Error(err, time.Since(from))
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(gone) })
		if err := l.wait(ctx); !errors.Is(err, gone) || l.queue.Len() != 0 || l.late.Load() != 1 {
			t.Error(err, l.queue.Len())
		}
		l.give()
		if l.busy != 0 || !l.take() {
			t.Error("a place is lost")
		}
	})
}

// However takers, waiters and leavers meet, no place is lost or given twice.
func TestPlacesAreNeitherLostNorDoubled(t *testing.T) {
	l := newLimit(&LimitConfig{Max: 3, Queue: 20, QueueTimeout: time.Millisecond})
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for range 32 {
		wg.Go(func() {
			for range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(1000))*time.Microsecond)
				if l.take() || l.wait(ctx) == nil {
					mu.Lock()
					if in++; in > 3 {
						t.Error("more than the limit at once")
					}
					in--
					mu.Unlock()
					l.give()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if l.busy != 0 || l.queue.Len() != 0 {
		t.Errorf("busy %d, queued %d", l.busy, l.queue.Len())
	}
}

// A refused request is not the service's failure, and a waiting one is let in
// when an answer has been passed on whole.
func TestAFullServiceRefusesWithoutBlame(t *testing.T) {
	c := newTest(t, &clustertest.Transport{}, Config{
		Limit:   &LimitConfig{Max: 1, Queue: 1, QueueTimeout: time.Minute},
		Breaker: BreakerConfig{Enabled: true, Failures: 1, Window: time.Minute, Open: time.Minute, Trials: 1}}, "a:1")
	first := newExchange("GET", "")
	if f := c.Forward(first, &opts); f != nil {
		t.Fatal(f)
	}
	second, done := newExchange("GET", ""), make(chan *exchange.Fault)
	go func() { done <- c.Forward(second, &opts) }()
	for c.resilience().Concurrency.Queued == 0 {
		time.Sleep(time.Millisecond)
	}
	third := newExchange("GET", "")
	if f := c.Forward(third, &opts); code(f) != "service-overloaded" || f.Status != 503 || f.RetryAfter == 0 || third.Attempts != 0 || c.State() != "closed" {
		t.Error(f, third.Attempts, c.State())
	}
	over(third)
	gone := newExchange("GET", "")
	gone.Cancel(errors.New("gone"))
	if f := c.Forward(gone, &opts); code(f) != "service-overloaded" && code(f) != "client-gone" {
		t.Error(f)
	}
	over(gone)
	over(first)
	if f := <-done; f != nil {
		t.Error(f)
	}
	over(second)
	if s := c.resilience().Concurrency; s.Busy != 0 || s.Queued != 0 || s.Full < 1 || s.Waited != 1 {
		t.Errorf("%+v", s)
	}
}

// The route's timeout ends the wait too, and blames nobody.
func TestTheDeadlineCountsInTheQueue(t *testing.T) {
	c := newTest(t, &clustertest.Transport{}, Config{Limit: &LimitConfig{Max: 1, Queue: 1, QueueTimeout: time.Minute}}, "a:1")
	first, second := newExchange("GET", ""), newExchange("GET", "")
	_ = c.Forward(first, &opts)
	o := opts
	o.Timeout = 20 * time.Millisecond
	if f := c.Forward(second, &o); code(f) != "timeout" || second.Attempts != 0 {
		t.Error(f, second.Attempts)
	}
	over(second)
	over(first)
}

// simulated is a service with so many workers of a given pace: what is beyond
// waits for one.
type simulated struct {
	workers int
	pace    time.Duration
	free    []time.Time
	spread  float64
	rng     *rand.Rand
}

// newSimulated is a service and a limit that draw the same numbers in every run.
func newSimulated(workers int, pace time.Duration, spread float64) (*simulated, *adaptive) {
	s, a := &simulated{workers: workers, pace: pace, spread: spread, rng: rand.New(rand.NewPCG(1, 2))}, newAdaptive(1, 1000)
	a.draw = s.rng.Int64N
	return s, a
}

// serve is when a request that arrives at now is answered.
func (s *simulated) serve(now time.Time) time.Time {
	if len(s.free) != s.workers {
		s.free = make([]time.Time, s.workers)
	}
	first := 0
	for i := range s.free {
		if s.free[i].Before(s.free[first]) {
			first = i
		}
	}
	begin := now
	if s.free[first].After(now) {
		begin = s.free[first]
	}
	took := float64(s.pace) * (1 + s.spread*(2*s.rng.Float64()-1))
	s.free[first] = begin.Add(time.Duration(took))
	return s.free[first]
}

// drive keeps as many requests in progress as the limit allows, or as demand is,
// for so long, and returns the limit's mean over the last half.
func drive(a *adaptive, s *simulated, now *time.Time, demand int, d time.Duration) float64 {
	type flight struct{ sent, done time.Time }
	var flights []flight
	end, half := now.Add(d), now.Add(d/2)
	sum, n := 0.0, 0
	for now.Before(end) {
		for len(flights) < min(a.limit(), demand) {
			f := flight{*now, s.serve(*now)}
			i, _ := slices.BinarySearchFunc(flights, f, func(a, b flight) int { return a.done.Compare(b.done) })
			flights = slices.Insert(flights, i, f)
		}
		f := flights[0]
		flights = flights[1:]
		*now = f.done
		a.observe(*now, f.done.Sub(f.sent), len(flights)+1, false)
		if now.After(half) {
			sum += float64(a.now)
			n++
		}
	}
	return sum / float64(n)
}

func TestTheAdaptiveLimitFindsTheServicesCapacity(t *testing.T) {
	for _, workers := range []int{10, 50, 100} {
		for _, spread := range []float64{0, 0.9} {
			s, a := newSimulated(workers, 20*time.Millisecond, spread)
			now := time.Now()
			got := drive(a, s, &now, 10000, 40*time.Second)
			if got < 0.9*float64(workers) || got > 1.9*float64(workers)+4 {
				t.Errorf("%d workers, spread %.1f: the limit is %.0f", workers, spread, got)
			}
		}
	}
}

func TestTheAdaptiveLimitFollowsAndRecovers(t *testing.T) {
	s, a := newSimulated(50, 20*time.Millisecond, 0.3)
	now := time.Now()
	before := drive(a, s, &now, 10000, 30*time.Second)
	s.workers = 10
	during := drive(a, s, &now, 10000, 30*time.Second)
	s.workers = 50
	after := drive(a, s, &now, 10000, 30*time.Second)
	if during > before/2 || after < 0.8*before {
		t.Errorf("limit %.0f, with a fifth of the workers %.0f, with all of them again %.0f", before, during, after)
	}
	// A service that becomes slower for good is not throttled to nothing: the new
	// pace is measured.
	s.pace = 60 * time.Millisecond
	slower := drive(a, s, &now, 10000, 2*time.Minute)
	if slower < 30 {
		t.Errorf("limit %.0f once all answers take longer, though as many workers are there", slower)
	}
	// Without demand it does not grow.
	quiet := newAdaptive(1, 1000)
	quiet.draw = s.rng.Int64N
	if drive(quiet, s, &now, 3, time.Minute); quiet.limit() > adaptStart {
		t.Errorf("limit %d although never more than 3 were in progress", quiet.limit())
	}
	// Timeouts bring it down, to the least at worst.
	for range 200 {
		now = now.Add(adaptLongest)
		quiet.observe(now, 0, 3, true)
	}
	if quiet.limit() != 1 {
		t.Errorf("limit %d after nothing but timeouts", quiet.limit())
	}
}

// min holds while the latency without a queue is measured too.
func TestTheAdaptiveLimitKeepsToItsMinimum(t *testing.T) {
	a, now := newAdaptive(40, 100), time.Now()
	probes, was := 0, false
	for range 60_000 { // 10 minutes
		now = now.Add(10 * time.Millisecond)
		a.observe(now, 50*time.Millisecond, 40, false)
		if a.probing && !was {
			probes++
		}
		if was = a.probing; a.limit() < 40 {
			t.Fatalf("the limit is %d, probing %t, want 40 at least", a.limit(), a.probing)
		}
	}
	if probes < 10 {
		t.Errorf("%d probes", probes)
	}
}
