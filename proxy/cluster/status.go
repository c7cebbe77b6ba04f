package cluster

import "time"

// Status is a cluster as the admin API shows it.
type Status struct {
	Service     string           `json:"service"`
	Breaker     string           `json:"breaker"`
	Connections int              `json:"connections"`
	InFlight    int64            `json:"in_flight"`
	Panic       bool             `json:"panic,omitempty"`   // too few are healthy, so all are used
	Ejections   uint64           `json:"ejections"`         // so far
	Serving     string           `json:"serving,omitempty"` // with failover: the tier whose turn it is
	Tier        int              `json:"-"`                 // its number; 0 is the service itself
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
		s.Tier = int(c.tiers.now.Load())
		s.Serving = c.tiers.list[s.Tier].tier()
		for _, t := range c.tiers.list[1:] {
			s.Failover = append(s.Failover, t.Status())
		}
	}
	return s
}

func (m *member) status(shares map[*vitals]float64, now time.Time) EndpointStatus {
	e := EndpointStatus{Address: m.Address, Weight: m.weight(), Share: shares[m.vitals], Zone: m.Zone, Node: m.Node, Tags: m.Tags,
		Busy: m.busy.Load(), State: "healthy", Breaker: m.trip.shown(), Latency: m.cost.at(clock()) / float64(time.Millisecond)}
	switch {
	case now.Before(m.ejected):
		until := m.ejected
		e.State, e.Why, e.Until = "ejected", m.fault, &until
	case m.probed == sick:
		e.State, e.Why = "unhealthy", m.why
	case e.Share == 0:
		e.State = "spare"
	case !m.since.IsZero():
		e.State = "warming"
	}
	return e
}
