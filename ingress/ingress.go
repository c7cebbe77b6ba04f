package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/listen"
	"lintel.dev/lintel/proxy/pipe"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/tracing"
)

// Options are what an ingress is started with.
type Options struct {
	Snapshot *config.Snapshot
	Path     string // followed for changes; "" when there is no file
	Version  string
	Out      io.Writer // access log
	Log      *slog.Logger

	Identity *compose.Identity  // opened already (the demo's); nil: as the snapshot says
	Catalog  *discovery.Catalog // the demo's; nil: as the snapshot says
	Reload   <-chan struct{}    // SIGHUP; may be nil

	Listen     listen.Opener   // how listeners open; nil: listen.Open
	HandedOver <-chan struct{} // a new process has our listeners; may be nil
	Draining   func()          // called when a drain begins; may be nil
}

// Ingress is a running gateway.
type Ingress struct {
	opts      Options
	log       *slog.Logger
	observers *compose.Observers
	discovery *compose.Discovery
	kv        *compose.KV // nil without configuration from Consul
	identity  *compose.Identity
	stores    *store.Set
	held      *store.Lease // what the listeners use, whichever table is in force
	reloader  *compose.Reloader
	watched   *compose.Watched
	live      pipe.Live
	servers   []*edge
	admin     *compose.Admin
	shed      *pipe.Shedder // nil when not configured
	calm      context.CancelFunc
	drainNow  chan struct{}
	drainOnce sync.Once
}

// edge is one open listener.
type edge struct {
	name     string
	server   exchange.Server
	listener net.Listener
	tls      *compose.Edge // nil on plaintext
}

// Start opens everything in order: observers, discovery, identity, table,
// admin, listeners. Identity and first discovery are awaited, bounded, before a
// listener opens.
func Start(ctx context.Context, o Options) (g *Ingress, err error) {
	s := o.Snapshot
	if len(s.Listeners) == 0 {
		return nil, fmt.Errorf("ingress: %s: no listeners: add at least one under listeners", s.Pos(""))
	}
	background, calm := context.WithCancel(context.Background())
	g = &Ingress{opts: o, log: o.Log, calm: calm, drainNow: make(chan struct{})}
	defer func() {
		if err != nil {
			g.release(context.Background())
		}
	}()
	if g.observers, err = compose.NewObservers(s.Tracing, "lintel-ingress", o.Version, o.Out, o.Log); err != nil {
		return g, err
	}
	if g.shed, err = compose.Shedder(background, s.Overload, g.observers.Metrics, o.Log); err != nil {
		return g, err
	}
	if g.discovery, err = compose.OpenDiscovery(s.Discovery, o.Catalog, o.Log); err != nil {
		return g, err
	}
	if g.identity = o.Identity; g.identity == nil {
		if g.identity, err = compose.AwaitIdentity(ctx, s, "ingress", g.discovery.CA(), o.Log); err != nil {
			return g, err
		}
	}
	if errs := compose.CheckKV(s); errs != nil {
		return g, compose.ConfigError{Err: errors.Join(errs...)}
	}
	g.kv = compose.OpenKV(g.discovery, s.Discovery, o.Log)
	if err = g.kv.Ready(ctx, s.Discovery.Wait); err != nil {
		return g, err
	}
	wrong, soon := compose.CheckFiles(s)
	if err = compose.Together(append(wrong, g.compile(s))...); err != nil {
		return g, compose.ConfigError{Err: err}
	}
	for _, w := range soon {
		g.log.Warn("ingress: " + w)
	}
	g.awaitDiscovery(ctx, s.Discovery.Wait)
	if g.admin, err = compose.StartAdmin(ctx, s.Admin, o.Listen, g.sources(), o.Log); err != nil {
		return g, err
	}
	if err = g.listen(ctx, s); err != nil {
		return g, err
	}
	g.watched.Open()
	return g, nil
}

