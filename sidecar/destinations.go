package sidecar

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
)

// maxDestinations bounds how many services one app may reach.
const maxDestinations = 1024

var errOpaque = errors.New("it is a TCP service: use the port that sidecar.upstreams gives it")

// firstAnswer bounds the wait for discovery when a service is called for the
// first time.
const firstAnswer = 5 * time.Second

// destinations are the services the app has called or may call: by the
// authority of the request, made when first asked for.
type destinations struct {
	clusters *compose.Clusters
	services map[string]config.Service // as the snapshot declares them
	opaque   map[string]bool           // TCP services: not to be reached by HTTP
	lease    *store.Lease

	mu    sync.Mutex
	known map[string]*destination
}

type destination struct {
	cluster *cluster.Cluster
	drop    func() // gives the cluster up
	asked   time.Time
	seen    bool // it has had an endpoint
}

// find is the Find of the outbound route. An authority that is no service's
// name is refused and never dialled.
func (d *destinations) find(x *exchange.Exchange) (*cluster.Cluster, *exchange.Fault) {
	host, _ := route.Host(x.Request.Authority)
	name, ok := serviceName(host)
	if _, declared := d.services[host]; declared {
		name, ok = host, true
	}
	if !ok {
		return nil, unknown(x.Request.Authority, "it is no service name")
	}
	return d.use(x, name)
}

func (d *destinations) use(x *exchange.Exchange, name string) (*cluster.Cluster, *exchange.Fault) {
	if x.Shadow {
		return d.foresee(x, name)
	}
	dest, err := d.get(name)
	if err != nil {
		return nil, unknown(x.Request.Authority, err.Error())
	}
	if dest.cluster.Size() > 0 {
		d.saw(dest)
		return dest.cluster, nil
	}
	until := dest.asked.Add(firstAnswer)
	_ = x.Await(func(ctx context.Context) error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for dest.cluster.Size() == 0 && time.Now().Before(until) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
		return nil
	})
	if dest.cluster.Size() > 0 {
		d.saw(dest)
	}
	return d.found(x, dest)
}

// found is a service, unless nobody has ever answered to its name. One that is known
// but empty is found: its cluster answers 503.
func (d *destinations) found(x *exchange.Exchange, dest *destination) (*cluster.Cluster, *exchange.Fault) {
	if dest.cluster.Size() == 0 && !d.ever(dest) {
		return nil, unknown(x.Request.Authority, "discovery knows no endpoint of it")
	}
	return dest.cluster, nil
}

// foresee is use for an exchange that goes nowhere: what is not in use yet is not
// looked for, and made only until x is over.
func (d *destinations) foresee(x *exchange.Exchange, name string) (*cluster.Cluster, *exchange.Fault) {
	d.mu.Lock()
	dest := d.known[name]
	d.mu.Unlock()
	if dest != nil && time.Since(dest.asked) < firstAnswer {
		return dest.cluster, nil // it would be waited for
	}
	if dest != nil {
		return d.found(x, dest)
	}
	svc, err := d.service(name)
	if err != nil {
		return nil, unknown(x.Request.Authority, err.Error())
	}
	c, err := d.clusters.Imagine(name, svc)
	if err != nil {
		return nil, unknown(x.Request.Authority, err.Error())
	}
	x.OnDone(func() { _ = c.Close() })
	return c, nil
}

// inherit brings the services in use before a reload over, so that their
// clusters and connections live on. Names that nobody answered to are not.
func (d *destinations) inherit(before *destinations) {
	before.mu.Lock()
	var seen []string
	for name, dest := range before.known {
		if dest.seen {
			seen = append(seen, name)
		}
	}
	before.mu.Unlock()
	for _, name := range seen {
		if dest, err := d.get(name); err == nil {
			d.saw(dest)
		}
	}
}

func (d *destinations) saw(dest *destination) {
	d.mu.Lock()
	dest.seen = true
	d.mu.Unlock()
}

func (d *destinations) ever(dest *destination) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return dest.seen
}

func (d *destinations) get(name string) (*destination, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dest, ok := d.known[name]; ok {
		return dest, nil
	}
	svc, err := d.service(name)
	if err != nil {
		return nil, err
	}
	if len(d.known) >= maxDestinations && !d.room() {
		return nil, errTooMany
	}
	name = strings.Clone(name) // of the request's Host, which may be a view
	dest := &destination{asked: time.Now()}
	if dest.cluster, dest.drop, err = d.clusters.UseUntil(d.lease, name, svc); err != nil {
		return nil, err
	}
	d.known[name] = dest
	return dest, nil
}

// service is what a name stands for.
func (d *destinations) service(name string) (config.Service, error) {
	if d.opaque[name] || d.services[name].Protocol == "tcp" {
		return config.Service{}, errOpaque
	}
	svc, ok := d.services[name]
	if !ok {
		svc = compose.MeshService()
	}
	return compose.WithFailover(d.services, svc)
}

// room gives up a name that nobody has answered to, and reports whether there was
// one: whatever an app is made to ask for must not keep it from services.
func (d *destinations) room() bool {
	for name, dest := range d.known {
		if !dest.seen && time.Since(dest.asked) > firstAnswer && dest.cluster.Size() == 0 {
			delete(d.known, name)
			dest.drop()
			return true
		}
	}
	return false
}

// serviceName takes "orders", or Consul's own spellings of it.
func serviceName(host string) (string, bool) {
	for _, suffix := range []string{".service.consul", ".virtual.consul", ".mesh"} {
		if name, ok := strings.CutSuffix(host, suffix); ok {
			host = name
			break
		}
	}
	if host == "" || len(host) > 63 || host == "localhost" || strings.ContainsAny(host, ".[]:%") {
		return "", false
	}
	return host, true
}

func unknown(authority, why string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadGateway, Code: "unknown-service",
		Title: "No such service in the mesh", Detail: authority + ": " + why, Proxy: "destination_not_found"}
}
