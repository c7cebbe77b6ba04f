package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/filter/split"
	"lintel.dev/lintel/proxy/listen"
	"lintel.dev/lintel/proxy/pipe"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/proxy/tcp"
	"lintel.dev/lintel/tracing"
)

// Admin is the running admin API and probes.
type Admin struct{ server *admin.Server }

// StartAdmin opens the admin API and the probes.
func StartAdmin(ctx context.Context, cfg config.Admin, open listen.Opener, src admin.Sources, log *slog.Logger) (*Admin, error) {
	s, err := admin.New(admin.Config{Address: cfg.Address, Probes: cfg.Probes, Listen: open.Plain()}, src, log)
	if err != nil {
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	return &Admin{s}, nil
}

// CheckAdmin finds what StartAdmin would refuse.
func CheckAdmin(cfg config.Admin) error {
	_, err := admin.New(admin.Config{Address: cfg.Address, Probes: cfg.Probes}, admin.Sources{}, slog.New(slog.DiscardHandler))
	return err
}

// Addr is where the API listens, "" when it is off.
func (a *Admin) Addr() string {
	if a == nil || a.server.Addr() == nil {
		return ""
	}
	return a.server.Addr().String()
}

// Draining makes /readyz say no from now on.
func (a *Admin) Draining() { a.server.SetDraining() }

// Close ends the API. It may be called again.
func (a *Admin) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.server.Shutdown(ctx) // what is left is cut
}

// Watched is what the admin API and the metrics of both modes look at.
type Watched struct {
	Discovery *Discovery
	Identity  *Identity // nil without a mesh
	Reloader  *Reloader
	Clusters  *Clusters
	Redis     *Redis
	Stores    *store.Set
	KV        *KV // nil without configuration from Consul
	Metrics   *tracing.Metrics

	mu    sync.Mutex
	tcp   []*tcp.Server
	pipes map[string]*pipe.Pipe // by listener
	edges []*Edge
	open  atomic.Bool
}

// Open says that every listener accepts. Until then the process is not ready.
func (w *Watched) Open() { w.open.Store(true) }

// Edge makes a listener's certificates known.
func (w *Watched) Edge(e *Edge) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.edges = append(w.edges, e)
}

// edgesNow is who has been made known so far.
func (w *Watched) edgesNow() []*Edge {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.edges)
}

// Pipe makes a listener's pipe known.
func (w *Watched) Pipe(listener string, p *pipe.Pipe) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pipes == nil {
		w.pipes = map[string]*pipe.Pipe{}
	}
	w.pipes[listener] = p
}

// EndAgain ends what the pipes do for no client.
func (w *Watched) EndAgain() {
	w.mu.Lock()
	pipes := slices.Collect(maps.Values(w.pipes))
	w.mu.Unlock()
	for _, p := range pipes {
		p.EndAgain()
	}
}

// Checks are the readiness checks that both modes have.
func (w *Watched) Checks() []admin.Check {
	conf := admin.Check{Name: "config", OK: w.Reloader.Err() == "", Detail: fmt.Sprintf("generation %d", w.Reloader.Generation.Load())}
	if !conf.OK {
		conf.Detail = "the newest file is not valid, the one before is in force: " + w.Reloader.Err()
	}
	checks := []admin.Check{conf, {Name: "listeners", Required: true, OK: w.open.Load()}}
	if w.Identity != nil {
		st := w.Identity.Status()
		c := admin.Check{Name: "identity", Required: true, OK: time.Now().Before(st.NotAfter),
			Detail: fmt.Sprintf("%s until %s", st.ID, st.NotAfter.UTC().Format(time.RFC3339))}
		if st.Err != "" {
			c.Detail += "; last error: " + st.Err
		}
		checks = append(append(checks, c), w.Identity.federation()...)
	}
	for _, s := range w.Discovery.Hub.Status() {
		c := admin.Check{Name: "discovery " + s.Query.String(), OK: !s.Stale && s.Ready, Detail: fmt.Sprintf("%d endpoints", s.Endpoints)}
		if s.Stale {
			c.Detail += fmt.Sprintf(", last confirmed %s ago: %s", s.Age.Round(time.Second), s.Err)
		}
		checks = append(checks, c)
	}
	for _, e := range w.edgesNow() {
		checks = append(checks, e.Checks()...)
	}
	checks = append(append(checks, w.KV.checks()...), w.trafficChecks()...)
	return append(checks, w.Redis.checks()...)
}

// Services is the state of every cluster.
func (w *Watched) Services() any { return w.Clusters.Status() }

// Connections counts what is open: exchanges in hand by listener, connections
// by service.
func (w *Watched) Connections() any {
	type listener struct {
		Listener  string `json:"listener"`
		Exchanges int64  `json:"exchanges"`
	}
	type service struct {
		Service     string `json:"service"`
		Connections int    `json:"connections"`
		InFlight    int64  `json:"in_flight"`
	}
	listeners, services := []listener{}, []service{}
	w.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(w.pipes)) {
		listeners = append(listeners, listener{name, w.pipes[name].Open.Load()})
	}
	w.mu.Unlock()
	for _, s := range w.Clusters.Status() {
		services = append(services, service{s.Service, s.Connections, s.InFlight})
	}
	return w.withStreams(map[string]any{"listeners": listeners, "services": services})
}

