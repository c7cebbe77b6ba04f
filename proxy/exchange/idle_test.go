package exchange

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestIdleEndsWhatIsNotUsed(t *testing.T) {
	ended := make(chan time.Time, 2)
	began := time.Now()
	i := NewIdle(30*time.Millisecond, func() { ended <- time.Now() })
	if d := (<-ended).Sub(began); d < 30*time.Millisecond {
		t.Errorf("ended after %s", d)
	}
	if !i.Stop() {
		t.Error("it does not say that it has ended")
	}
	if len(ended) > 0 {
		t.Error("ended twice")
	}
}

func TestIdleIsPutOffByUse(t *testing.T) {
	var ended atomic.Bool
	i := NewIdle(time.Hour, func() { ended.Store(true) })
	i.last.Add(int64(-59 * time.Minute))
	i.look() // as the timer does
	i.last.Add(int64(-2 * time.Minute))
	i.Touch()
	if i.look(); ended.Load() || i.Stop() {
		t.Error("it ended what was in use")
	}
	i.last.Add(int64(-time.Hour))
	if i.look(); !ended.Load() || !i.Stop() {
		t.Error("it did not end what was not")
	}
}

func TestNoIdleHasNoLimit(t *testing.T) {
	i := NewIdle(0, func() { t.Error("ended") })
	i.Touch()
	if i != nil || i.Stop() {
		t.Error("0 is a limit")
	}
}
