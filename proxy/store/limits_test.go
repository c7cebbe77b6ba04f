package store

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type fakeClock struct{ ns atomic.Int64 }

func (c *fakeClock) now() int64              { return c.ns.Load() }
func (c *fakeClock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func TestALimitNoOneCanKeepIsRefused(t *testing.T) {
	for name, l := range map[string]Limit{
		"no requests":    {0, time.Second, 1},
		"no window":      {1, 0, 1},
		"endless window": {1, maxWindow + 1, 1},
		"no burst":       {1, time.Second, 0},
		"too fast":       {1_000_001, time.Second, 1},
		"endless refill": {1, maxWindow, 1 << 40},
	} {
		if _, err := NewLimits(1, GCRA, l); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewLimits(0, GCRA, Limit{1, time.Second, 1}); err == nil {
		t.Error("no keys: accepted")
	}
}

// In every stretch between two admissions, no more than burst + rate·t.
func TestNoStretchOfTimeAdmitsMoreThanBurstAndRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		l := Limit{1 + rng.Int64N(50), time.Duration(1 + rng.Int64N(int64(time.Minute))), 1 + rng.Int64N(40)}
		clock := &fakeClock{}
		m, err := newLimits(clock.now, 4, GCRA, l)
		if err != nil {
			continue // too fast
		}
		var admitted []int64
		for range 400 {
			clock.advance(time.Duration(rng.Int64N(int64(l.Window)/l.Requests*2 + 1)))
			if rng.IntN(20) == 0 {
				clock.advance(l.Window)
			}
			now := clock.now()
			got := m.Take([]byte("k"), 1)
			if got.OK {
				admitted = append(admitted, now)
			}
			if q := got.Each[0]; q.Remaining > 0 != (q.Retry == 0) {
				t.Fatalf("%+v: %d remaining but retry in %v", l, q.Remaining, q.Retry)
			}
		}
		for i := range admitted {
			for j := i; j < len(admitted); j++ {
				// n ≤ burst + t·requests/window, in whole numbers
				n, span := int64(j-i+1), admitted[j]-admitted[i]
				if (n-l.Burst)*int64(l.Window) > span*l.Requests {
					t.Fatalf("%+v: %d admitted within %v", l, n, time.Duration(span))
				}
			}
		}
	}
}

func TestRetryIsExactlyWhenTheNextIsLetThrough(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		l := Limit{1 + rng.Int64N(1000), time.Duration(1e6 + rng.Int64N(int64(time.Hour))), 1 + rng.Int64N(100)}
		clock := &fakeClock{}
		m, err := newLimits(clock.now, 4, GCRA, l)
		if err != nil {
			continue
		}
		got := m.Take([]byte("k"), 1)
		for range l.Burst * 2 {
			if !got.OK {
				break
			}
			clock.advance(time.Duration(rng.Int64N(int64(l.Window)/l.Requests/4 + 1)))
			got = m.Take([]byte("k"), 1)
		}
		if got.OK {
			continue
		}
		clock.advance(got.Retry - 1)
		if m.Take([]byte("k"), 1).OK {
			t.Fatalf("%+v: let through before the time it named", l)
		}
		clock.advance(1)
		if !m.Take([]byte("k"), 1).OK {
			t.Fatalf("%+v: not let through at the time it named", l)
		}
	}
}

func TestRemainingIsWhatIsThenLetThrough(t *testing.T) {
	clock := &fakeClock{}
	m, _ := newLimits(clock.now, 4, GCRA, Limit{10, time.Second, 5})
	for want := int64(4); want >= 0; want-- {
		if got := m.Take([]byte("k"), 1); !got.OK || got.Each[0].Remaining != want {
			t.Fatalf("got %+v, want %d remaining", got, want)
		}
	}
	got := m.Take([]byte("k"), 1)
	if got.OK || got.Retry != 100*time.Millisecond || got.Each[0].Full != 500*time.Millisecond {
		t.Fatalf("got %+v", got)
	}
}

