package cluster

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Config is what a cluster is made of.
type Config struct {
	Service   string
	Tier      string // what tells it from other clusters of the service: its place in the order of failover
	Protocol  string // "auto", "http1", "h2", or "tcp": see Connect
	Balance   string // "round_robin", "least_request", "peak_ewma", "consistent_hash"
	Transport exchange.Transport
	Breaker   BreakerConfig
	Stop      func() // called once by Close, to end the watch that feeds the cluster
	Log       *slog.Logger

	Hash        []HashKey     // where consistent_hash finds its key, in order
	BoundedLoad float64       // of consistent_hash: most of an endpoint's share it may have in flight; 0 is unbounded
	SlowStart   time.Duration // how long a new or returned endpoint is eased in; 0 is not at all
	Locality    string        // "zone", "node", or "" for no preference
	Here        *Here         // where this process is; needed for Locality
	Subset      int           // endpoints used of a large service; 0 is all
	Instance    string        // tells this process from others that use subsets
	Health      *Health       // active probes; nil: none
	Outlier     *Outlier      // ejection by what traffic meets; nil: none
	Panic       float64       // with less than this share of usable endpoints all are used; 0 is never
	Failover    *Failover     // what is used when no endpoint is usable; nil: nothing

	Connect  time.Duration // how long Transport takes to connect; for explanations
	MaxConns int           // and how many connections it has to an endpoint; 0 is unlimited

	RetryBudget RetryBudgetConfig
	Limit       *LimitConfig // nil: unlimited
	Fallback    *Fallback    // nil: none
}

// Cluster is a service's live endpoints with their picker, breaker and
// connections. It outlives tables: an unchanged service keeps its cluster
// across reloads.
type Cluster struct {
	cfg     Config
	breaker *breaker
	pick    picker
	budget  *retryBudget
	limit   *limit
	trips   bool // endpoints have breakers of their own
	learns  bool // what becomes of attempts is of interest
	tiers   *tiers
	prober  *prober

	lineup    atomic.Pointer[lineup]
	inHand    atomic.Int64
	ejections atomic.Uint64
	hedges    hedges
	closed    sync.Once
	leave     func() // Here

	mu      sync.Mutex // guards what follows, and serialises changes of the lineup
	members []*member  // all that discovery names
	bench   []*member  // those of them that may be used: all, or with Subset some
	told    bool       // discovery has answered
	ended   bool
	waiting atomic.Bool // a refresh is to come
	panics  bool
	wake    *time.Timer // for what changes by time alone
	sweeper *time.Timer
	watch   func() // told of every new lineup; the tiers
}

// New returns a cluster without endpoints.
func New(cfg Config) *Cluster {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{cfg: cfg}
	if cfg.Breaker.Enabled && cfg.Breaker.Per != "endpoint" {
		c.breaker = newBreaker(cfg.Service, cfg.Breaker)
	}
	c.trips = cfg.Breaker.Enabled && (cfg.Breaker.Per == "endpoint" || cfg.Breaker.Per == "both")
	c.budget, c.limit = newRetryBudget(cfg.RetryBudget), newLimit(cfg.Limit)
	c.pick = newPicker(&c.cfg, &c.inHand)
	c.learns = cfg.Outlier != nil || cfg.Balance == "peak_ewma"
	c.lineup.Store(newLineup(nil))
	if cfg.Health != nil {
		c.prober = newProber(cfg.Health, cfg.Transport)
	}
	if cfg.Failover != nil && len(cfg.Failover.Tiers) > 0 {
		c.tiers = newTiers(c, cfg.Failover)
	}
	if cfg.Outlier != nil {
		c.mu.Lock()
		c.sweeper = time.AfterFunc(cfg.Outlier.Interval, c.sweep)
		c.mu.Unlock()
	}
	if cfg.Here != nil && cfg.Locality != "" {
		c.leave = cfg.Here.attend(c.refresh)
	}
	return c
}

// Service returns the service's name.
func (c *Cluster) Service() string { return c.cfg.Service }

// Replace puts a new set of endpoints in service. Connections to endpoints
// that stay are not touched; those of endpoints that left finish what is in
// flight and then close.
func (c *Cluster) Replace(endpoints []Endpoint) {
	c.mu.Lock()
	old := c.members
	known := make(map[string]*member, len(old))
	for _, m := range old {
		known[m.Address] = m
	}
	next := make([]*member, 0, len(endpoints))
	stays := make(map[string]bool, len(endpoints))
	now := time.Now()
	for _, ep := range endpoints {
		if stays[ep.Address] {
			continue
		}
		stays[ep.Address] = true
		m := known[ep.Address]
		switch {
		case m == nil:
			m = &member{ep, &vitals{trip: c.newTrip()}}
			if len(old) > 0 && c.cfg.SlowStart > 0 { // when all are new, none is
				m.since = now
			}
		case !sameEndpoint(m.Endpoint, ep):
			m = &member{ep, m.vitals}
		}
		next = append(next, m)
	}
	c.members, c.told = next, true
	if !c.ended {
		c.rebuild(now)
	}
	for _, m := range old {
		if !stays[m.Address] {
			m.unprobe()
			c.cfg.Transport.Retire(m.Address)
		}
	}
	c.changed()
}

// changed ends a change of the lineup: it gives c.mu back and tells who watches.
func (c *Cluster) changed() {
	watch := c.watch
	c.mu.Unlock()
	if watch != nil {
		watch()
	}
}

func sameEndpoint(a, b Endpoint) bool {
	return a.Weight == b.Weight && a.Zone == b.Zone && a.Node == b.Node &&
		slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}

// Close ends the watch and retires every connection. Exchanges in flight
// finish.
func (c *Cluster) Close() error {
	c.closed.Do(func() {
		if c.cfg.Stop != nil {
			c.cfg.Stop()
		}
		if c.leave != nil {
			c.leave()
		}
		c.mu.Lock()
		c.ended = true
		for _, t := range []*time.Timer{c.wake, c.sweeper} {
			if t != nil {
				t.Stop()
			}
		}
		for _, m := range c.members {
			m.unprobe()
		}
		c.mu.Unlock()
		if c.prober != nil {
			c.prober.stop()
		}
		if c.tiers != nil {
			c.tiers.close()
		}
		c.cfg.Transport.Close()
	})
	return nil
}

// Size reports the number of endpoints in service.
func (c *Cluster) Size() int { return len(c.serving().lineup.Load().members) }

// prober asks endpoints how they are.
type prober struct {
	Health
	transport exchange.Transport
	slots     chan struct{} // probes at once
	ctx       context.Context
	stop      context.CancelFunc
}
