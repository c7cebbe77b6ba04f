package tracing

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Emit yields one value of a family, its label values in the declared order.
type Emit func(value float64, labels ...string)

// family asks a closure for its values whenever it is scraped, so what it
// measures is never kept twice.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	each func(Emit)
}

// Describe implements prometheus.Collector.
func (f *family) Describe(out chan<- *prometheus.Desc) { out <- f.desc }

// Collect implements prometheus.Collector.
func (f *family) Collect(out chan<- prometheus.Metric) {
	f.each(func(v float64, labels ...string) {
		m, err := prometheus.NewConstMetric(f.desc, f.kind, v, labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(f.desc, err)
		}
		out <- m
	})
}

// RegisterGauge adds a gauge family whose values each yields at every scrape.
// No two values may have the same labels. It fails when the name is taken.
func (m *Metrics) RegisterGauge(name, help string, labels []string, each func(Emit)) error {
	return m.register(name, help, labels, prometheus.GaugeValue, each)
}

// RegisterCounter is RegisterGauge for values that only grow; name ends in
// _total.
func (m *Metrics) RegisterCounter(name, help string, labels []string, each func(Emit)) error {
	return m.register(name, help, labels, prometheus.CounterValue, each)
}

func (m *Metrics) register(name, help string, labels []string, kind prometheus.ValueType, each func(Emit)) error {
	f := &family{desc: prometheus.NewDesc(name, help, labels, nil), kind: kind, each: each}
	if err := m.registry.Register(f); err != nil {
		return fmt.Errorf("tracing: metric %s: %w", name, err)
	}
	return nil
}

// Gauges are closures that other rooms feed the metrics with. A nil one is left
// out. Each is called at every scrape, from any goroutine.
type Gauges struct {
	Staleness   func(Emit) // (service): seconds since discovery last heard of it; 0 while it is current
	Expiry      func(Emit) // (name): Unix seconds at which a certificate ends
	Breakers    func(Emit) // (service, endpoint): 0 closed, 1 half open, 2 open
	Connections func(Emit) // (side, name): open connections; side is "listener" or "service"
	Endpoints   func(Emit) // (service): live endpoints
	Stores      func(Emit) // (name): entries held
}

// Watch registers those of g that are set.
func (m *Metrics) Watch(g Gauges) error {
	for _, f := range []struct {
		name, help string
		labels     []string
		each       func(Emit)
	}{
		{"lintel_discovery_staleness_seconds", "Seconds since discovery last heard of a service; 0 while it is current.", []string{"lintel_service"}, g.Staleness},
		{"lintel_certificate_expiry_timestamp_seconds", "When a certificate ends, in Unix time.", []string{"name"}, g.Expiry},
		{"lintel_breaker_state", "0 closed, 1 half open, 2 open.", []string{"lintel_service", "lintel_endpoint"}, g.Breakers},
		{"lintel_connections_open", "Open connections, of clients by listener and to services.", []string{"side", "name"}, g.Connections},
		{"lintel_endpoints", "Live endpoints of a service.", []string{"lintel_service"}, g.Endpoints},
		{"lintel_store_entries", "Entries held by a store.", []string{"name"}, g.Stores},
	} {
		if f.each == nil {
			continue
		}
		if err := m.RegisterGauge(f.name, f.help, f.labels, f.each); err != nil {
			return err
		}
	}
	return nil
}

// Observe registers what the Tracer and the AccessLog had to drop. Either may
// be nil.
func (m *Metrics) Observe(t *Tracer, a *AccessLog) error {
	if t != nil {
		err := m.RegisterCounter("lintel_spans_total", "Sampled spans by what became of them.", []string{"outcome"}, func(emit Emit) {
			sent, failed, dropped := t.Stats()
			emit(float64(sent), "sent")
			emit(float64(failed), "failed")
			emit(float64(dropped), "dropped")
		})
		if err != nil {
			return err
		}
	}
	if a == nil {
		return nil
	}
	return m.RegisterCounter("lintel_access_log_lines_total", "Access log lines by what became of them.", []string{"outcome"}, func(emit Emit) {
		written, dropped := a.Stats()
		emit(float64(written), "written")
		emit(float64(dropped), "dropped")
	})
}

// BuildInfo registers what is running.
func (m *Metrics) BuildInfo(mode, version, revision string) error {
	return m.RegisterGauge("lintel_build_info", "What is running; the value is always 1.",
		[]string{"mode", "version", "revision", "go"}, func(emit Emit) { emit(1, mode, version, revision, runtime.Version()) })
}

// reloads is what is known about configuration reloads.
type reloads struct {
	success    atomic.Int64 // Unix milliseconds
	generation atomic.Uint64
	failures   atomic.Uint64
	healthy    atomic.Bool
}

func (r *reloads) register(reg *prometheus.Registry) {
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lintel_config_last_reload_success_timestamp_seconds", Help: "When a configuration was last taken, in Unix time.",
		}, func() float64 { return float64(r.success.Load()) / 1e3 }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lintel_config_last_reload_successful", Help: "1 when the last configuration was taken, 0 when it was refused.",
		}, func() float64 {
			if r.healthy.Load() {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lintel_config_generation", Help: "Generation of the configuration in force.",
		}, func() float64 { return float64(r.generation.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "lintel_config_reload_failures_total", Help: "Configurations that were refused.",
		}, func() float64 { return float64(r.failures.Load()) }),
	)
}

// Reloaded says that the configuration of that generation is in force.
func (m *Metrics) Reloaded(generation uint64) {
	m.reload.success.Store(time.Now().UnixMilli())
	m.reload.generation.Store(generation)
	m.reload.healthy.Store(true)
}

// ReloadFailed says that a configuration was refused and the old one runs on.
func (m *Metrics) ReloadFailed() {
	m.reload.failures.Add(1)
	m.reload.healthy.Store(false)
}
