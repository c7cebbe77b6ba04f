package cluster

import (
	"math"
	"sync/atomic"
	"time"
)

// quantile follows one quantile of a stream of durations that changes with time.
// Each observation moves the estimate by a part of itself: up when it is above,
// down when it is below, in the proportion in which these must be for the
// estimate to stay. What was only seen to take longer than the estimate may
// therefore be observed too, with the time that it had taken by then.
type quantile struct {
	q float64

	seen  atomic.Uint32 // up to quantileLearns
	nanos atomic.Uint64 // float64
}

const (
	// quantileLearns is how many observations are needed before there is a value.
	quantileLearns = 100
	// quantileStep is the largest move: 5 % up for a quantile near 1. The estimate
	// of the 95 % quantile then varies by about a tenth, and follows a change by a
	// factor of ten within some 50 observations up and 1,000 down.
	quantileStep = 0.05
)

// observe takes one duration. Of two calls at once one may get lost.
func (e *quantile) observe(d time.Duration) {
	v, n := float64(max(d, 1)), e.seen.Load()
	if n < quantileLearns {
		e.seen.CompareAndSwap(n, n+1)
	}
	at := math.Float64frombits(e.nanos.Load())
	step := max(quantileStep, 1/(1+float64(n)/4)) // larger ones while it learns
	switch {
	case at == 0:
		at = v
	case v > at:
		at *= 1 + step*e.q
	default:
		at *= 1 - step*(1-e.q)
	}
	e.nanos.Store(math.Float64bits(at))
}

// value is the estimate, 0 as long as there is none.
func (e *quantile) value() time.Duration {
	if e.seen.Load() < quantileLearns {
		return 0
	}
	return time.Duration(math.Float64frombits(e.nanos.Load()))
}
