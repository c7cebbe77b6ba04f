package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lintel.dev/lintel/cmd/lintel/demo/apps"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/ingress"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/sidecar"
)

// Options are how the demo is started.
type Options struct {
	Listen  string // the ingress
	Admin   string // the ingress's admin API; 127.0.0.1:9901, or any free port when that is taken, when empty
	Consul  bool   // use the Consul of the CONSUL_* environment instead of the embedded parts
	Version string
	Log     *slog.Logger
}

// services are the demo's, in the order they start, with who may call them.
var services = []struct {
	name    string
	callers []string
}{
	{"users", []string{"ingress"}},
	{"inventory", []string{"ingress", "orders"}},
	{"orders", []string{"ingress"}},
}

// Demo is the running demo.
type Demo struct {
	opts     Options
	dir      string
	key      *userKey
	catalog  *discovery.Catalog // nil with Consul
	ca       *mtls.CA           // nil with Consul
	sources  []*compose.Identity
	apps     []*app
	sidecars []*sidecar.Sidecar
	ingress  *ingress.Ingress
	stopping []func()
	running  sync.WaitGroup
	ended    chan error        // each part's, when it is over
	sockets  map[string]string // Workload API socket by service
}

// Start brings everything up, services first, and returns when the ingress
// serves.
func Start(ctx context.Context, o Options) (d *Demo, err error) {
	d = &Demo{opts: o, ended: make(chan error, len(services)+1), sockets: map[string]string{}}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.opts.Admin == "" {
		d.opts.Admin = freeOr("127.0.0.1:9901")
	}
	if d.dir, err = os.MkdirTemp("", "lintel-demo-"); err != nil {
		return d, fmt.Errorf("demo: %w", err)
	}
	if d.key, err = newUserKey(filepath.Join(d.dir, "users.pub.pem")); err != nil {
		return d, err
	}
	if !o.Consul {
		d.catalog = discovery.NewCatalog()
		if d.ca, err = mtls.OpenCA(mtls.CAConfig{Log: o.Log}); err != nil {
			return d, err
		}
	}
	var ordersSidecar *sidecar.Sidecar
	for _, s := range services {
		handler, err := apps.Handler(s.name, func() string { return ordersSidecar.Addr("outbound") })
		if err != nil {
			return d, err
		}
		a, err := startApp(handler)
		if err != nil {
			return d, err
		}
		d.apps = append(d.apps, a)
		side, err := d.sidecar(ctx, s.name, a.addr(), s.callers)
		if err != nil {
			return d, err
		}
		if s.name == "orders" {
			ordersSidecar = side
		}
	}
	return d, d.edge(ctx)
}

// freeOr is address, or any free port of loopback when that is taken.
func freeOr(address string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close()
	return address
}

func (d *Demo) identity(ctx context.Context, service string, cfg config.Identity) (*compose.Identity, error) {
	if d.ca == nil {
		return nil, nil // each asks Consul's CA itself
	}
	ids, err := mtls.ParseServiceIDs(cfg.ServiceID)
	if err != nil {
		return nil, err
	}
	id, err := ids.ID(d.ca.TrustDomain(), mtls.Service{Name: service})
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(d.dir, service+".sock")
	src, err := d.ca.Source(ctx, id, socket, 10*time.Second)
	if err != nil {
		return nil, err
	}
	d.sockets[service] = "unix://" + socket
	own, err := compose.NewIdentity(src, cfg, d.opts.Log)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	d.sources = append(d.sources, own)
	return own, nil
}

func (d *Demo) source() string {
	if d.opts.Consul {
		return "consul"
	}
	return "embedded"
}

func (d *Demo) sidecar(ctx context.Context, service, app string, callers []string) (*sidecar.Sidecar, error) {
	text, err := render(sidecarConfig, map[string]any{"Service": service, "App": app, "Callers": callers,
		"Identity": d.source(), "Consul": d.opts.Consul})
	if err != nil {
		return nil, err
	}
	s, err := config.Parse("demo-"+service+".yaml", text)
	if err != nil {
		return nil, err
	}
	id, err := d.identity(ctx, service, s.Identity)
	if err != nil {
		return nil, err
	}
	side, err := sidecar.Start(ctx, sidecar.Options{Snapshot: s, Version: d.opts.Version, Out: io.Discard,
		Log: d.opts.Log, Identity: id, Catalog: d.catalog})
	if err != nil {
		return nil, err
	}
	d.sidecars = append(d.sidecars, side)
	d.run(side.Run)
	return side, nil
}

// edge starts the ingress. Its configuration lies in a file, so that one can
// edit it and watch the reload.
func (d *Demo) edge(ctx context.Context) error {
	text, err := render(ingressConfig, map[string]any{"Listen": d.opts.Listen, "Admin": d.opts.Admin,
		"Identity": d.source(), "Consul": d.opts.Consul, "KeyFile": d.key.file})
	if err != nil {
		return err
	}
	file := d.ConfigFile()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	s, err := config.Load(file)
	if err != nil {
		return err
	}
	id, err := d.identity(ctx, "ingress", s.Identity)
	if err != nil {
		return err
	}
	d.ingress, err = ingress.Start(ctx, ingress.Options{Snapshot: s, Path: file, Version: d.opts.Version, Out: io.Discard,
		Log: d.opts.Log, Identity: id, Catalog: d.catalog})
	if err != nil {
		return err
	}
	d.run(d.ingress.Run)
	return d.ready(ctx)
}

// ready waits until every service answers through the whole chain's discovery.
func (d *Demo) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		missing := d.ingress.Missing()
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("demo: waited a minute for healthy endpoints of %v", missing)
		case err := <-d.ended:
			return fmt.Errorf("demo: a part ended while starting: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// run runs one part until Close, which ends the parts in the order they were
// started last.
func (d *Demo) run(part func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	d.running.Go(func() {
		defer close(done)
		d.ended <- part(ctx)
	})
	d.stopping = append(d.stopping, func() { stop(); <-done })
}

// ConfigFile is the ingress's configuration.
func (d *Demo) ConfigFile() string { return filepath.Join(d.dir, "ingress.yaml") }

// Ended tells when a part is over by itself: with its error, or nil after a
// drain by the admin API.
func (d *Demo) Ended() <-chan error { return d.ended }

// Close ends everything, the ingress first, and removes what was written.
func (d *Demo) Close() {
	for i := len(d.stopping) - 1; i >= 0; i-- {
		d.stopping[i]()
	}
	d.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, a := range d.apps {
		a.close(ctx)
	}
	for _, s := range d.sources {
		_ = s.Close()
	}
	if d.ca != nil {
		_ = d.ca.Close()
	}
	if d.dir != "" {
		_ = os.RemoveAll(d.dir)
	}
}
