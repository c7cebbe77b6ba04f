package discovery

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"

	"lintel.dev/lintel/proxy/cluster"
)

// Catalog is an embedded catalog: a Source and a Registrar within one process,
// for the demo. It runs no checks: an instance is healthy until SetHealth says
// otherwise.
type Catalog struct {
	mu        sync.Mutex
	instances map[string]*instance
	changed   chan struct{} // closed, and replaced, with every change
}

type instance struct {
	r       Registration
	healthy bool
}

// NewCatalog makes an empty catalog.
func NewCatalog() *Catalog {
	return &Catalog{instances: map[string]*instance{}, changed: make(chan struct{})}
}

// Name is "embedded".
func (c *Catalog) Name() string { return "embedded" }

// Watch follows the healthy instances; it knows of no datacenters, namespaces
// and partitions.
func (c *Catalog) Watch(ctx context.Context, q Query, update func(Update)) error {
	var last []cluster.Endpoint
	for first := true; ; first = false {
		endpoints, changed := c.find(q)
		if first || !sameEndpoints(last, endpoints) {
			last = endpoints
			update(Update{Endpoints: endpoints})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Catalog) find(q Query) ([]cluster.Endpoint, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []cluster.Endpoint
	for _, i := range c.instances {
		r := i.r
		if r.Service != q.Service || !i.healthy || q.Connect && r.Proxy == nil {
			continue
		}
		if slices.ContainsFunc(q.Tags, func(tag string) bool { return !slices.Contains(r.Tags, tag) }) {
			continue
		}
		host, port := r.Address, r.Port
		if q.Connect {
			host, port = r.Proxy.Address, r.Proxy.Port
		}
		set(&host, "127.0.0.1")
		found = append(found, cluster.Endpoint{Address: net.JoinHostPort(host, strconv.Itoa(port)), Weight: r.Weight,
			Tags: slices.Clone(r.Tags), Meta: maps.Clone(r.Meta), Node: "embedded"})
	}
	return tidy(found), c.changed
}

// change runs f on the instances and wakes those who watch.
func (c *Catalog) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Register adds an instance, or replaces the one of the same ID.
func (c *Catalog) Register(_ context.Context, r Registration) (Registered, error) {
	r, err := r.complete()
	if err != nil {
		return nil, err
	}
	i := &instance{r: r, healthy: true}
	c.change(func() { c.instances[r.ID] = i })
	return &catalogRegistration{catalog: c, instance: i}, nil
}

// SetHealth makes an instance healthy or not, by its ID.
func (c *Catalog) SetHealth(id string, healthy bool) error {
	found := false
	c.change(func() {
		if i := c.instances[id]; i != nil {
			i.healthy, found = healthy, true
		}
	})
	if !found {
		return fmt.Errorf("discovery: the embedded catalog has no instance %q", id)
	}
	return nil
}

type catalogRegistration struct {
	catalog  *Catalog
	instance *instance
}

// Drain returns at once: those who watch are told before they next pick.
func (g *catalogRegistration) Drain(context.Context) error {
	g.catalog.change(func() { g.instance.healthy = false })
	return nil
}

func (g *catalogRegistration) HandOver() {}

func (g *catalogRegistration) Deregister(context.Context) error {
	g.catalog.change(func() {
		if g.catalog.instances[g.instance.r.ID] == g.instance { // not one that took its place
			delete(g.catalog.instances, g.instance.r.ID)
		}
	})
	return nil
}
