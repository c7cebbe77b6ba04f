package cluster

import (
	"math"
	"sync/atomic"
	"time"
)

// ewmaDecay is over which time an endpoint's latency is forgotten: a slow one
// that is left alone is tried again some tens of seconds later.
const ewmaDecay = 10 * time.Second

// failureCost is what a failed attempt counts as, at least: an endpoint that
// fails fast must not look like a fast one.
const failureCost = time.Second

// peakEWMA draws two members, each as likely as its weight says, and takes the
// one where an answer is to be expected sooner: its latency of late, times the
// requests in flight there and this one. Latency is an exponentially weighted
// moving average that follows a rise at once and a fall slowly.
type peakEWMA struct{}

func (peakEWMA) pick(l *lineup, _ uint64, avoid *tried) *member {
	now := clock()
	return ofTwo(l, avoid, func(i int) float64 { return l.members[i].expected(now, l.mean/l.weight(i)) })
}

// expected is for how long a request would wait, in nanoseconds; per is how many
// of the requests in flight count as one. Nobody has measured a new member: it
// gets one request at a time until somebody has.
func (v *vitals) expected(now int64, per float64) float64 {
	busy := float64(v.busy.Load())
	cost := v.cost.at(now)
	if cost == 0 && busy > 0 {
		return math.MaxFloat64 / 2
	}
	return cost * (1 + busy*per)
}

// latency is a peak-sensitive moving average. Two exchanges that end at once may
// lose one of two observations, which does no harm.
type latency struct {
	nanos atomic.Uint64 // float64
	stamp atomic.Int64  // of clock, when it was last changed
}

// at is the average at a time of clock: it fades while nothing is observed.
func (e *latency) at(now int64) float64 {
	v := math.Float64frombits(e.nanos.Load())
	if age := now - e.stamp.Load(); age > int64(ewmaDecay/100) && v > 0 { // no need of Exp before
		v *= math.Exp(-float64(age) / float64(ewmaDecay))
	}
	return v
}

func (e *latency) observe(d time.Duration, now int64) {
	was, seen := math.Float64frombits(e.nanos.Load()), float64(max(d, 1))
	if seen < was {
		share := math.Exp(-float64(max(now-e.stamp.Load(), 0)) / float64(ewmaDecay))
		seen = was*share + seen*(1-share)
	}
	e.nanos.Store(math.Float64bits(seen))
	e.stamp.Store(now)
}

var epoch = time.Now()

// clock is monotonic time in nanoseconds.
func clock() int64 { return int64(time.Since(epoch)) }