// compile puts the first table in force and prepares for the next ones.
func (g *Ingress) compile(s *config.Snapshot) error {
	registry, err := compose.Registry()
	if err != nil {
		return err
	}
	g.stores = store.NewSet()
	g.held = g.stores.Lease()
	c := &compiler{registry: registry, stores: g.stores, log: g.log, redis: &compose.Redis{Log: g.log},
		clusters: &compose.Clusters{ID: g.identity, Feed: g.discovery.Feed, SpareFeed: g.discovery.SpareFeed, Log: g.log, Here: g.discovery.Here}}
	if g.identity != nil {
		c.sender = &compose.Sender{ID: g.identity}
	}
	g.reloader = &compose.Reloader{Path: g.opts.Path, Log: g.log, Metrics: g.observers.Metrics, Apply: func(s *config.Snapshot) error {
		t, err := c.compile(s)
		if err != nil {
			return err
		}
		g.live.Swap(t)
		return nil
	}}
	if g.kv != nil {
		g.reloader.Further = g.kv
	}
	g.watched = &compose.Watched{KV: g.kv, Discovery: g.discovery, Identity: g.identity, Reloader: g.reloader,
		Clusters: c.clusters, Redis: c.redis, Stores: g.stores, Metrics: g.observers.Metrics}
	return errors.Join(g.watched.Gauges(), g.reloader.Boot(s))
}

// sources is what the admin API shows of an ingress.
func (g *Ingress) sources() admin.Sources {
	return admin.Sources{Ready: g.watched.Checks, Config: g.watched.Config, Services: g.watched.Services, Connections: g.watched.Connections,
		Routes: func() any { return compose.Routes(g.live.Acquire()) },
		Explain: func(r admin.ExplainRequest) (any, error) {
			in, err := compose.EdgeEntrance(g.opts.Snapshot.Listeners, r)
			if err != nil {
				return nil, err
			}
			in.Live = true
			return compose.Explain(g.live.Acquire(), in, r)
		},
		Caches: compose.Caches(g.stores), Deny: compose.Deny(g.stores),
		Drain: g.Drain, Leave: func(context.Context) error { return nil }, Reload: g.reloader.Reload, Metrics: g.observers.Metrics.Handler(g.log),
		Unrouted: g.kv != nil}
}

// awaitDiscovery waits until something is known about every service. When the
// wait is over it serves all the same: a service nobody knows answers 503.
func (g *Ingress) awaitDiscovery(ctx context.Context, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := g.discovery.Ready(ctx); err != nil {
		g.log.Warn("ingress: opening without knowing every service", "error", err)
	}
}

func (g *Ingress) listen(ctx context.Context, s *config.Snapshot) error {
	plaintext := slices.ContainsFunc(s.Listeners, func(l config.Listener) bool { return l.TLS == nil })
	redis := g.watched.Redis.For(g.held, s)
	for _, l := range s.Listeners { // certificates first: any plaintext listener answers any one's challenges
		e := &edge{name: l.Name}
		if l.TLS != nil {
			var err error
			if e.tls, err = compose.EdgeTLS(l.Name, l.TLS, plaintext, redis, g.log); err != nil {
				return fmt.Errorf("ingress: listener %s: %w", l.Name, err)
			}
			g.watched.Edge(e.tls)
		}
		g.servers = append(g.servers, e)
	}
	for i, l := range s.Listeners {
		if err := g.open(ctx, g.servers[i], l); err != nil {
			return fmt.Errorf("ingress: listener %s: %w", l.Name, err)
		}
	}
	for _, e := range g.servers {
		go func() {
			if err := e.server.Serve(e.listener); err != nil && !errors.Is(err, net.ErrClosed) {
				g.log.Error("ingress: listener stopped", "listener", e.name, "error", err)
				g.Drain()
			}
		}()
		g.log.Info("ingress: listening", "listener", e.name, "address", e.listener.Addr().String())
	}
	return nil
}

func (g *Ingress) open(ctx context.Context, e *edge, l config.Listener) error {
	observers, err := g.observers.For(ctx, tracing.Edge, l.TrustedProxies)
	if err != nil {
		return err
	}
	conf := pipe.Config{Edge: true, Path: compose.PathMode(l.Path), Trusted: l.TrustedProxies, Observers: observers, Log: g.log, Shed: g.shed}
	if l.TLS == nil {
		conf.Challenge = g.challenge()
	}
	p := pipe.New(conf, &g.live)
	g.watched.Pipe(l.Name, p)
	cfg := compose.Server(l.Name, l.Limits)
	cfg.H2, cfg.H2C = l.TLS != nil, l.H2C
	if l.TLS != nil {
		cfg.TLS = e.tls.Config
	}
	if e.server, err = compose.NewServer(cfg, p, g.log); err != nil {
		return err
	}
	e.listener, err = g.opts.Listen.Open(l.Address)
	return err
}

