package compose

import (
	"fmt"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/proxy/filter/faultinjection"
	"lintel.dev/lintel/proxy/filter/mirror"
	"lintel.dev/lintel/proxy/filter/split"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/tracing"
)

// trafficGauges registers what splits, mirrors and injected faults count. While
// a reload is under way two of one name may be held: they are added up.
func (w *Watched) trafficGauges() error {
	type labels [4]string
	added := func(collect func(add func(n float64, l ...string))) func(tracing.Emit) {
		return func(emit tracing.Emit) {
			sums, width := map[labels]float64{}, 0
			collect(func(n float64, l ...string) {
				var k labels
				width = copy(k[:], l)
				sums[k] += n
			})
			for k, n := range sums {
				emit(n, k[:width]...)
			}
		}
	}
	for _, f := range []struct {
		register   func(name, help string, labels []string, each func(tracing.Emit)) error
		name, help string
		labels     []string
		collect    func(add func(n float64, l ...string))
	}{
		{w.Metrics.RegisterCounter, "lintel_split_total", "Exchanges given to a side of a split, by how it was chosen and what became of them.", []string{"lintel_route", "side", "by", "outcome"},
			func(add func(float64, ...string)) {
				for _, c := range store.All[*split.Counts](w.Stores) {
					c.Value.Each(func(side, by, outcome string, n uint64) { add(float64(n), c.Value.Route, side, by, outcome) })
				}
			}},
		{w.Metrics.RegisterGauge, "lintel_split_rolled_back", "1 while a side of a split has lost its weight by rollback.", []string{"lintel_route", "side"},
			func(add func(float64, ...string)) {
				for _, s := range store.All[*split.State](w.Stores) {
					s.Value.Sides(func(side string, down bool) {
						n := 0.0
						if down {
							n = 1
						}
						add(n, s.Value.Route(), side)
					})
				}
			}},
		{w.Metrics.RegisterCounter, "lintel_mirror_total", "Copies of requests, by what became of them; busy, large and cut were not sent.", []string{"lintel_route", "lintel_service", "outcome"},
			func(add func(float64, ...string)) {
				for _, c := range store.All[*mirror.Counts](w.Stores) {
					m := c.Value
					add(float64(m.OK.Load()), m.Route, m.Service, "ok")
					add(float64(m.Failed.Load()), m.Route, m.Service, "failed")
					add(float64(m.Busy.Load()), m.Route, m.Service, "busy")
					add(float64(m.Large.Load()), m.Route, m.Service, "large")
					add(float64(m.Cut.Load()), m.Route, m.Service, "cut")
				}
			}},
		{w.Metrics.RegisterGauge, "lintel_mirror_in_flight", "Copies of requests in progress.", []string{"lintel_route", "lintel_service"},
			func(add func(float64, ...string)) {
				for _, c := range store.All[*mirror.Counts](w.Stores) {
					add(float64(c.Value.InFlight.Load()), c.Value.Route, c.Value.Service)
				}
			}},
		{w.Metrics.RegisterCounter, "lintel_faults_injected_total", "Faults that fault_injection has made.", []string{"lintel_route", "fault"},
			func(add func(float64, ...string)) {
				for _, c := range store.All[*faultinjection.Counts](w.Stores) {
					add(float64(c.Value.Delays.Load()), c.Value.Route, "delay")
					add(float64(c.Value.Aborts.Load()), c.Value.Route, "abort")
				}
			}},
	} {
		if err := f.register(f.name, f.help, f.labels, added(f.collect)); err != nil {
			return err
		}
	}
	return nil
}

// trafficChecks says which sides are rolled back. The process is ready all the
// same.
func (w *Watched) trafficChecks() []admin.Check {
	var out []admin.Check
	for _, s := range store.All[*split.State](w.Stores) {
		s.Value.Down(func(side, why string) {
			out = append(out, admin.Check{Name: "split " + s.Value.Route(), Detail: fmt.Sprintf("%s is rolled back: %s", side, why)})
		})
	}
	return out
}

// sidesOf is the state of a route's split, nil without one.
func sidesOf(r *route.Route) []split.SideStatus {
	for _, in := range r.Filters {
		if f, ok := in.Filter.(*split.Filter); ok {
			return f.Status()
		}
	}
	return nil
}
