package cluster

import "time"

// Resilience is what the admin API and the metrics know of a cluster's budgets
// and limits.
type Resilience struct {
	Retries     RetryStatus  `json:"retries"`
	Hedges      HedgeStatus  `json:"hedges,omitzero"`
	Concurrency *LimitStatus `json:"concurrency,omitempty"`
}

// RetryStatus counts what the retry budget decided.
type RetryStatus struct {
	Made      uint64 `json:"made"`
	Exhausted uint64 `json:"budget_exhausted"` // not made for want of budget
}

// HedgeStatus counts second attempts by what became of them.
type HedgeStatus struct {
	Won     uint64 `json:"won"`     // its answer was the first good one
	Lost    uint64 `json:"lost"`    // the first attempt was answered after all
	Failed  uint64 `json:"failed"`  // it got no good answer
	Refused uint64 `json:"refused"` // not made: nobody else to ask, no place in concurrency, or no retry budget
}

// LimitStatus is a concurrency limit.
type LimitStatus struct {
	Limit  int           `json:"limit"`
	Busy   int           `json:"busy"`
	Queued int           `json:"queued"`
	Full   uint64        `json:"refused_full"`    // there was no place in the queue
	Late   uint64        `json:"refused_late"`    // waited for queue_timeout in vain
	Waited uint64        `json:"waited"`          // had to wait, whatever came of it
	Wait   time.Duration `json:"waited_total_ns"` // how long all of them together
}

func (c *Cluster) resilience() (r Resilience) {
	if b := c.budget; b != nil {
		r.Retries = RetryStatus{b.retries.Load(), b.exhausted.Load()}
	}
	n := &c.hedges
	r.Hedges = HedgeStatus{n.won.Load(), n.lost.Load(), n.failed.Load(), n.refused.Load()}
	if l := c.limit; l != nil {
		l.mu.Lock()
		s := &LimitStatus{Limit: l.max, Busy: l.busy, Queued: l.queue.Len()}
		l.mu.Unlock()
		s.Full, s.Late, s.Waited, s.Wait = l.full.Load(), l.late.Load(), l.waited.Load(), time.Duration(l.waitedNs.Load())
		r.Concurrency = s
	}
	return r
}

// shown is an endpoint's breaker for the admin API, "" when it has none.
func (b *breaker) shown() string {
	if b == nil {
		return ""
	}
	return b.state()
}

// newTrip is the breaker of a new endpoint, nil when it shall have none.
func (c *Cluster) newTrip() *breaker {
	if !c.trips {
		return nil
	}
	return newBreaker(c.cfg.Service, c.cfg.Breaker)
}
