package store

import (
	"fmt"
	"time"
)

// The bounds of a Limit keep every sum of nanoseconds inside 63 bits, and the
// rounding of the interval between two requests below a thousandth.
const (
	minInterval = time.Microsecond
	maxWindow   = 366 * 24 * time.Hour
	maxDebt     = 10 * maxWindow
)

// sliceCount is how many parts of a sliding window are counted apart. The one that
// is only partly inside counts whole: the limit is never exceeded, and a steady
// client loses a thirty-second of it on average.
const sliceCount = 16

// rule is a Limit made ready to count. Its state is a few words of the caller:
//
//	gcra            when the key owes nothing any more, ns
//	fixed_window    the window's number, requests in it
//	sliding_window  the newest slice's number, requests in the last 17 slices
type rule struct {
	Limit
	algorithm Algorithm
	every     int64 // gcra: ns per request, rounded up: never more than Requests per Window, at most 0.1 % fewer
	depth     int64 // gcra: ns of debt a key may have
	span      int64 // ns of a window, or of a slice
	size      int   // words of its state
}

// rules are counted together; their states stand one after the other.
type rules []rule

func newRules(a Algorithm, limits []Limit) (rules, error) {
	if n := len(limits); n < 1 || n > MaxLimits {
		return nil, fmt.Errorf("store: %d limits: want 1 to %d", n, MaxLimits)
	}
	rs := make(rules, len(limits))
	for i, l := range limits {
		r, err := newRule(a, l)
		if err != nil {
			return nil, err
		}
		rs[i] = r
	}
	return rs, nil
}

func newRule(a Algorithm, l Limit) (rule, error) {
	r := rule{Limit: l, algorithm: a}
	switch {
	case l.Requests < 1:
		return r, fmt.Errorf("store: a limit of %d requests: want at least 1", l.Requests)
	case l.Window <= 0 || l.Window > maxWindow:
		return r, fmt.Errorf("store: a window of %v: want more than 0 and at most %v", l.Window, maxWindow)
	case l.Requests > int64(l.Window/minInterval):
		return r, fmt.Errorf("store: %d requests per %v is more than 1000000 per second, the fastest limit kept exactly",
			l.Requests, l.Window)
	}
	switch a {
	case GCRA:
		if l.Burst < 1 {
			return r, fmt.Errorf("store: a burst of %d: want at least 1", l.Burst)
		}
		r.every = (int64(l.Window) + l.Requests - 1) / l.Requests
		if l.Burst > int64(maxDebt)/r.every {
			return r, fmt.Errorf("store: a burst of %d takes more than %v to refill: lower the burst or shorten the window",
				l.Burst, maxDebt)
		}
		r.depth, r.size = r.every*l.Burst, 1
	case FixedWindow:
		r.span, r.size = int64(l.Window), 2
	case SlidingWindow:
		r.span, r.size = (int64(l.Window)+sliceCount-1)/sliceCount, 1+sliceCount+1
	default:
		return r, fmt.Errorf("store: algorithm %q: want %s, %s or %s", a, GCRA, SlidingWindow, FixedWindow)
	}
	return r, nil
}

func (rs rules) words() int {
	n := 0
	for i := range rs {
		n += rs[i].size
	}
	return n
}

// of is the part of a state that belongs to rule i. All rules of a set have the
// same algorithm.
func (rs rules) of(state []int64, i int) []int64 {
	n := rs[i].size
	return state[i*n : (i+1)*n]
}

// due is when nothing is owed any more.
func (rs rules) due(state []int64) int64 {
	due := int64(0)
	for i := range rs {
		due = max(due, rs[i].due(rs.of(state, i)))
	}
	return due
}

// worse puts into state what is owed by it or by other, whichever is more.
func (rs rules) worse(state, other []int64) {
	for i := range rs {
		rs[i].worse(rs.of(state, i), rs.of(other, i))
	}
}

// room is how many are let through now.
func (r *rule) room(state []int64, now int64) int64 {
	if r.algorithm == GCRA {
		return max(0, (r.depth-max(0, state[0]-now))/r.every)
	}
	return max(0, r.Requests-r.used(state, now))
}

// used counts the requests in the window that ends now.
func (r *rule) used(state []int64, now int64) int64 {
	at := now / r.span
	if r.algorithm == FixedWindow {
		if state[0] < at {
			return 0
		}
		return state[1]
	}
	sum := int64(0)
	for j := at - sliceCount; j <= state[0]; j++ {
		sum += r.slice(state, j)
	}
	return sum
}

// slice is the count of slice j.
func (r *rule) slice(state []int64, j int64) int64 {
	if j < 0 || j > state[0] || j < state[0]-sliceCount {
		return 0
	}
	return state[1+j%(sliceCount+1)]
}

// charge counts n more. There must be room for them.
func (r *rule) charge(state []int64, now, n int64) {
	switch r.algorithm {
	case GCRA:
		state[0] = max(now, state[0]) + n*r.every
	case FixedWindow:
		if at := now / r.span; state[0] < at {
			state[0], state[1] = at, 0
		}
		state[1] += n
	case SlidingWindow:
		at := now / r.span
		r.advance(state, at)
		state[1+at%(sliceCount+1)] += n
	}
}

// advance makes at the newest slice.
func (r *rule) advance(state []int64, at int64) {
	for j := max(state[0]+1, at-sliceCount); j <= at; j++ {
		state[1+j%(sliceCount+1)] = 0
	}
	state[0] = max(state[0], at)
}

// retry is how long n must wait, 0 if they need not. n is no more than is ever let through at once.
func (r *rule) retry(state []int64, now, n int64) int64 {
	switch r.algorithm {
	case GCRA:
		return max(0, max(0, state[0]-now)+n*r.every-r.depth)
	case FixedWindow:
		if r.used(state, now)+n <= r.Requests {
			return 0
		}
		return (max(now/r.span, state[0])+1)*r.span - now
	}
	sum := r.used(state, now)
	for j := now/r.span - sliceCount; sum+n > r.Requests && j <= state[0]; j++ {
		if sum -= r.slice(state, j); sum+n <= r.Requests {
			return (j+sliceCount+1)*r.span - now
		}
	}
	return 0
}

// full is how long until everything is there again.
func (r *rule) full(state []int64, now int64) int64 {
	if r.algorithm != GCRA && r.used(state, now) == 0 {
		return 0
	}
	return max(0, r.due(state)-now)
}

func (r *rule) due(state []int64) int64 {
	switch r.algorithm {
	case GCRA:
		return state[0]
	case FixedWindow:
		if state[1] == 0 {
			return 0
		}
		return (state[0] + 1) * r.span
	}
	for j := state[0]; j >= state[0]-sliceCount; j-- {
		if r.slice(state, j) > 0 {
			return (j + sliceCount + 1) * r.span
		}
	}
	return 0
}

func (r *rule) worse(state, other []int64) {
	switch r.algorithm {
	case GCRA:
		state[0] = max(state[0], other[0])
	case FixedWindow:
		switch {
		case other[0] > state[0]:
			copy(state, other)
		case other[0] == state[0]:
			state[1] = max(state[1], other[1])
		}
	case SlidingWindow:
		r.advance(state, other[0])
		for j := state[0] - sliceCount; j <= other[0]; j++ {
			if n := r.slice(other, j); n > 0 {
				state[1+j%(sliceCount+1)] = max(r.slice(state, j), n)
			}
		}
	}
}