func TestConcurrentTakersShareOneQuota(t *testing.T) {
	clock := &fakeClock{}
	m, _ := newLimits(clock.now, 1000, GCRA, Limit{100, time.Minute, 100})
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				if m.Take([]byte("one"), 1).OK {
					admitted.Add(1)
				}
				clock.advance(time.Millisecond)
			}
		})
	}
	wg.Wait()
	// 4 s went by: 100 at once, and 4 s of 100 per minute
	if n := admitted.Load(); n < 100 || n > 106 {
		t.Fatalf("%d admitted, want 100 to 106", n)
	}
}

func TestWholeKeysAreForgottenAsTimePasses(t *testing.T) {
	clock := &fakeClock{}
	m, _ := newLimits(clock.now, 100_000, GCRA, Limit{10, time.Second, 10})
	for i := range 10_000 {
		m.Take(binary.BigEndian.AppendUint64(nil, uint64(i)), 1)
	}
	if n := m.Keys(); n != 10_000 {
		t.Fatalf("%d keys, want 10000", n)
	}
	clock.advance(time.Second)
	for i := range 40_000 {
		m.Take(binary.BigEndian.AppendUint64(nil, uint64(i%1000)), 1)
	}
	if n := m.Keys(); n > 1000 {
		t.Fatalf("%d keys still remembered, want the 1000 in use", n)
	}
}

// A flood of other keys must neither grow memory past the bound nor give a hot
// key its burst back, even when the flood is hotter than the table is large.
func TestAFloodOfKeysNeverOpensAHotKey(t *testing.T) {
	for _, maxKeys := range []int{1, 16, 64, 1024} {
		clock := &fakeClock{}
		m, _ := newLimits(clock.now, maxKeys, GCRA, Limit{10, time.Minute, 10})
		hot := 0
		for i := range 50_000 {
			if m.Take([]byte("hot"), 1).OK {
				hot++
			}
			m.Take(binary.BigEndian.AppendUint64(nil, uint64(i/2)), 1)
			clock.advance(time.Millisecond)
		}
		// 50 s at 10 per minute, and the burst
		if hot > 10+9 {
			t.Errorf("%d keys: hot key let through %d times in 50 s, want at most 19", maxKeys, hot)
		}
		if n := m.Keys(); n > maxKeys {
			t.Errorf("%d keys held, want at most %d", n, maxKeys)
		}
	}
}

func TestEveryKeyKeepsItsLimitUnderEviction(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	clock := &fakeClock{}
	l := Limit{5, time.Second, 3}
	m, _ := newLimits(clock.now, 20, GCRA, l)
	admitted := map[uint64][]int64{}
	for range 100_000 {
		k := uint64(rng.ExpFloat64() * 30)
		if m.Take(binary.BigEndian.AppendUint64(nil, k), 1).OK {
			admitted[k] = append(admitted[k], clock.now())
		}
		clock.advance(time.Duration(rng.Int64N(int64(2 * time.Millisecond))))
	}
	for k, at := range admitted {
		for i := range at {
			for j := i; j < min(len(at), i+30); j++ {
				n, span := int64(j-i+1), at[j]-at[i]
				if (n-l.Burst)*int64(l.Window) > span*l.Requests {
					t.Fatalf("key %d: %d admitted within %v", k, n, time.Duration(span))
				}
			}
		}
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	m, _ := NewLimits(1000, GCRA, Limit{1000, time.Second, 1000})
	key := []byte("an address")
	m.Take(key, 1)
	if n := testing.AllocsPerRun(1000, func() { m.Take(key, 1) }); n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

func BenchmarkTake(b *testing.B) {
	m, _ := NewLimits(1_000_000, GCRA, Limit{1000, time.Second, 1000})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var key [8]byte
		i := rand.Uint64()
		for pb.Next() {
			i++
			binary.BigEndian.PutUint64(key[:], i%100_000)
			m.Take(key[:], 1)
		}
	})
}
