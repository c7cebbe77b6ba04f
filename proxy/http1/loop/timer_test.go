//go:build linux

package loop

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The wheel against a list: every timer comes by at its tick, none is lost, and
// next never promises less than there is.
func TestWheelAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := &wheel{now: rnd.Int64N(1 << 30)}
		model := map[*Timer]int64{}
		var all []*Timer
		due := func(tm *Timer) {
			if want, ok := model[tm]; !ok || want != w.now {
				t.Fatalf("seed %d: a timer for tick %d (known: %v) came at %d", seed, want, ok, w.now)
			}
			delete(model, tm)
		}
		for range 3000 {
			switch rnd.IntN(4) {
			case 0, 1:
				tm := &Timer{}
				// All levels: 1 to 2^30 ticks ahead.
				tick := w.now + 1 + rnd.Int64N(1<<rnd.IntN(31))
				w.add(tm, tick)
				model[tm] = tick
				all = append(all, tm)
			case 2:
				if len(all) > 0 {
					i := rnd.IntN(len(all))
					w.remove(all[i])
					delete(model, all[i])
					all = slices.Delete(all, i, i+1)
				}
			case 3:
				first := int64(-1)
				for _, tick := range model {
					if first < 0 || tick < first {
						first = tick
					}
				}
				next, any := w.next()
				if any != (first >= 0) || any && (next > first || next <= w.now) {
					t.Fatalf("seed %d: at %d next says %d, %v; the first timer is for %d", seed, w.now, next, any, first)
				}
				to := w.now + rnd.Int64N(1<<rnd.IntN(18))
				w.advance(to, due)
				if w.now != to {
					t.Fatalf("seed %d: advanced to %d, not %d", seed, w.now, to)
				}
			}
			if w.count != len(model) {
				t.Fatalf("seed %d: %d timers are linked, want %d", seed, w.count, len(model))
			}
		}
		for _, tick := range model {
			if tick <= w.now {
				t.Fatalf("seed %d: a timer for tick %d is left at %d", seed, tick, w.now)
			}
		}
	}
}

// Timers fire in order, not before their time, and what was stopped or moved
// does not.
func TestTimers(t *testing.T) {
	g := newGroup(t, 1)
	l := g.Loops()[0]
	type fired struct {
		ms    int
		early time.Duration
	}
	ch := make(chan fired, 100)
	all := []int{50, 3, 400, 1, 20, 20, 7, 300, 0, 120}
	l.Post(func() {
		begin := l.Now()
		for _, ms := range all {
			d := time.Duration(ms) * time.Millisecond
			l.After(d, func() { ch <- fired{ms, d - l.Now().Sub(begin)} })
		}
		stopped := l.After(10*time.Millisecond, func() { t.Error("a stopped timer fired") })
		if !stopped.Stop() || stopped.Stop() {
			t.Error("Stop reports the wrong thing")
		}
		moved := l.NewTimer(func() { ch <- fired{ms: 200} })
		moved.Reset(5 * time.Millisecond)
		moved.Reset(200 * time.Millisecond) // later: left where it is in the wheel
		sooner := l.After(time.Hour, func() { ch <- fired{ms: 150} })
		sooner.Reset(150 * time.Millisecond)
	})
	var got []int
	for range len(all) + 2 {
		f := within(t, "a timer", ch)
		if f.early > 0 {
			t.Errorf("the timer for %d ms fired %s early", f.ms, f.early)
		}
		got = append(got, f.ms)
	}
	if !slices.IsSorted(got) {
		t.Errorf("timers fired in the order %v", got)
	}
}

func TestTimerResetAllocatesNothing(t *testing.T) {
	g := newGroup(t, 1)
	l := g.Loops()[0]
	n := look(t, l, func() float64 {
		tm := l.NewTimer(func() {})
		return testing.AllocsPerRun(1000, func() {
			tm.Reset(time.Second)
			tm.Reset(time.Millisecond)
			tm.Stop()
		})
	})
	if n != 0 {
		t.Errorf("Reset allocates %v times", n)
	}
}

// A timer that is dropped is forgotten at once, not when its time has come.
func TestDroppedTimerIsForgotten(t *testing.T) {
	l := newGroup(t, 1).Loops()[0]
	if n := look(t, l, func() int {
		before := l.wheel.count
		timer := l.After(time.Hour, func() { t.Error("it rings") })
		timer.Reset(time.Millisecond)
		timer.Drop()
		timer.Drop()
		return l.wheel.count - before
	}); n != 0 {
		t.Errorf("%d timers are kept", n)
	}
}