// Config is the snapshot in force, redacted, and by what to tell whether another
// process runs the same.
func (w *Watched) Config() any {
	s := w.Reloader.Current()
	out, ok := config.Dump(s).(map[string]any)
	if !ok {
		return nil
	}
	running := map[string]any{"digest": s.Digest(), "generation": w.Reloader.Generation.Load()}
	if kv := w.KV.Status(); kv != nil {
		running["consul_kv"] = kv
	}
	out["running"] = running
	return out
}

// digest tells by metric which configuration is in force: the same in all
// processes that run the same.
func (w *Watched) digest() error {
	return w.Metrics.RegisterGauge("lintel_config_info", "The configuration in force; the value is always 1.", []string{"digest", "kv_digest"}, func(emit tracing.Emit) {
		s := w.Reloader.Current()
		if s == nil {
			return
		}
		kv := ""
		if st := w.KV.Status(); st != nil {
			kv = st.Digest
		}
		emit(1, s.Digest(), kv)
	})
}

// Gauges registers what the rooms know about themselves.
func (w *Watched) Gauges() error {
	if err := errors.Join(w.Redis.gauges(w.Metrics), w.Clusters.gauges(w.Metrics), w.trafficGauges(), w.KV.gauges(w.Metrics), w.digest()); err != nil {
		return err
	}
	if err := errors.Join(sharedCaches(w.Stores, w.Metrics), w.resilience()); err != nil {
		return err
	}
	if err := w.streamGauges(); err != nil {
		return err
	}
	return w.Metrics.Watch(tracing.Gauges{
		Staleness: func(emit tracing.Emit) {
			age := map[string]time.Duration{} // the oldest of a service's queries
			for _, s := range w.Discovery.Hub.Status() {
				if !s.Stale {
					s.Age = 0
				}
				age[s.Query.Service] = max(age[s.Query.Service], s.Age)
			}
			for name, a := range age {
				emit(a.Seconds(), name)
			}
		},
		Expiry: func(emit tracing.Emit) {
			if w.Identity != nil {
				emit(float64(w.Identity.Status().NotAfter.Unix()), "identity")
			}
			ends := map[string]time.Time{}
			for _, e := range w.edgesNow() {
				e.ends(ends)
			}
			for name, notAfter := range ends {
				emit(float64(notAfter.Unix()), name)
			}
		},
		Breakers: func(emit tracing.Emit) {
			for _, s := range w.Clusters.Status() {
				if n, ok := breakerNumber[s.Breaker]; ok {
					emit(n, s.Service, "")
				}
				for _, e := range s.Endpoints {
					if n, ok := breakerNumber[e.Breaker]; ok {
						emit(n, s.Service, e.Address)
					}
				}
			}
		},
		Connections: func(emit tracing.Emit) {
			for _, s := range w.Clusters.Status() {
				emit(float64(s.Connections), "service", s.Service)
			}
		},
		Stores: func(emit tracing.Emit) {
			for name, n := range cacheEntries(w.Stores) {
				emit(float64(n), name)
			}
		},
		Endpoints: func(emit tracing.Emit) {
			for _, s := range w.Clusters.Status() {
				emit(float64(len(s.Endpoints)), s.Service)
			}
		},
	})
}

var breakerNumber = map[string]float64{"closed": 0, "half-open": 1, "open": 2}

// Routes lists a table's routes for the admin API.
func Routes(t *route.Table) any {
	type line struct {
		Name    string      `json:"name"`
		Pos     string      `json:"position"`
		Match   route.Match `json:"match"`
		Service string      `json:"service,omitempty"`
		Mirror  string      `json:"mirror,omitempty"`
		Filters []string    `json:"filters"`

		Split []split.SideStatus `json:"split,omitempty"`
	}
	out := []line{}
	if t == nil {
		return out
	}
	defer t.Release()
	for _, r := range t.Routes() {
		l := line{Name: r.Name, Pos: r.Pos, Match: r.Match, Filters: []string{}}
		if r.Cluster != nil {
			l.Service = r.Cluster.Service()
		}
		l.Split = sidesOf(r)
		if r.Shadow != nil {
			l.Mirror = r.Shadow.Cluster.Service()
		}
		for _, f := range r.Filters {
			l.Filters = append(l.Filters, f.Kind)
		}
		out = append(out, l)
	}
	return out
}

// Status is the state of every live cluster, for the admin API and metrics.
func (c *Clusters) Status() []cluster.Status {
	out := []cluster.Status{}
	for _, cl := range c.live.shown() {
		out = append(out, cl.Status())
	}
	return out
}

// fingerprint identifies a section for the stores.
func fingerprint(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
