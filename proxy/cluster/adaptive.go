package cluster

import (
	"math"
	"math/rand/v2"
	"time"
)

// An adaptive limit looks at the latency of what it lets pass, window by window,
// and compares it with the latency that the service has without a queue: the
// gradient of the two is by how much the limit is too high. It is what Envoy and
// Netflix's concurrency-limits do (there: Gradient), with these differences:
// means are compared with means, so that a service with slow and fast paths is
// not measured by its fast ones; and to measure the latency without a queue the
// limit is halved for a window now and then, since under load a minimum taken
// over the past would creep up with the load itself.
const (
	adaptStart     = 10
	adaptWindow    = 100 * time.Millisecond
	adaptLongest   = time.Second // a window with too few answers lasts up to so long
	adaptSamples   = 10          // answers a window must have
	adaptProbe     = 20 * time.Second
	adaptTolerance = 1.15 // latency may be so much above the base before it counts
	adaptSteepest  = 0.5  // most that one window takes off the limit
	adaptLost      = 0.9  // what is left of the limit after a window with timeouts
	adaptSmooth    = 0.3  // weight of a window's word
)

// adaptive is the limit that finds itself. It is not safe for concurrent use.
type adaptive struct {
	min, max float64
	now      float64 // the limit

	base    float64   // mean latency without a queue, ns; 0 unknown
	probe   time.Time // when it is to be measured again
	probing bool      // the limit is halved for that
	settled bool      // what was sent before the halving has been answered

	began time.Time // of the window
	sum   float64
	n     int
	most  int  // exchanges in progress at most
	lost  bool // some were not answered in time

	draw func(n int64) int64 // a random number below n
}

func newAdaptive(least, most int) *adaptive {
	a := &adaptive{min: float64(max(least, 1)), max: float64(most), draw: rand.Int64N}
	a.now = a.within(adaptStart)
	return a
}

func (a *adaptive) within(v float64) float64 { return max(a.min, min(v, a.max)) }

// limit is what is allowed at present.
func (a *adaptive) limit() int {
	if a.probing {
		return int(max(a.now/2, a.min))
	}
	return int(a.now)
}

// observe takes one answer and reports whether the limit may have changed.
func (a *adaptive) observe(now time.Time, took time.Duration, busy int, lost bool) bool {
	if a.began.IsZero() {
		a.began, a.probe = now, now.Add(adaptLongest) // what is seen first may be a queue already
	}
	a.most = max(a.most, busy)
	if lost {
		a.lost = true
	} else {
		a.sum += float64(took)
		a.n++
	}
	age := now.Sub(a.began)
	if age < adaptWindow || a.n < adaptSamples && age < adaptLongest {
		return false
	}
	a.close(now)
	return true
}

func (a *adaptive) close(now time.Time) {
	n, most, lost := a.n, a.most, a.lost
	mean := a.sum / max(float64(n), 1)
	a.began, a.sum, a.n, a.most, a.lost = now, 0, 0, 0, false
	switch {
	case lost:
		a.now, a.probing = a.within(a.now*adaptLost), false
		return
	case n == 0:
		return
	case a.probing && !a.settled:
		a.settled = true
		return
	case a.probing:
		a.base, a.probing, a.probe = mean, false, now.Add(a.later())
		return
	case a.base == 0 || mean < a.base:
		a.base = mean
	}
	if now.After(a.probe) {
		a.probing, a.settled = true, false
		return
	}
	gradient := max(adaptSteepest, min(1, adaptTolerance*a.base/mean))
	next := (1-adaptSmooth)*a.now + adaptSmooth*(gradient*a.now+math.Sqrt(a.now))
	if float64(most) < a.now/2 {
		next = min(next, a.now) // whether more would do has not been tried
	}
	a.now = a.within(next)
}

// later is when to probe next: not at once in every process.
func (a *adaptive) later() time.Duration {
	return adaptProbe/2 + time.Duration(a.draw(int64(adaptProbe)))
}