// challenge answers what an ACME server asks on plaintext listeners; nil when
// no certificate comes from one.
func (g *Ingress) challenge() func(host, path string) (string, bool) {
	var from []*compose.Edge
	for _, e := range g.servers {
		if e.tls != nil && e.tls.ACME() {
			from = append(from, e.tls)
		}
	}
	if from == nil {
		return nil
	}
	return func(host, path string) (string, bool) {
		for _, e := range from {
			if body, ok := e.Challenge(host, path); ok {
				return body, true
			}
		}
		return "", false
	}
}

// Addr is where a listener accepts, "" when there is none of that name.
func (g *Ingress) Addr(listener string) string {
	for _, e := range g.servers {
		if e.name == listener {
			return e.listener.Addr().String()
		}
	}
	return ""
}

// Missing lists the services that have no endpoint at the moment.
func (g *Ingress) Missing() []string {
	var out []string
	for _, s := range g.watched.Clusters.Status() {
		if len(s.Endpoints) == 0 {
			out = append(out, s.Service)
		}
	}
	return out
}

// AdminAddr is where the admin API listens, "" when it is off.
func (g *Ingress) AdminAddr() string { return g.admin.Addr() }

// Ready says why it is not ready, nil when it is.
func (g *Ingress) Ready() error { return admin.Unready(g.watched.Checks()) }

// Drain asks Run to end as SIGTERM does.
func (g *Ingress) Drain() { g.drainOnce.Do(func() { close(g.drainNow) }) }

// Run serves until ctx ends or a drain is asked for, then drains: not ready,
// a pause for load balancers, no new connections, exchanges in flight finish,
// bounded. When a new process has taken over there is nothing to tell anybody.
func (g *Ingress) Run(ctx context.Context) error {
	follow, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { g.reloader.Follow(follow) })
	following.Go(func() { g.kv.Run(follow, func() { _ = g.reloader.Reload() }) })
	for _, e := range g.servers {
		if e.tls != nil {
			following.Go(func() { e.tls.Run(follow) })
		}
	}
	handedOver := false
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case <-g.opts.HandedOver:
			running, handedOver = false, true
		case <-g.drainNow:
			running = false
		case <-g.opts.Reload:
			_ = g.reloader.Reload() // logged and told by readyz; the old one keeps running
			for _, e := range g.servers {
				if e.tls != nil {
					_ = e.tls.Certs.Reload()
				}
			}
		}
	}
	stop()
	following.Wait()
	return g.shutdown(handedOver)
}

func (g *Ingress) shutdown(handedOver bool) error {
	s := g.reloader.Current().Shutdown
	g.admin.Draining()
	if g.opts.Draining != nil {
		g.opts.Draining()
	}
	if handedOver {
		g.log.Info("ingress: a new process has taken over, draining", "drain", s.Drain)
		g.admin.Close() // who asks is to be answered by the new one
	} else {
		g.log.Info("ingress: draining", "delay", s.Delay, "drain", s.Drain)
		for _, e := range g.servers {
			e.server.Leaving() // whoever comes back does so to another instance, once the load balancer has noticed
		}
		time.Sleep(s.Delay)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	cut := g.release(ctx)
	if cut > 0 {
		return fmt.Errorf("ingress: %d exchanges were cut when shutdown.drain (%s) was over", cut, s.Drain)
	}
	g.log.Info("ingress: stopped; nothing was cut")
	return nil
}

// release ends whatever has been started, and reports the exchanges cut.
func (g *Ingress) release(ctx context.Context) int {
	g.calm()
	cut := compose.StopServers(ctx, g.log, func(yield func(exchange.Server) bool) {
		for _, e := range g.servers {
			if e.server != nil && !yield(e.server) {
				return
			}
		}
	})
	for _, e := range g.servers {
		if e.tls != nil {
			e.tls.Close()
		}
	}
	if g.held != nil {
		g.held.Release()
	}
	if g.watched != nil {
		g.watched.EndAgain()
	}
	g.live.Swap(nil)
	if g.admin != nil {
		g.admin.Close()
	}
	if g.identity != nil && g.opts.Identity == nil {
		_ = g.identity.Close()
	}
	g.kv.Close()
	if g.discovery != nil {
		g.discovery.Close()
	}
	if g.observers != nil {
		flush, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		g.observers.Close(flush)
	}
	return cut
}
