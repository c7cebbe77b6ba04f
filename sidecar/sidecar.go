package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/listen"
	"lintel.dev/lintel/proxy/pipe"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/sidecar/child"
	"lintel.dev/lintel/tracing"
)

// Options are what a sidecar is started with.
type Options struct {
	Snapshot *config.Snapshot
	Path     string // followed for changes; "" when there is no file
	Version  string
	Out      io.Writer // access log
	Log      *slog.Logger

	Identity *compose.Identity  // opened already (the demo's); nil: as the snapshot says
	Catalog  *discovery.Catalog // the demo's; nil: as the snapshot says
	Reload   <-chan struct{}    // SIGHUP; may be nil

	App        *child.Command   // started when calls can be taken, ended in order; nil: it runs by itself
	Signals    <-chan os.Signal // passed on to App; may be nil
	Listen     listen.Opener    // how listeners open; nil: listen.Open
	HandedOver <-chan struct{}  // a new process has our listeners and place in the catalog; may be nil
	Draining   func()           // called when a drain begins; may be nil
}

// Sidecar is a running sidecar.
type Sidecar struct {
	opts       Options
	cfg        *config.Sidecar
	log        *slog.Logger
	observers  *compose.Observers
	discovery  *compose.Discovery
	identity   *compose.Identity
	intentions *intentions
	memory     *txntoken.Memory
	verifier   atomic.Pointer[txntoken.Verifier]
	stores     *store.Set
	reloader   *compose.Reloader
	watched    *compose.Watched
	in, out    pipe.Live
	opaque     atomic.Pointer[opaque]
	doors      []*door
	admin      *compose.Admin
	registered discovery.Registered
	leaving    sync.Mutex // one at a time takes it out of the catalog
	app        *child.Child
	probe      *probe
	background context.CancelFunc
	shed       *pipe.Shedder // nil when not configured
	working    sync.WaitGroup
	drainNow   chan struct{}
	drainOnce  sync.Once
}

// door is one open listener.
type door struct {
	name     string
	server   exchange.Server
	listener net.Listener
	closed   bool
}

// memorySize bounds the transactions in flight that the app's own calls can
// belong to.
const memorySize = 65536

// Start opens everything in order: observers, discovery, identity, intentions,
// tables, admin, listeners, and registers last, when calls can be taken.
func Start(ctx context.Context, o Options) (c *Sidecar, err error) {
	s := o.Snapshot
	if s.Sidecar == nil {
		return nil, fmt.Errorf("sidecar: %s: no sidecar section: say at least sidecar: {service: …, app: …}", s.Pos(""))
	}
	if errs := compose.CheckKV(s); errs != nil {
		return nil, errors.Join(errs...)
	}
	wrong, soon := compose.CheckFiles(s)
	if len(wrong) > 0 {
		return nil, compose.ConfigError{Err: errors.Join(wrong...)}
	}
	for _, w := range soon {
		o.Log.Warn("sidecar: " + w)
	}
	c = &Sidecar{opts: o, cfg: s.Sidecar, log: o.Log.With("service", s.Sidecar.Service), memory: txntoken.NewMemory(memorySize),
		drainNow: make(chan struct{})}
	background, cancel := context.WithCancel(context.Background())
	c.background = cancel
	defer func() {
		if err != nil {
			c.release(context.Background())
		}
	}()
	if c.observers, err = compose.NewObservers(s.Tracing, c.cfg.Service+"-sidecar", o.Version, o.Out, c.log); err != nil {
		return c, err
	}
	if c.shed, err = compose.Shedder(background, s.Overload, c.observers.Metrics, c.log); err != nil {
		return c, err
	}
	if c.discovery, err = compose.OpenDiscovery(s.Discovery, o.Catalog, c.log); err != nil {
		return c, err
	}
	if c.identity = o.Identity; c.identity == nil {
		if c.identity, err = compose.AwaitIdentity(ctx, s, c.cfg.Service, c.discovery.CA(), c.log); err != nil {
			return c, err
		}
	}
	if c.identity == nil {
		return c, errors.New("sidecar: identity.source is none: a sidecar needs workload-api, consul or embedded")
	}
	if c.discovery.Consul != nil {
		c.intentions = &intentions{id: c.identity}
		c.working.Go(func() { c.intentions.follow(background, c.discovery.Consul, c.cfg.Service, c.log) })
	}
	if err = c.compile(s); err != nil {
		return c, err
	}
	wait, done := context.WithTimeout(ctx, s.Discovery.Wait)
	defer done()
	if err := c.discovery.Ready(wait); err != nil {
		c.log.Warn("sidecar: opening without knowing every service", "error", err)
	}
	if c.cfg.App != "" {
		c.probe = newProbe(c.cfg.App, c.cfg.Check)
		c.working.Go(func() { c.probe.run(background) })
	}
	if c.admin, err = compose.StartAdmin(ctx, s.Admin, c.opts.Listen, c.sources(), c.log); err != nil {
		return c, err
	}
	if err = c.listen(ctx); err != nil {
		return c, err
	}
	c.watched.Open()
	return c, c.register(ctx)
}

