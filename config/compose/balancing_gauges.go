package compose

import (
	"errors"

	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/tracing"
)

// gauges tell of endpoints' health, panic and failover.
func (c *Clusters) gauges(m *tracing.Metrics) error {
	return errors.Join(
		m.RegisterGauge("lintel_endpoints_by_state", "Endpoints of a service by state: healthy, warming, spare, unhealthy, ejected.",
			[]string{"lintel_service", "lintel_tier", "lintel_state"}, func(emit tracing.Emit) {
				c.each(func(s cluster.Status) {
					n := map[string]int{}
					for _, e := range s.Endpoints {
						n[e.State]++
					}
					for _, state := range cluster.States {
						emit(float64(n[state]), s.Service, s.Name, state)
					}
				})
			}),
		m.RegisterCounter("lintel_ejections_total", "Endpoints left out for what traffic met there.",
			[]string{"lintel_service", "lintel_tier"}, func(emit tracing.Emit) {
				c.each(func(s cluster.Status) { emit(float64(s.Ejections), s.Service, s.Name) })
			}),
		m.RegisterGauge("lintel_panic", "1 while too few endpoints of a service are healthy, so that all are used.",
			[]string{"lintel_service", "lintel_tier"}, func(emit tracing.Emit) {
				c.each(func(s cluster.Status) {
					n := 0.0
					if s.Panic {
						n = 1
					}
					emit(n, s.Service, s.Name)
				})
			}),
		m.RegisterGauge("lintel_failover_tier", "Which set of endpoints takes a service's traffic: 0 its own, 1 the first of its failover.",
			[]string{"lintel_service"}, func(emit tracing.Emit) {
				for _, s := range c.Status() {
					if len(s.Failover) > 0 {
						emit(float64(s.Tier), s.Service)
					}
				}
			}))
}

// each visits every cluster, and every tier of its failover.
func (c *Clusters) each(visit func(cluster.Status)) {
	for _, s := range c.Status() {
		visit(s)
		for _, t := range s.Failover {
			// A tier may be another service's endpoints: it counts for the one it stands in for.
			t.Service = s.Service
			visit(t)
		}
	}
}
