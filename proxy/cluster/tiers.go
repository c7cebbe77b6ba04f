package cluster

import (
	"sync"
	"sync/atomic"
	"time"
)

// Failover is the order in which other endpoints take a service's traffic.
type Failover struct {
	Tiers  []*Cluster    // after the cluster itself; closed with it
	Below  float64       // with less than this share of healthy endpoints a tier's turn is over; 0: with none
	Return time.Duration // for how long a better tier must be good before traffic returns to it
}

// firstAnswer is how long discovery may take to name the first tier's endpoints
// before that counts as there being none.
const firstAnswer = 5 * time.Second

// tiers are a cluster and those it fails over to.
type tiers struct {
	Failover
	list []*Cluster // the cluster itself is the first
	now  atomic.Int32

	born   time.Time
	mu     sync.Mutex
	began  bool      // the first tier has taken traffic
	better int       // the tier that is waited with; -1 none
	since  time.Time // when it became good
	timer  *time.Timer
	ended  bool
}

func newTiers(c *Cluster, f *Failover) *tiers {
	t := &tiers{Failover: *f, list: append([]*Cluster{c}, f.Tiers...), better: -1, born: time.Now()}
	for _, tier := range t.list {
		tier.mu.Lock()
		tier.watch = t.review
		tier.mu.Unlock()
	}
	t.mu.Lock()
	t.again(firstAnswer)
	t.mu.Unlock()
	t.review() // what tiers know already
	return t
}

// serving is the tier whose turn it is.
func (c *Cluster) serving() *Cluster {
	if c.tiers == nil {
		return c
	}
	return c.tiers.list[c.tiers.now.Load()]
}

// good reports whether a tier can take the traffic.
func (t *tiers) good(i int) bool {
	l := t.list[i].lineup.Load()
	return l.healthy > 0 && float64(l.healthy) >= t.Below*float64(l.known)
}

// best is the first tier that is good; else the first that has a healthy
// endpoint, else any.
func (t *tiers) best() int {
	for _, ok := range []func(int) bool{
		t.good,
		func(i int) bool { return t.list[i].lineup.Load().healthy > 0 },
		func(i int) bool { return len(t.list[i].lineup.Load().members) > 0 },
	} {
		for i := range t.list {
			if ok(i) {
				return i
			}
		}
	}
	return 0
}

// review decides whose turn it is: a worse tier's at once when it must be, a
// better one's when it has been good for a while.
func (t *tiers) review() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	now := int(t.now.Load())
	best := t.best()
	t.began = t.began || now == 0 && t.good(0)
	switch {
	case best >= now || !t.good(now):
		t.better = -1
		if best == now {
			return
		}
	case !t.began || t.Return <= 0:
	case t.better != best:
		t.better, t.since = best, time.Now()
		t.again(t.Return)
		return
	default:
		if left := t.Return - time.Since(t.since); left > 0 {
			t.again(left)
			return
		}
	}
	t.better = -1
	t.turn(now, best)
}

func (t *tiers) again(in time.Duration) {
	if t.timer == nil {
		t.timer = time.AfterFunc(in, t.review)
		return
	}
	t.timer.Reset(in)
}

func (t *tiers) turn(from, to int) {
	c := t.list[0]
	if to > 0 && !c.answered() && time.Since(t.born) < firstAnswer {
		return // discovery has not spoken yet: that is no failure
	}
	t.now.Store(int32(to))
	attrs := []any{"service", c.cfg.Service, "from", t.list[from].tier(), "to", t.list[to].tier()}
	if to > from {
		c.cfg.Log.Warn("cluster: FAILOVER: no endpoint can take the traffic; the next tier does", attrs...)
		return
	}
	c.cfg.Log.Info("cluster: failover is over; a better tier takes the traffic again", attrs...)
}

func (c *Cluster) answered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// tier names the cluster in the order of failover.
func (c *Cluster) tier() string {
	if c.cfg.Tier == "" {
		return "primary"
	}
	return c.cfg.Tier
}

func (t *tiers) close() {
	t.mu.Lock()
	t.ended = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	for _, c := range t.list[1:] {
		_ = c.Close()
	}
}