// compile puts the first tables in force and prepares for the next ones.
func (c *Sidecar) compile(s *config.Snapshot) error {
	registry, err := compose.Registry()
	if err != nil {
		return err
	}
	c.stores = store.NewSet()
	comp := &compiler{registry: registry, stores: c.stores, log: c.log, id: c.identity, intentions: c.intentions, redis: &compose.Redis{Log: c.log},
		clusters: &compose.Clusters{ID: c.identity, Feed: c.discovery.Feed, SpareFeed: c.discovery.SpareFeed, Log: c.log, Here: c.discovery.Here},
		sender:   &compose.Sender{ID: c.identity, Workload: s.Identity.Txn.Workload}}
	c.reloader = &compose.Reloader{Path: c.opts.Path, Log: c.log, Metrics: c.observers.Metrics, Apply: func(s *config.Snapshot) error {
		if s.Sidecar == nil || s.Sidecar.Service != c.cfg.Service {
			return fmt.Errorf("%s: sidecar.service cannot change while running", s.Pos("sidecar.service"))
		}
		if err := exchangeIsServed(s); err != nil {
			return err
		}
		if s.Sidecar.App == "" && c.cfg.App != "" {
			return fmt.Errorf("%s: sidecar.app cannot be taken away while running", s.Pos("sidecar.app"))
		}
		if (s.Sidecar.AppProtocol == "tcp") != (c.cfg.AppProtocol == "tcp") {
			return fmt.Errorf("%s: sidecar.app_protocol cannot change between tcp and HTTP while running", s.Pos("sidecar.app_protocol"))
		}
		streams, err := comp.opaque(s)
		if err != nil {
			return err
		}
		inUse := comp.dests
		out, err := comp.outbound(s, c.memory)
		if err != nil {
			streams.lease.Release()
			return err
		}
		if c.cfg.App != "" && streams.app == nil {
			in, verifier, err := comp.inbound(s, c.memory)
			if err != nil {
				comp.dests = inUse // those of the table that stays go on being added to
				out.Release()
				streams.lease.Release()
				return err
			}
			c.verifier.Store(verifier)
			c.in.Swap(in)
		}
		c.out.Swap(out)
		if old := c.opaque.Swap(streams); old != nil {
			old.lease.Release() // streams that run keep their connections
		}
		return nil
	}}
	c.watched = &compose.Watched{Discovery: c.discovery, Identity: c.identity, Reloader: c.reloader,
		Clusters: comp.clusters, Redis: comp.redis, Stores: c.stores, Metrics: c.observers.Metrics}
	return errors.Join(c.watched.Gauges(), c.reloader.Boot(s))
}

// listen opens the mesh listener (when there is an app to call), the outbound
// listener and the upstreams' loopback ports.
func (c *Sidecar) listen(ctx context.Context) error {
	if c.cfg.App != "" && c.cfg.AppProtocol == "tcp" {
		if err := c.openOpaque(meshListener, c.cfg.Service, c.cfg.Mesh, true); err != nil {
			return err
		}
	} else if c.cfg.App != "" {
		cfg := compose.Server(meshListener, c.cfg.Limits)
		cfg.TLS = mtls.ServerConfig(c.identity.Source, nil, c.identity.Server(c.cfg.AllowTLS12))
		cfg.H2, cfg.PeerID = true, mtls.PeerOf
		if err := c.open(ctx, cfg, c.cfg.Mesh, tracing.Inbound, &c.in); err != nil {
			return err
		}
	}
	plain := func(name, address string) error {
		if err := onLoopback(address); err != nil {
			return fmt.Errorf("sidecar: %s: %w", name, err)
		}
		cfg := compose.Server(name, c.cfg.Limits)
		cfg.H2C, cfg.ProxyRequests = true, true
		return c.open(ctx, cfg, address, tracing.Outbound, &c.out)
	}
	if c.cfg.Outbound != "off" {
		if err := plain(outboundListener, c.cfg.Outbound); err != nil {
			return err
		}
	}
	for i, u := range c.cfg.Upstreams {
		if c.opaque.Load().services[u.Service] != nil {
			if err := onLoopback(u.Bind); err != nil {
				return fmt.Errorf("sidecar: %s: %w", upstreamListener(i), err)
			}
			if err := c.openOpaque(upstreamListener(i), u.Service, u.Bind, false); err != nil {
				return err
			}
			continue
		}
		if err := plain(upstreamListener(i), u.Bind); err != nil {
			return err
		}
	}
	for _, d := range c.doors {
		c.working.Go(func() {
			if err := d.server.Serve(d.listener); err != nil && !errors.Is(err, net.ErrClosed) {
				c.log.Error("sidecar: listener stopped", "listener", d.name, "error", err)
				c.Drain()
			}
		})
		c.log.Info("sidecar: listening", "listener", d.name, "address", d.listener.Addr().String())
	}
	return nil
}

