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
				c.each(func(n cluster.Numbers) {
					for _, state := range cluster.States {
						emit(float64(n.States[state]), n.Service, n.Tier, state)
					}
				})
			}),
		m.RegisterCounter("lintel_ejections_total", "Endpoints left out for what traffic met there.",
			[]string{"lintel_service", "lintel_tier"}, func(emit tracing.Emit) {
				c.each(func(n cluster.Numbers) { emit(float64(n.Ejections), n.Service, n.Tier) })
			}),
		m.RegisterGauge("lintel_panic", "1 while too few endpoints of a service are healthy, so that all are used.",
			[]string{"lintel_service", "lintel_tier"}, func(emit tracing.Emit) {
				c.each(func(n cluster.Numbers) {
					panics := 0.0
					if n.Panic {
						panics = 1
					}
					emit(panics, n.Service, n.Tier)
				})
			}),
		m.RegisterGauge("lintel_failover_tier", "Which set of endpoints takes a service's traffic: 0 its own, 1 the first of its failover.",
			[]string{"lintel_service"}, func(emit tracing.Emit) {
				c.each(func(n cluster.Numbers) {
					if n.Failover {
						emit(float64(n.Serving), n.Service)
					}
				})
			}))
}

// each visits every cluster, and every tier of its failover.
func (c *Clusters) each(visit func(cluster.Numbers)) {
	for _, cl := range c.live.shown() {
		for _, n := range cl.Numbers() {
			visit(n)
		}
	}
}
