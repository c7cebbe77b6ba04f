package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var algorithms = []Algorithm{GCRA, SlidingWindow, FixedWindow}

// passed is one decision that let something through.
type passed struct {
	at, cost int64
}

// exceeds says where admissions broke what an algorithm promises of a limit,
// with extra let through besides.
func exceeds(a Algorithm, l Limit, admitted []passed, extra int64) error {
	for i := range admitted {
		sum := int64(0)
		for j := i; j < len(admitted); j++ {
			sum += admitted[j].cost
			span := admitted[j].at - admitted[i].at
			over := false
			switch a {
			case GCRA: // n ≤ burst + t·requests/window, in whole numbers
				over = (sum-extra-l.Burst)*int64(l.Window) > span*l.Requests
			case SlidingWindow:
				if span >= int64(l.Window) {
					j = len(admitted)
					continue
				}
				over = sum > l.Requests+extra
			case FixedWindow:
				if admitted[j].at/int64(l.Window) != admitted[i].at/int64(l.Window) {
					j = len(admitted)
					continue
				}
				over = sum > l.Requests+extra
			}
			if over {
				return fmt.Errorf("%s %+v: %d let through within %v", a, l, sum, time.Duration(span))
			}
		}
	}
	return nil
}

func randomLimits(rng *rand.Rand) []Limit {
	out := make([]Limit, 1+rng.IntN(3))
	for i := range out {
		out[i] = Limit{5 + rng.Int64N(60), time.Duration(1e6 + rng.Int64N(int64(time.Minute))), 5 + rng.Int64N(40)}
	}
	return out
}

// Whatever the algorithm, costs and schedule: every limit holds, what is
// refused costs nothing, and the time named is the first at which it passes.
func TestSeveralLimitsHoldAtOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, a := range algorithms {
		for range 150 {
			limits := randomLimits(rng)
			clock := &fakeClock{}
			clock.ns.Store(1.7e18 + rng.Int64N(1e15))
			m, err := newLimits(clock.now, 4, a, limits...)
			if err != nil {
				t.Fatal(err)
			}
			var admitted []passed
			for range 300 {
				l := limits[rng.IntN(len(limits))]
				clock.advance(time.Duration(rng.Int64N(int64(l.Window)/l.Requests*2 + 1)))
				if rng.IntN(25) == 0 {
					clock.advance(l.Window)
				}
				cost := 1 + rng.Int64N(4)
				got := m.Take([]byte("k"), cost)
				if got.OK {
					admitted = append(admitted, passed{clock.now(), cost})
					continue
				}
				if got.Retry <= 0 {
					t.Fatalf("%s %+v: refused with retry in %v", a, limits, got.Retry)
				}
				if again := m.Take([]byte("k"), cost); again != got {
					t.Fatalf("%s: a refusal changed the counts: %+v, then %+v", a, got, again)
				}
				clock.advance(got.Retry - 1)
				if m.Take([]byte("k"), cost).OK {
					t.Fatalf("%s %+v: let through before the time it named", a, limits)
				}
				clock.advance(1)
				if again := m.Take([]byte("k"), cost); !again.OK {
					t.Fatalf("%s %+v: not let through at the time it named: %+v", a, limits, again)
				}
				admitted = append(admitted, passed{clock.now(), cost})
			}
			for _, l := range limits {
				if err := exceeds(a, l, admitted, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestARefusalByOneLimitTakesNothingFromAnother(t *testing.T) {
	for _, a := range algorithms {
		clock := &fakeClock{}
		m, _ := newLimits(clock.now, 4, a, Limit{2, time.Second, 2}, Limit{100, time.Hour, 100})
		for range 50 {
			m.Take([]byte("k"), 1)
		}
		got := m.Take([]byte("k"), 1)
		if got.OK || got.By != 0 || got.Each[0].Remaining != 0 || got.Each[1].Remaining != 98 {
			t.Errorf("%s: %+v, want refused by the first, with 98 left of the second", a, got)
		}
	}
}

func TestAWindowGivesBackWhatItPromises(t *testing.T) {
	for _, c := range []struct {
		a      Algorithm
		at     time.Duration // of the last of ten requests
		retry  time.Duration
		within time.Duration // after retry this much is there again
		n      int64
	}{
		{FixedWindow, 50 * time.Second, 10 * time.Second, 0, 10},
		{SlidingWindow, 0, 60*time.Second + 3750*time.Millisecond, 0, 10},
		{SlidingWindow, 3 * time.Second, 60*time.Second + 750*time.Millisecond, 0, 10},
	} {
		clock := &fakeClock{}
		clock.advance(c.at)
		m, _ := newLimits(clock.now, 4, c.a, Limit{Requests: 10, Window: time.Minute})
		for range 10 {
			m.Take([]byte("k"), 1)
		}
		got := m.Take([]byte("k"), 1)
		if got.OK || got.Retry != c.retry || got.Each[0].Full != c.retry {
			t.Errorf("%s: %+v, want retry in %v", c.a, got, c.retry)
		}
		clock.advance(got.Retry)
		if got := m.Take([]byte("k"), c.n); !got.OK {
			t.Errorf("%s: %d not let through after %v", c.a, c.n, c.retry)
		}
	}
}

func TestEveryAlgorithmKeepsItsLimitUnderEviction(t *testing.T) {
	for _, a := range algorithms {
		rng := rand.New(rand.NewPCG(9, 10))
		clock := &fakeClock{}
		limits := []Limit{{5, time.Second, 3}, {8, 3 * time.Second, 8}}
		m, _ := newLimits(clock.now, 20, a, limits...)
		admitted := map[uint64][]passed{}
		for range 30_000 {
			k := uint64(rng.ExpFloat64() * 30)
			if m.Take(binary.BigEndian.AppendUint64(nil, k), 1).OK {
				admitted[k] = append(admitted[k], passed{clock.now(), 1})
			}
			clock.advance(time.Duration(rng.Int64N(int64(2 * time.Millisecond))))
		}
		total := 0
		for k, list := range admitted {
			total += len(list)
			for _, l := range limits {
				if err := exceeds(a, l, list, 0); err != nil {
					t.Fatalf("key %d: %v", k, err)
				}
			}
		}
		if total < 100 {
			t.Errorf("%s: %d let through altogether: the test shows nothing", a, total)
		}
		if n := m.Keys(); n > 20 {
			t.Errorf("%s: %d keys held, want at most 20", a, n)
		}
	}
}

func TestSeveralLimitsAllocateNothing(t *testing.T) {
	for _, a := range algorithms {
		m, err := NewLimits(1000, a, Limit{1000, time.Second, 1000}, Limit{60_000, time.Minute, 1000}, Limit{1e6, time.Hour, 1000})
		if err != nil {
			t.Fatal(err)
		}
		key := []byte("an address")
		m.Take(key, 1)
		if n := testing.AllocsPerRun(1000, func() { m.Take(key, 1) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", a, n)
		}
	}
}

func BenchmarkTakeOfThreeWindows(b *testing.B) {
	for _, a := range algorithms {
		b.Run(string(a), func(b *testing.B) {
			m, _ := NewLimits(1000, a, Limit{1e6, time.Second, 1e6}, Limit{6e7, time.Minute, 1e6}, Limit{1e9, time.Hour, 1e6})
			key := []byte("an address")
			b.ReportAllocs()
			for b.Loop() {
				m.Take(key, 1)
			}
		})
	}
}
