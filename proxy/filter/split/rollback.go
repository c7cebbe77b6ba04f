package split

import (
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// State is what is known of how a route's sides do. It outlives tables as long
// as neither the split nor its services are configured anew.
type State struct {
	cfg    Rollback
	route  string
	stable string
	log    *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	sides  map[string]*watch
	looked time.Time
	times  atomic.Uint64 // rollbacks
}

// watch is one side.
type watch struct {
	down atomic.Pointer[verdict] // nil while it has its weight
	seen window
	log  func(string, ...any)

	state *State
}

// verdict is why a side has lost its weight.
type verdict struct {
	why   string
	at    time.Time
	until time.Time // zero: for good
}

// NewState begins to watch. The first side is the stable one.
func NewState(cfg Rollback, route string, sides []Side, log *slog.Logger) *State {
	s := &State{cfg: cfg, route: route, stable: sides[0].Name, log: log, now: time.Now, sides: map[string]*watch{}}
	for _, side := range sides {
		s.sides[side.Name] = &watch{state: s, log: func(msg string, args ...any) {
			log.Warn(msg, append([]any{"route", route, "side", side.Name}, args...)...)
		}}
	}
	return s
}

func (s *State) of(side string) *watch { return s.sides[side] }

// rolledBack says why the side has no weight now, "" when it has.
func (w *watch) rolledBack() string {
	if w == nil {
		return ""
	}
	v := w.down.Load()
	if v == nil {
		return ""
	}
	if !v.until.IsZero() && !w.state.now().Before(v.until) {
		if w.down.CompareAndSwap(v, nil) {
			w.log("split: a side that was rolled back gets its weight again (rollback.retry_after)")
		}
		return ""
	}
	return v.why
}

// record notes an answer, and now and then compares.
func (s *State) record(side string, failed bool, took time.Duration) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.sides[side]
	if w == nil || w.down.Load() != nil {
		return // it answers who came before
	}
	w.seen.add(now, s.cfg.Window, failed, took)
	if side == s.stable || now.Sub(s.looked) < max(s.cfg.Window/500, time.Millisecond) {
		return
	}
	s.looked = now
	stable := s.sides[s.stable].seen.sum(now, s.cfg.Window)
	why := s.cfg.worse(w.seen.sum(now, s.cfg.Window), stable)
	if why == "" {
		return
	}
	v := &verdict{why: why, at: now}
	if s.cfg.RetryAfter > 0 {
		v.until = now.Add(s.cfg.RetryAfter)
	}
	w.seen = window{}
	w.down.Store(v)
	s.times.Add(1)
	s.log.Error("split: a side does worse than the stable one and is rolled back: it has no weight any more",
		"route", s.route, "side", side, "stable", s.stable, "reason", why, "retry_after", s.cfg.RetryAfter)
}

// surely is how many standard deviations a difference must be beyond the margin.
// The comparison is repeated for as long as the process runs, so the usual 2
// would find something every day.
const surely = 4

// worse says in what the canary is worse by more than the margins, "" if
// nothing can be said for sure.
func (r *Rollback) worse(canary, stable sums) string {
	n1, n0 := float64(canary.n), float64(stable.n)
	if canary.n < r.MinRequests || stable.n < r.MinRequests {
		return ""
	}
	e1, e0 := float64(canary.failed), float64(stable.failed)
	// One more of each outcome keeps the deviation from being 0 where nothing
	// failed yet.
	p1, p0 := (e1+1)/(n1+2), (e0+1)/(n0+2)
	if sd := math.Sqrt(p1*(1-p1)/n1 + p0*(1-p0)/n0); r.ErrorMargin < 1 && e1/n1-e0/n0-r.ErrorMargin > surely*sd {
		return fmt.Sprintf("%.1f%% of %d requests failed, of the stable side's %d %.1f%%", 100*e1/n1, canary.n, stable.n, 100*e0/n0)
	}
	if r.LatencyMargin <= 0 {
		return ""
	}
	for _, q := range [...]float64{0.5, 0.9} {
		was := stable.quantile(q)
		limit := max(time.Duration(float64(was)*(1+r.LatencyMargin)), was+r.LatencyFloor)
		slow, timed := canary.slower(limit)
		if timed < float64(r.MinRequests) || stable.timed() < float64(r.MinRequests) {
			continue
		}
		// If it were no slower than allowed, a part 1-q would be beyond limit. The
		// stable side's quantile is itself only known so well.
		sd := math.Sqrt(q * (1 - q) * (1/timed + 1/stable.timed()))
		if slow/timed-(1-q) > surely*sd {
			return fmt.Sprintf("its answers take longer: %.0f%% quantile %v, the stable side's %v", 100*q, canary.quantile(q).Round(time.Millisecond/10), was.Round(time.Millisecond/10))
		}
	}
	return ""
}
