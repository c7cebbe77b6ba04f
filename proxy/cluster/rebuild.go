package cluster

import (
	"math"
	"slices"
	"time"
)

// easeSteps is in how many steps an endpoint is eased in, and leastEase the part
// of its weight it begins with.
const (
	easeSteps = 20
	leastEase = 0.1
)

// weightUnit is what a weight of 1 is counted as once shares of weights matter.
const weightUnit = 1000

// refresh makes the lineup anew. One that waits for its turn does for all that
// come meanwhile: where endpoints come and go faster than a large table is made,
// they would pile up.
func (c *Cluster) refresh() {
	if c.waiting.Swap(true) {
		return
	}
	c.mu.Lock()
	c.waiting.Store(false)
	if !c.ended {
		c.rebuild(time.Now())
	}
	c.changed()
}

// rebuild makes the lineup of what is known now. c.mu is held.
func (c *Cluster) rebuild(now time.Time) {
	here := c.cfg.Here.now()
	c.seat(here)
	usable := make([]*member, 0, len(c.bench))
	for _, m := range c.bench {
		c.back(m, now)
		if m.usable(now) {
			usable = append(usable, m)
		}
	}
	healthy := len(usable)
	if c.panicking(healthy) {
		usable = c.bench
	}
	if n := c.cfg.Subset; n > 0 {
		usable = c.cut(usable, n, here)
	}
	l := c.weigh(usable, here, now)
	l.healthy, l.known = healthy, len(c.bench)
	if c.cfg.Balance == "consistent_hash" {
		l.table = maglev(l)
	}
	c.lineup.Store(l)
	c.arm(now)
	c.probeBench()
}

// panicking decides whether even endpoints that do not look usable are used,
// because too few do: those that are left would break down under what is meant
// for all. Where there are tiers to fail over to it takes that none is left.
func (c *Cluster) panicking(healthy int) bool {
	n := len(c.bench)
	panics := c.cfg.Panic > 0 && healthy < n &&
		(healthy == 0 || c.cfg.Tier == "" && c.tiers == nil && float64(healthy) < c.cfg.Panic*float64(n))
	switch {
	case panics && !c.panics:
		c.cfg.Log.Error("cluster: PANIC: too few endpoints are healthy; all are used", c.attrs("healthy", healthy, "endpoints", n, "panic_threshold", c.cfg.Panic)...)
	case !panics && c.panics:
		c.cfg.Log.Info("cluster: panic is over; only healthy endpoints are used", c.attrs("healthy", healthy, "endpoints", n)...)
	}
	c.panics = panics
	return panics
}

// attrs names the cluster in a log line.
func (c *Cluster) attrs(more ...any) []any {
	attrs := []any{"service", c.cfg.Service}
	if c.cfg.Tier != "" {
		attrs = append(attrs, "tier", c.cfg.Tier)
	}
	return append(attrs, more...)
}

// weigh gives each its weight: its own, less while it is eased in, and by where
// it is.
func (c *Cluster) weigh(usable []*member, here place, now time.Time) *lineup {
	eased := false
	weights := make([]float64, len(usable))
	for i, m := range usable {
		part := c.ease(m, now)
		eased = eased || part < 1
		weights[i] = part * float64(m.weight())
	}
	near := c.nearness(usable, weights, here)
	if !eased && near == nil {
		return newLineup(usable)
	}
	if near != nil {
		for i := range weights {
			weights[i] *= near[i]
		}
	}
	var members, spare []*member
	var whole []uint64
	for i, m := range usable {
		if weights[i] <= 0 {
			spare = append(spare, m)
			continue
		}
		members = append(members, m)
		whole = append(whole, max(1, uint64(math.Round(weights[i]*weightUnit))))
	}
	if len(members) == 0 {
		return newLineup(usable)
	}
	l := weighLineup(members, whole)
	l.spare = spare
	return l
}

// ease is the part of its weight that a member has by now.
func (c *Cluster) ease(m *member, now time.Time) float64 {
	if m.since.IsZero() || c.cfg.SlowStart <= 0 {
		return 1
	}
	part := float64(now.Sub(m.since)) / float64(c.cfg.SlowStart)
	if part >= 1 {
		m.since = time.Time{}
		return 1
	}
	return max(part, leastEase)
}

// back has a member whose ejection is over eased in again.
func (c *Cluster) back(m *member, now time.Time) {
	if m.ejected.IsZero() || now.Before(m.ejected) {
		return
	}
	m.ejected = time.Time{}
	c.returned(m, now)
	c.cfg.Log.Info("cluster: endpoint is used again: its ejection is over", c.attrs("endpoint", m.Address)...)
}

// returned eases a member in, and forgets what was held against it.
func (c *Cluster) returned(m *member, now time.Time) {
	m.row.Store(0)
	m.gateway.Store(0)
	if c.cfg.SlowStart > 0 {
		m.since = now
	}
}

// arm sets the alarm for what changes by time alone: ejections that end, and
// endpoints that are eased in.
func (c *Cluster) arm(now time.Time) {
	next := time.Duration(math.MaxInt64)
	for _, m := range c.bench {
		if !m.ejected.IsZero() {
			next = min(next, m.ejected.Sub(now))
		}
		if !m.since.IsZero() && c.cfg.SlowStart > 0 {
			next = min(next, max(c.cfg.SlowStart/easeSteps, 10*time.Millisecond))
		}
	}
	switch {
	case next == math.MaxInt64:
	case c.wake == nil:
		c.wake = time.AfterFunc(max(next, time.Millisecond), c.refresh)
	default:
		c.wake.Reset(max(next, time.Millisecond))
	}
}

// seat chooses the bench. Of a large service only some endpoints are used, and
// twice as many are kept an eye on, so that there is a next when one fails.
func (c *Cluster) seat(here place) {
	was := c.bench
	c.bench = c.members
	if n := c.cfg.Subset; n > 0 && len(c.members) > 2*n {
		c.bench = c.cut(c.members, 2*n, here)
		for _, m := range was {
			if !slices.Contains(c.bench, m) {
				m.unprobe()
			}
		}
	}
}
