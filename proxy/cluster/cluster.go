package cluster

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
)

// Config is what a cluster is made of.
type Config struct {
	Service   string
	Protocol  string // "auto", "http1", "h2", or "tcp": see Connect
	Balance   string // "round_robin", "least_request"
	Transport exchange.Transport
	Breaker   BreakerConfig
	Stop      func() // called once by Close, to end the watch that feeds the cluster
}

// Cluster is a service's live endpoints with their picker, breaker and
// connections. It outlives tables: an unchanged service keeps its cluster
// across reloads.
type Cluster struct {
	cfg     Config
	breaker *breaker
	pick    picker

	mu     sync.Mutex // serialises Replace
	lineup atomic.Pointer[lineup]
	inHand atomic.Int64
	closed sync.Once
}

// member is one endpoint while it is in service. It is kept across Replace; one
// whose weight or tags changed hands its counter on, which the exchanges still
// in flight there will count down.
type member struct {
	Endpoint
	busy *atomic.Int64
}

// New returns a cluster without endpoints.
func New(cfg Config) *Cluster {
	c := &Cluster{cfg: cfg}
	if cfg.Breaker.Enabled {
		c.breaker = newBreaker(cfg.Service, cfg.Breaker)
	}
	c.pick = newPicker(cfg.Balance)
	c.lineup.Store(newLineup(nil))
	return c
}

// Service returns the service's name.
func (c *Cluster) Service() string { return c.cfg.Service }

// Replace puts a new set of endpoints in service. Connections to endpoints
// that stay are not touched; those of endpoints that left finish what is in
// flight and then close.
func (c *Cluster) Replace(endpoints []Endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.lineup.Load().members
	known := make(map[string]*member, len(old))
	for _, m := range old {
		known[m.Address] = m
	}
	next := make([]*member, 0, len(endpoints))
	stays := make(map[string]bool, len(endpoints))
	for _, ep := range endpoints {
		if stays[ep.Address] {
			continue
		}
		stays[ep.Address] = true
		m := known[ep.Address]
		switch {
		case m == nil:
			m = &member{ep, new(atomic.Int64)}
		case !sameEndpoint(m.Endpoint, ep):
			m = &member{ep, m.busy}
		}
		next = append(next, m)
	}
	c.lineup.Store(newLineup(next))
	for _, m := range old {
		if !stays[m.Address] {
			c.cfg.Transport.Retire(m.Address)
		}
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
		c.cfg.Transport.Close()
	})
	return nil
}

// Status is a cluster as the admin API shows it.
type Status struct {
	Service     string           `json:"service"`
	Protocol    string           `json:"protocol,omitempty"` // "tcp" for opaque streams
	Breaker     string           `json:"breaker"`
	Connections int              `json:"connections"`
	InFlight    int64            `json:"in_flight"`
	Endpoints   []EndpointStatus `json:"endpoints"`
}

// EndpointStatus is one endpoint as the admin API shows it.
type EndpointStatus struct {
	Address string   `json:"address"`
	Weight  int      `json:"weight"`
	Zone    string   `json:"zone,omitempty"`
	Tags    []string `json:"tags,omitempty"`
	Busy    int64    `json:"busy"`
}

// Status reports the cluster's present state.
func (c *Cluster) Status() Status {
	s := Status{Service: c.cfg.Service, Breaker: c.breaker.state(),
		Connections: c.cfg.Transport.Open(), InFlight: c.inHand.Load(), Endpoints: []EndpointStatus{}}
	if c.cfg.Protocol == "tcp" {
		s.Protocol = "tcp"
	}
	for _, m := range c.lineup.Load().members {
		s.Endpoints = append(s.Endpoints, EndpointStatus{m.Address, m.weight(), m.Zone, m.Tags, m.busy.Load()})
	}
	return s
}

// Size reports the number of endpoints in service.
func (c *Cluster) Size() int { return len(c.lineup.Load().members) }
