package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store/redistest"
)

// memoryCounts is a central of tests, with a clock that can be set.
type memoryCounts struct {
	m     *Limits
	trips atomic.Int64
	err   atomic.Pointer[error]
	held  chan struct{} // not nil: an answer waits for it
}

func (c *memoryCounts) ready() bool            { return c.err.Load() == nil }
func (c *memoryCounts) timeout() time.Duration { return 10 * time.Second }

func (c *memoryCounts) take(ctx context.Context, key string, least, most, cost int64) (int64, Taken, error) {
	c.trips.Add(1)
	if c.held != nil {
		<-c.held
	}
	if err := c.err.Load(); err != nil {
		return 0, Taken{}, *err
	}
	k := keyOf(&c.m.seeds, []byte(key))
	s := &c.m.shards[k.a%uint64(len(c.m.shards))]
	granted, t := c.m.take([]byte(key), least, most, cost)
	if granted > 0 { // as the script: when as much is let through after this
		s.mu.Lock()
		now := c.m.clock()
		state, _ := s.find(k, now)
		t = c.m.rules.look(state, now, cost)
		s.mu.Unlock()
		t.OK = true
	}
	return granted, t, nil
}

func instances(n int, at central, c SharedConfig, clock func() int64) []*SharedLimits {
	out := make([]*SharedLimits, n)
	for i := range out {
		out[i] = newSharedLimits(at, c, clock)
	}
	return out
}

// Several instances, random schedules, costs and leases: never more than the
// algorithm promises and instances·(lease−1).
func TestInstancesTogetherExceedALimitByTheirLeasesAtMost(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	beyond := 0 // runs in which the leases were felt: the test looks at something
	for _, a := range algorithms {
		for range 300 {
			clock := &fakeClock{}
			clock.ns.Store(1.7e18 + rng.Int64N(1e15))
			limits := randomLimits(rng)
			m, err := newLimits(clock.now, 4, a, limits...)
			if err != nil {
				t.Fatal(err)
			}
			n, lease := 1+rng.IntN(4), 1+rng.Int64N(12)
			most := min(lease, 3) // cost
			lasts := time.Duration(1 + rng.Int64N(int64(limits[0].Window)))
			all := instances(n, &memoryCounts{m: m}, SharedConfig{Algorithm: a, Limits: limits, Lease: lease, LeaseTime: lasts, MaxKeys: 128}, clock.now)
			var admitted []passed
			for range 400 {
				l := limits[rng.IntN(len(limits))]
				clock.advance(time.Duration(rng.Int64N(int64(l.Window)/l.Requests + 1)))
				if rng.IntN(30) == 0 {
					clock.advance(l.Window / time.Duration(1+rng.IntN(4)))
				}
				cost := 1 + rng.Int64N(most)
				got, err := all[rng.IntN(n)].Take(t.Context(), []byte("k"), cost)
				if err != nil {
					t.Fatal(err)
				}
				if got.OK {
					admitted = append(admitted, passed{clock.now(), cost})
				} else if got.Retry <= 0 {
					t.Fatalf("%s %+v: refused with retry in %v", a, limits, got.Retry)
				}
				for i := range limits {
					if q := got.Each[i]; q.Remaining < 0 || q.Full < 0 || q.Retry < 0 {
						t.Fatalf("told %+v", got)
					}
				}
			}
			for _, l := range limits {
				if err := exceeds(a, l, admitted, int64(n)*(lease-1)); err != nil {
					t.Fatalf("%d instances, leases of %d: %v", n, lease, err)
				}
				if exceeds(a, l, admitted, 0) != nil {
					beyond++
				}
			}
		}
	}
	if beyond == 0 {
		t.Error("no run felt its leases: the bound was not put to a test")
	}
}

