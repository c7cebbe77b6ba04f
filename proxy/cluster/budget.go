package cluster

import (
	"sync"
	"sync/atomic"
	"time"
)

// RetryBudgetConfig caps retries as a share of requests. The zero value has no cap.
type RetryBudgetConfig struct {
	Ratio        float64       // retries per request within Window
	Window       time.Duration // 0: no cap
	MinPerSecond float64       // allowed besides
}

// budgetSlots is what a window is cut into.
const budgetSlots = 10

// retryBudget counts a service's requests and retries in a sliding window. That
// a whole service fails must not multiply what is sent to it: then nearly every
// request would be retried, and the cap is what keeps the sum below
// 1 + Ratio. A nil budget allows everything.
type retryBudget struct {
	ratio   float64
	reserve float64
	step    time.Duration

	mu    sync.Mutex // serialises the passage from slot to slot, and withdrawals
	slots [budgetSlots]budgetSlot

	retries   atomic.Uint64
	exhausted atomic.Uint64 // retries not made because of it
}

type budgetSlot struct {
	number            atomic.Int64 // of the step it counts
	requests, retries atomic.Int64
}

// began is when steps are counted from.
var began = time.Now()

func newRetryBudget(c RetryBudgetConfig) *retryBudget {
	if c.Window <= 0 {
		return nil
	}
	return &retryBudget{ratio: c.Ratio, reserve: c.MinPerSecond * c.Window.Seconds(), step: max(c.Window/budgetSlots, 1)}
}

// number is that of the step a time falls into; they begin with 1.
func (b *retryBudget) number(at time.Time) int64 { return int64(at.Sub(began)/b.step) + 1 }

// slot is where a step is counted, nil when that is long past.
func (b *retryBudget) slot(n int64) *budgetSlot {
	s := &b.slots[uint64(n)%budgetSlots]
	if s.number.Load() == n {
		return s
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.turn(s, n)
}

func (b *retryBudget) turn(s *budgetSlot, n int64) *budgetSlot {
	switch held := s.number.Load(); {
	case held > n:
		return nil
	case held < n:
		s.requests.Store(0)
		s.retries.Store(0)
		s.number.Store(n)
	}
	return s
}

// deposit counts a request that began at start: its own time, since a clock is
// dear and a request's age is small against the window.
func (b *retryBudget) deposit(start time.Time) {
	if b == nil {
		return
	}
	if start.IsZero() {
		start = time.Now()
	}
	if s := b.slot(b.number(start)); s != nil {
		s.requests.Add(1)
	}
}

// withdraw takes one retry and reports whether there was one left.
func (b *retryBudget) withdraw(now time.Time) bool {
	if b == nil {
		return true
	}
	n := b.number(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left(n) < 1 {
		b.exhausted.Add(1)
		return false
	}
	if s := b.turn(&b.slots[uint64(n)%budgetSlots], n); s != nil {
		s.retries.Add(1)
	}
	b.retries.Add(1)
	return true
}

// left is how many retries there are in the window that ends with step n. b.mu is
// held.
func (b *retryBudget) left(n int64) float64 {
	var requests, retries int64
	for i := range b.slots {
		if s := &b.slots[i]; s.number.Load() > n-budgetSlots {
			requests += s.requests.Load()
			retries += s.retries.Load()
		}
	}
	return b.ratio*float64(requests) + b.reserve - float64(retries)
}
