package pipe

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// The level of shedding is how many in a thousand are turned away: of the
// sheddable up to 1000, and from there of the default ones too. Some of those
// are always taken: if the machine is full of something else, turning all away
// would not help.
const (
	shedAll  = 1000
	shedMost = shedAll + 950
	shedUp   = 100 // per interval with too much delay
	shedDown = 50  // per interval without
	shedLook = 10  // looks at the delay per interval
)

// Shedder turns requests away when the machine is full, the least important
// first. That it is full it sees by how late work starts, as CoDel does of a
// queue: when the delay was too long all through an interval, which a burst does
// not make it. It is shared by the pipes of a process. A nil Shedder lets all in.
type Shedder struct {
	Delay    time.Duration
	Interval time.Duration
	Measure  func() time.Duration // how late work starts now, besides goroutines; nil: nothing besides
	Log      *slog.Logger

	level   atomic.Int64
	delayed atomic.Int64                                              // the last interval's least delay, ns
	shed    [exchange.Sheddable - exchange.Critical + 1]atomic.Uint64 // by priority
}

// Admit reports whether an exchange of priority p is taken.
func (s *Shedder) Admit(p exchange.Priority) bool {
	if s == nil {
		return true
	}
	level := s.level.Load()
	if level == 0 || p == exchange.Critical {
		return true
	}
	if p == exchange.Default {
		level -= shedAll
	}
	if level <= 0 || rand.Int64N(shedAll) >= level {
		return true
	}
	s.shed[p-exchange.Critical].Add(1)
	return false
}

// Level is the share that is turned away: up to 1 of the sheddable, up to 2 with
// the default ones.
func (s *Shedder) Level() float64 { return float64(s.level.Load()) / shedAll }

// LastDelay is how late work started at least, in the last interval.
func (s *Shedder) LastDelay() time.Duration { return time.Duration(s.delayed.Load()) }

// Shed is how many of a priority have been turned away.
func (s *Shedder) Shed(p exchange.Priority) uint64 { return s.shed[p-exchange.Critical].Load() }

// Run measures and decides until ctx ends.
func (s *Shedder) Run(ctx context.Context) {
	step := s.Interval / shedLook
	tick := time.NewTimer(step)
	defer tick.Stop()
	for {
		least := time.Duration(1<<63 - 1)
		for range shedLook {
			from := time.Now()
			tick.Reset(step)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			late := time.Since(from) - step
			if s.Measure != nil {
				late = max(late, s.Measure())
			}
			least = min(least, late)
		}
		s.decide(least)
	}
}

// decide takes the least delay of an interval.
func (s *Shedder) decide(least time.Duration) {
	s.delayed.Store(int64(max(least, 0)))
	level := s.level.Load()
	next := max(level-shedDown, 0)
	if least > s.Delay {
		next = min(level+shedUp, shedMost)
	}
	s.level.Store(next)
	switch {
	case level == 0 && next > 0:
		s.Log.Warn("overload: the machine is full, sheddable requests are turned away", "delay", least, "limit", s.Delay)
	case level <= shedAll && next > shedAll:
		s.Log.Error("overload: the machine is full, requests of default priority are turned away too", "delay", least, "limit", s.Delay)
	case level > 0 && next == 0:
		s.Log.Info("overload: over, all requests are taken again", "delay", least)
	}
}

func shedFault() *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable, Code: "overloaded",
		Title: "Too much to do", Detail: "this machine is full, and requests of this priority are turned away", RetryAfter: time.Second}
}
