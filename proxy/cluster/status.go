package cluster

import "time"

// Status is a cluster as the admin API shows it.
type Status struct {
	Service     string           `json:"service"`
	Protocol    string           `json:"protocol,omitempty"` // "tcp" for opaque streams
	Breaker     string           `json:"breaker"`
	Connections int              `json:"connections"`
	InFlight    int64            `json:"in_flight"`
	Panic       bool             `json:"panic,omitempty"`   // too few are healthy, so all are used
	Ejections   uint64           `json:"ejections"`         // so far
	Serving     string           `json:"serving,omitempty"` // with failover: the tier whose turn it is
	Endpoints   []EndpointStatus `json:"endpoints"`
	Failover    []Status         `json:"failover,omitempty"` // the further tiers, in order
	Name        string           `json:"tier,omitempty"`
	Resilience
}

// EndpointStatus is one endpoint as the admin API shows it.
type EndpointStatus struct {
	Address string     `json:"address"`
	Weight  int        `json:"weight"`
	Share   float64    `json:"share"` // of new requests, as far as it goes by weight
	Zone    string     `json:"zone,omitempty"`
	Node    string     `json:"node,omitempty"`
	Tags    []string   `json:"tags,omitempty"`
	Busy    int64      `json:"busy"`
	State   string     `json:"state"`         // "healthy", "warming", "spare", "unhealthy" or "ejected"
	Why     string     `json:"why,omitempty"` // it is not healthy
	Until   *time.Time `json:"until,omitempty"`
	Latency float64    `json:"latency_ms,omitempty"` // of late, with peak_ewma
	Breaker string     `json:"breaker,omitempty"`    // its own, when it has one
}

// States are all that an endpoint may be in.
var States = []string{"healthy", "warming", "spare", "unhealthy", "ejected"}

// Status reports the cluster's present state.
func (c *Cluster) Status() Status {
	s := Status{Service: c.cfg.Service, Name: c.cfg.Tier, Breaker: c.breaker.state(), Ejections: c.ejections.Load(),
		Connections: c.cfg.Transport.Open(), InFlight: c.inHand.Load(), Endpoints: []EndpointStatus{}, Resilience: c.resilience()}
	if c.cfg.Protocol == "tcp" {
		s.Protocol = "tcp"
	}
	c.mu.Lock()
	l, now := c.lineup.Load(), time.Now()
	shares := make(map[*vitals]float64, len(l.members))
	for i, m := range l.members {
		shares[m.vitals] = l.weight(i) / (l.mean * float64(len(l.members)))
	}
	s.Panic = c.panics
	for _, m := range c.members {
		s.Endpoints = append(s.Endpoints, m.status(shares, now))
	}
	c.mu.Unlock()
	if c.tiers != nil {
		s.Serving = c.serving().tier()
		for _, t := range c.tiers.list[1:] {
			s.Failover = append(s.Failover, t.Status())
		}
	}
	return s
}

func (m *member) status(shares map[*vitals]float64, now time.Time) EndpointStatus {
	e := EndpointStatus{Address: m.Address, Weight: m.weight(), Share: shares[m.vitals], Zone: m.Zone, Node: m.Node, Tags: m.Tags,
		Busy: m.busy.Load(), Breaker: m.trip.shown(), Latency: m.cost.at(clock()) / float64(time.Millisecond)}
	switch e.State = m.state(e.Share > 0, now); e.State {
	case "ejected":
		until := m.ejected
		e.Why, e.Until = m.fault, &until
	case "unhealthy":
		e.Why = m.why
	}
	return e
}

// state is one of States; drawn says that it is among those that traffic is shared
// between.
func (v *vitals) state(drawn bool, now time.Time) string {
	switch {
	case now.Before(v.ejected):
		return "ejected"
	case v.probed == sick:
		return "unhealthy"
	case !drawn:
		return "spare"
	case !v.since.IsZero():
		return "warming"
	}
	return "healthy"
}

// Numbers is a cluster in numbers, for metrics: much cheaper than Status.
type Numbers struct {
	Service   string
	Tier      string         // "" for the service's own endpoints
	States    map[string]int // endpoints by state
	Ejections uint64
	Panic     bool
	Failover  bool // it has further tiers
	Serving   int  // the number of the tier whose turn it is
}

// Numbers reports the state of the cluster and of each further tier.
func (c *Cluster) Numbers() []Numbers {
	all := []Numbers{c.numbers()}
	if c.tiers != nil {
		all[0].Failover, all[0].Serving = true, int(c.tiers.now.Load())
		for _, t := range c.tiers.list[1:] {
			h := t.numbers()
			h.Service = c.cfg.Service // it may be another service's endpoints, and counts for the one it stands in for
			all = append(all, h)
		}
	}
	return all
}

func (c *Cluster) numbers() Numbers {
	h := Numbers{Service: c.cfg.Service, Tier: c.cfg.Tier, States: make(map[string]int, len(States)), Ejections: c.ejections.Load()}
	c.mu.Lock()
	defer c.mu.Unlock()
	l, now := c.lineup.Load(), time.Now()
	var drawn map[*vitals]bool
	if len(l.members) < len(c.members) { // else all are
		drawn = make(map[*vitals]bool, len(l.members))
		for _, m := range l.members {
			drawn[m.vitals] = true
		}
	}
	for _, m := range c.members {
		h.States[m.state(drawn == nil || drawn[m.vitals], now)]++
	}
	h.Panic = c.panics
	return h
}