// The same with instances that really run at once, and clients that leave.
func TestConcurrentInstancesExceedALimitByTheirLeasesAtMost(t *testing.T) {
	for _, a := range algorithms {
		clock := &fakeClock{}
		clock.ns.Store(1.7e18)
		l := Limit{50, time.Minute, 50}
		m, _ := newLimits(clock.now, 4, a, l)
		const n, lease = 3, 8
		all := instances(n, &memoryCounts{m: m}, SharedConfig{Algorithm: a, Limits: []Limit{l}, Lease: lease, LeaseTime: time.Second, MaxKeys: 128}, clock.now)
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for i := range 24 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				for range 200 {
					ctx, cancel := context.WithCancel(t.Context())
					if rng.IntN(4) == 0 {
						cancel()
					}
					got, err := all[i%n].Take(ctx, []byte("k"), 1)
					cancel()
					if err == nil && got.OK {
						admitted.Add(1)
					}
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait() // the clock stands still
		if got := admitted.Load(); got < 20 || got > l.Requests+n*(lease-1) {
			t.Errorf("%s: %d let through, want some and at most %d", a, got, l.Requests+n*(lease-1))
		}
	}
}

func TestALeaseKeepsAHotKeyOffRedis(t *testing.T) {
	clock := &fakeClock{}
	l := Limit{1_000_000, time.Hour, 1_000_000}
	m, _ := newLimits(clock.now, 4, GCRA, l)
	at := &memoryCounts{m: m}
	s := newSharedLimits(at, SharedConfig{Algorithm: GCRA, Limits: []Limit{l}, Lease: 100, LeaseTime: time.Second, MaxKeys: 128}, clock.now)
	ask := func(n int) {
		for range n {
			if got, err := s.Take(t.Context(), []byte("k"), 1); err != nil || !got.OK {
				t.Fatalf("%+v %v", got, err)
			}
		}
	}
	ask(1)
	clock.advance(2 * time.Second)
	ask(1)
	if n := at.trips.Load(); n != 2 {
		t.Fatalf("%d trips for a key that is asked for now and then, want one each", n)
	}
	if got := m.Take([]byte(s.name([]byte("k"))), 1).Each[0].Remaining; got < 999_996 {
		t.Errorf("%d left: such a key was charged ahead", got)
	}
	ask(10_000)
	if n := at.trips.Load(); n > 2+8+100 {
		t.Errorf("%d trips for 10000 requests by leases of 100", n)
	}
	if n := testing.AllocsPerRun(50, func() { s.Try([]byte("k"), 1) }); n != 0 {
		t.Errorf("%v allocations per request out of a lease, want 0", n)
	}
}

func TestARefusalIsRememberedInsteadOfAskedForAgain(t *testing.T) {
	clock := &fakeClock{}
	l := Limit{5, time.Minute, 5}
	m, _ := newLimits(clock.now, 4, FixedWindow, l)
	at := &memoryCounts{m: m}
	s := newSharedLimits(at, SharedConfig{Algorithm: FixedWindow, Limits: []Limit{l}, Lease: 1, LeaseTime: time.Second, MaxKeys: 128}, clock.now)
	for range 1000 {
		_, _ = s.Take(t.Context(), []byte("k"), 1)
	}
	if n := at.trips.Load(); n > 6 {
		t.Errorf("%d trips, want 5 that were granted and one that was not", n)
	}
	clock.advance(2 * time.Second)
	got, _ := s.Take(t.Context(), []byte("k"), 1)
	if got.OK || got.Retry != 58*time.Second || at.trips.Load() != 6 {
		t.Errorf("%+v after %d trips, want a refusal until the window's end, asked for again", got, at.trips.Load())
	}
	clock.advance(58 * time.Second)
	if got, _ := s.Take(t.Context(), []byte("k"), 1); !got.OK {
		t.Error("refused in the next window")
	}
}

func TestWhoWaitsForOneKeyWaitsForOneTrip(t *testing.T) {
	clock := &fakeClock{}
	l := Limit{1000, time.Hour, 1000}
	m, _ := newLimits(clock.now, 4, GCRA, l)
	at := &memoryCounts{m: m, held: make(chan struct{})}
	s := newSharedLimits(at, SharedConfig{Algorithm: GCRA, Limits: []Limit{l}, Lease: 1, LeaseTime: time.Second, MaxKeys: 128}, clock.now)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if got, err := s.Take(t.Context(), []byte("k"), 1); err != nil || !got.OK {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
	k := keyOf(&s.seeds, []byte("k"))
	sh := &s.shards[k.a%limitShards]
	redistest.WaitFor(t, "everybody to wait", func() error {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if e := sh.find(k); e == nil || len(e.waiting) < 100 {
			return errors.New("not yet")
		}
		return nil
	})
	close(at.held)
	wg.Wait()
	if n := at.trips.Load(); n > 3 {
		t.Errorf("%d trips for 100 that waited at once", n)
	}
}

func TestAnErrorReachesEverybodyWhoWaits(t *testing.T) {
	clock := &fakeClock{}
	l := Limit{10, time.Hour, 10}
	m, _ := newLimits(clock.now, 4, GCRA, l)
	at := &memoryCounts{m: m}
	broken := errors.New("broken")
	at.err.Store(&broken)
	s := newSharedLimits(at, SharedConfig{Algorithm: GCRA, Limits: []Limit{l}, Lease: 1, LeaseTime: time.Second, MaxKeys: 128}, clock.now)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.Take(t.Context(), []byte("k"), 1); !errors.Is(err, broken) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	at.err.Store(nil)
	if got, err := s.Take(t.Context(), []byte("k"), 1); err != nil || !got.OK {
		t.Errorf("afterwards: %+v %v", got, err)
	}
}

func TestLeasesAreBounded(t *testing.T) {
	clock := &fakeClock{}
	l := Limit{10, time.Hour, 10}
	m, _ := newLimits(clock.now, 1_000_000, GCRA, l)
	s := newSharedLimits(&memoryCounts{m: m}, SharedConfig{Algorithm: GCRA, Limits: []Limit{l}, Lease: 4, LeaseTime: time.Second, MaxKeys: 1280}, clock.now)
	for i := range 20_000 {
		_, _ = s.Take(t.Context(), strconv.AppendInt(nil, int64(i), 10), 1)
	}
	n := 0
	for i := range s.shards {
		n += len(s.shards[i].now) + len(s.shards[i].before)
	}
	if n > 1280 {
		t.Errorf("%d leases are remembered, want 1280 at most", n)
	}
}

// The script does what limits.go does: the same random schedule, asked of both.
func TestRedisCountsAsMemoryDoes(t *testing.T) {
	server := redistest.Start(t)
	r := connected(t, server.Addr())
	rng := rand.New(rand.NewPCG(13, 14))
	for _, a := range algorithms {
		for run := range 40 {
			limits := randomLimits(rng)
			for i := range limits {
				// Both are exact where intervals are whole: µs in Redis, and of
				// gcra Requests that divide Window.
				limits[i].Window = time.Duration(1+rng.Int64N(5000)) * time.Duration(limits[i].Requests) * sliceCount * time.Microsecond
			}
			clock := &fakeClock{}
			clock.ns.Store((1.8e15 + rng.Int64N(1e14)) * 1e3)
			m, err := newLimits(clock.now, 4, a, limits...)
			if err != nil {
				t.Fatal(err)
			}
			rules, _ := newRules(a, limits)
			at := newRedisCounts(r, SharedConfig{Algorithm: a, Limits: limits}, rules)
			at.now = func() string { return strconv.FormatInt(clock.now()/1000, 10) }
			ours := &memoryCounts{m: m}
			key := fmt.Sprintf("same:%s:%d", a, run)
			for step := range 80 {
				l := limits[rng.IntN(len(limits))]
				clock.advance(time.Duration(rng.Int64N(int64(l.Window)/l.Requests*2+1)) / 1000 * 1000)
				if rng.IntN(20) == 0 {
					clock.advance(l.Window)
				}
				cost := 1 + rng.Int64N(4)
				most := cost + rng.Int64N(5)
				wantN, want, _ := ours.take(t.Context(), key, cost, most, cost)
				gotN, got, err := at.take(t.Context(), key, cost, most, cost)
				if err != nil {
					t.Fatal(err)
				}
				want.By, got.By = 0, 0
				if gotN != wantN || got != want {
					t.Fatalf("%s %+v, step %d, %d to %d:\nredis  %d %+v\nmemory %d %+v", a, limits, step, cost, most, gotN, got, wantN, want)
				}
			}
		}
	}
}

func connected(t testing.TB, addr string) *Redis {
	t.Helper()
	r, err := NewRedis(RedisConfig{Name: "test", Mode: "single", Addresses: []string{addr}, Timeout: 2 * time.Second, Prefix: "lintel:"})
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	t.Cleanup(func() { _ = r.Close() })
	redistest.WaitFor(t, "the connection", func() error {
		if s := r.Status(); !s.Up {
			return errors.New(s.Err)
		}
		return nil
	})
	return r
}

// Several instances on a real Redis, with its own time.
func TestInstancesShareOneLimitThroughRedis(t *testing.T) {
	server := redistest.Start(t)
	for _, a := range algorithms {
		for _, lease := range []int64{1, 10} {
			t.Run(fmt.Sprint(a, lease), func(t *testing.T) {
				l := Limit{200, time.Hour, 200}
				c := SharedConfig{Scope: fmt.Sprint(t.Name()), Algorithm: a, Limits: []Limit{l}, Lease: lease, LeaseTime: time.Second, MaxKeys: 1000}
				const n = 3
				var all [n]*SharedLimits
				for i := range all {
					s, err := NewSharedLimits(connected(t, server.Addr()), c)
					if err != nil {
						t.Fatal(err)
					}
					all[i] = s
				}
				began := time.Now()
				var admitted atomic.Int64
				var wg sync.WaitGroup
				for i := range 3 * n {
					wg.Go(func() {
						for range 200 {
							got, err := all[i%n].Take(t.Context(), []byte("k"), 1)
							if err != nil {
								t.Error(err)
							}
							if got.OK {
								admitted.Add(1)
							}
						}
					})
				}
				wg.Wait()
				if a != GCRA && time.Since(began.Truncate(time.Hour)) > time.Hour {
					t.Log("a window ended meanwhile") // once in many hours
					return
				}
				given := int64(time.Since(began)*200/time.Hour) + 1 // back meanwhile
				if got := admitted.Load(); got < 200-n*(lease-1) || got > 200+given {
					t.Errorf("%d let through, want %d to %d", got, 200-n*(lease-1), 200+given)
				}
			})
		}
	}
	// What is not used any more goes by itself.
	if ttl, _ := strconv.Atoi(server.Do("PTTL", firstKey(server))); ttl <= 0 || ttl > int(2*time.Hour/time.Millisecond) {
		t.Errorf("a key lives for %d ms", ttl)
	}
}

func firstKey(s *redistest.Server) string { return s.Do("RANDOMKEY") }

func TestAKeyInRedisShowsNobody(t *testing.T) {
	s := newSharedLimits(&memoryCounts{}, SharedConfig{Scope: "orders", MaxKeys: 1}, func() int64 { return 0 })
	long := s.name(bytes.Repeat([]byte("a"), 10_000))
	if a := s.name([]byte("192.0.2.1")); len(a) != len(long) || a == long || len(a) > 64 {
		t.Errorf("%q and %q", a, long)
	}
}

func BenchmarkSharedOutOfALease(b *testing.B) {
	l := Limit{1e6, time.Second, 1e6}
	m, _ := NewLimits(4, GCRA, l)
	s := newSharedLimits(&memoryCounts{m: m}, SharedConfig{Algorithm: GCRA, Limits: []Limit{l}, Lease: 1000, LeaseTime: time.Second, MaxKeys: 1000}, steady())
	key := []byte("k")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Try(key, 1); !ok {
			_, _ = s.Take(b.Context(), key, 1)
		}
	}
}

func BenchmarkSharedThroughRedis(b *testing.B) {
	server := redistest.Start(b)
	for _, lease := range []int64{1, 10, 100} {
		b.Run(fmt.Sprint("lease", lease), func(b *testing.B) {
			s, err := NewSharedLimits(connected(b, server.Addr()), SharedConfig{Scope: fmt.Sprint(lease), Algorithm: GCRA,
				Limits: []Limit{{1e6, time.Second, 1e6}, {6e7, time.Minute, 6e7}}, Lease: lease, LeaseTime: time.Second, MaxKeys: 1000})
			if err != nil {
				b.Fatal(err)
			}
			key := []byte("k")
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := s.Try(key, 1); !ok {
					if _, err := s.Take(b.Context(), key, 1); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func TestWhoGaveUpLeavesNoMoreThanALeaseBehind(t *testing.T) {
	clock := &fakeClock{}
	l := Limit{1000, time.Hour, 1000}
	m, _ := newLimits(clock.now, 4, FixedWindow, l)
	at := &memoryCounts{m: m, held: make(chan struct{})}
	s := newSharedLimits(at, SharedConfig{Algorithm: FixedWindow, Limits: []Limit{l}, Lease: 5, LeaseTime: time.Second, MaxKeys: 128}, clock.now)
	ctx, leave := context.WithCancel(t.Context())
	k := keyOf(&s.seeds, []byte("k"))
	sh := &s.shards[k.a%limitShards]
	var wg sync.WaitGroup
	for i := range 101 { // the first has the trip to itself, the others share the second
		wg.Go(func() { _, _ = s.Take(ctx, []byte("k"), 1) })
		redistest.WaitFor(t, "it to wait", func() error {
			sh.mu.Lock()
			defer sh.mu.Unlock()
			if e := sh.find(k); e == nil || len(e.waiting) < i+1 || at.trips.Load() < 1 {
				return errors.New("not yet")
			}
			return nil
		})
	}
	at.held <- struct{}{}
	redistest.WaitFor(t, "the second trip", func() error {
		if at.trips.Load() < 2 {
			return errors.New("not yet")
		}
		return nil
	})
	leave()
	wg.Wait()
	close(at.held)
	s.work.Wait()
	left := 0
	for {
		if _, ok := s.Try([]byte("k"), 1); !ok {
			break
		}
		left++
	}
	if left > 4 {
		t.Errorf("%d permits are at hand that nobody waits for, want at most 4", left)
	}
}

func TestUnusedPermitsAreLostWithTheirLease(t *testing.T) {
	clock := &fakeClock{}
	l := Limit{1000, time.Hour, 1000}
	m, _ := newLimits(clock.now, 4, FixedWindow, l)
	at := &memoryCounts{m: m}
	s := newSharedLimits(at, SharedConfig{Algorithm: FixedWindow, Limits: []Limit{l}, Lease: 100, LeaseTime: time.Second, MaxKeys: 128}, clock.now)
	for range 5 { // trips for 1, then 1 and 1 ahead, then 1 and 3 ahead
		_, _ = s.Take(t.Context(), []byte("k"), 1)
	}
	clock.advance(time.Second)
	if _, ok := s.Try([]byte("k"), 1); ok {
		t.Error("a permit outlived its lease")
	}
}