func (c *Sidecar) open(ctx context.Context, cfg exchange.ServerConfig, address string, mode tracing.Mode, live *pipe.Live) error {
	trusted := loopback
	if mode == tracing.Inbound {
		trusted = nil // peers are trusted by identity, not by address
	}
	observers, err := c.observers.For(ctx, mode, trusted)
	if err != nil {
		return err
	}
	p := pipe.New(pipe.Config{Path: compose.PathMode(c.cfg.Path), Observers: observers, Log: c.log, Shed: c.shed}, live)
	c.watched.Pipe(cfg.Name, p)
	server, err := compose.NewServer(cfg, p, c.log)
	if err != nil {
		return fmt.Errorf("sidecar: %s: %w", cfg.Name, err)
	}
	listener, err := c.opts.Listen.Open(address)
	if err != nil {
		return fmt.Errorf("sidecar: %s: %w", cfg.Name, err)
	}
	c.doors = append(c.doors, &door{name: cfg.Name, server: server, listener: listener})
	return nil
}

// onLoopback refuses addresses from which others could use this sidecar's
// identity.
func onLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("expected a loopback host:port, found %q", address)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("expected a loopback address, found %q: whoever reaches it calls as this service", address)
}

// Addr is where a listener accepts, "" when there is none of that name.
func (c *Sidecar) Addr(listener string) string {
	for _, d := range c.doors {
		if d.name == listener {
			return d.listener.Addr().String()
		}
	}
	return ""
}

// AdminAddr is where the admin API listens, "" when it is off.
func (c *Sidecar) AdminAddr() string { return c.admin.Addr() }

// Drain asks Run to end as SIGTERM does.
func (c *Sidecar) Drain() { c.drainOnce.Do(func() { close(c.drainNow) }) }

// Run serves until ctx ends, a drain is asked for, a new process has taken over,
// or the app it started has ended. Then it drains. Its error is a *child.Exit
// when an app was started and its exit code is not 0.
func (c *Sidecar) Run(ctx context.Context) error {
	follow, stop := context.WithCancel(ctx)
	defer stop()
	var following sync.WaitGroup
	following.Go(func() { c.reloader.Follow(follow) })
	failed := c.startApp()
	why := stopped
	for running := failed == nil; running; {
		select {
		case <-ctx.Done():
			running = false
		case <-c.drainNow:
			running = false
		case <-c.opts.HandedOver:
			running, why = false, handedOver
		case <-c.app.Done():
			running, why = false, appEnded
		case sig := <-c.opts.Signals:
			c.app.Signal(sig)
		case <-c.opts.Reload:
			_ = c.reloader.Reload() // logged and told by readyz; the old one keeps running
		}
	}
	stop()
	following.Wait()
	if failed != nil {
		c.release(ctx)
		return failed
	}
	return c.shutdown(why)
}

// release ends whatever has been started, and reports the exchanges cut.
func (c *Sidecar) release(ctx context.Context) int {
	cut := c.closeDoors(ctx, true)
	end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if c.registered != nil {
		if err := c.registered.Deregister(end); err != nil {
			c.log.Warn("sidecar: not deregistered; Consul will do it when the checks stay critical", "error", err)
		}
	}
	c.background()
	if c.watched != nil {
		c.watched.EndAgain()
	}
	c.in.Swap(nil)
	c.out.Swap(nil)
	if old := c.opaque.Load(); old != nil {
		old.lease.Release()
	}
	if c.admin != nil {
		c.admin.Close()
	}
	if c.identity != nil && c.opts.Identity == nil {
		_ = c.identity.Close()
	}
	if c.discovery != nil {
		c.discovery.Close()
	}
	c.working.Wait()
	if c.observers != nil {
		c.observers.Close(end)
	}
	return cut
}
