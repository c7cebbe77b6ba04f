package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// drainPoll is how often Drain looks whether the catalog still lists us.
const drainPoll = 100 * time.Millisecond

// consulRegistration keeps one instance and its sidecar registered.
type consulRegistration struct {
	consul *Consul
	r      Registration
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// Register registers as Consul's own sidecar would: the service with a check of
// the app, and a connect-proxy with a TCP check of the mesh port and an alias
// of the service's health.
func (c *Consul) Register(ctx context.Context, r Registration) (Registered, error) {
	r, err := r.complete()
	if err != nil {
		return nil, err
	}
	g := &consulRegistration{consul: c, r: r}
	for failures := 1; ; failures++ {
		if err = g.register(ctx); err == nil {
			break
		}
		if isStatus(err, 400) {
			return nil, err // asking again would not help
		}
		if failures == 1 || failures%20 == 0 {
			c.cfg.Log.Warn("discovery: could not register; trying again", "service", r.Service, "id", r.ID, "failures", failures, "error", err)
		}
		if !sleep(ctx, backoff(failures)) {
			return nil, fmt.Errorf("%w; gave up: %w", err, ctx.Err())
		}
	}
	c.cfg.Log.Info("discovery: registered", "service", r.Service, "id", r.ID)
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stop = stop
	g.done.Go(func() { g.renew(life) })
	if r.Check.HTTP == "" && r.Check.GRPC == "" && r.Check.TTL > 0 {
		g.done.Go(func() { g.keepAlive(life) })
	}
	return g, nil
}

func (g *consulRegistration) checkID() string { return "service:" + g.r.ID }

func (g *consulRegistration) ids() []string {
	if g.r.Proxy == nil {
		return []string{g.r.ID}
	}
	return []string{g.r.Proxy.ID, g.r.ID} // the sidecar is what others call: it goes first
}

func (g *consulRegistration) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true, Token: g.consul.token.now(g.consul.cfg.Log)}.WithContext(ctx)
	all := []*api.AgentServiceRegistration{g.service()}
	if g.r.Proxy != nil {
		all = append(all, g.sidecar())
	}
	for _, s := range all {
		if err := g.consul.api.Agent().ServiceRegisterOpts(s, opts); err != nil {
			return g.explain("registering", s.ID, err)
		}
		// An earlier process of this ID may have ended between Drain and Deregister.
		if err := g.consul.api.Agent().DisableServiceMaintenanceOpts(s.ID, g.options(ctx)); err != nil {
			return g.explain("ending the maintenance of", s.ID, err)
		}
	}
	return nil
}

func (g *consulRegistration) service() *api.AgentServiceRegistration {
	r := g.r
	check := &api.AgentServiceCheck{CheckID: g.checkID(), Name: "App of " + r.Service, DeregisterCriticalServiceAfter: g.deregisterAfter()}
	switch {
	case r.Check.HTTP != "":
		check.HTTP = r.Check.HTTP
	case r.Check.GRPC != "":
		check.GRPC = r.Check.GRPC
	case r.Check.TTL > 0:
		check.TTL = r.Check.TTL.String()
	default:
		check.TCP = r.Check.TCP
	}
	if check.TTL == "" {
		check.Interval, check.Timeout = r.Check.Interval.String(), r.Check.Timeout.String()
	}
	return &api.AgentServiceRegistration{ID: r.ID, Name: r.Service, Address: r.Address, Port: r.Port, Tags: r.Tags, Meta: r.Meta,
		Weights: g.weights(), Namespace: r.Namespace, Partition: r.Partition, Checks: api.AgentServiceChecks{check}}
}

func (g *consulRegistration) sidecar() *api.AgentServiceRegistration {
	r, p := g.r, g.r.Proxy
	return &api.AgentServiceRegistration{
		Kind: api.ServiceKindConnectProxy, ID: p.ID, Name: r.Service + "-sidecar-proxy", Address: p.Address, Port: p.Port,
		Tags: r.Tags, Meta: r.Meta, Weights: g.weights(), Namespace: r.Namespace, Partition: r.Partition,
		Proxy: &api.AgentServiceConnectProxyConfig{DestinationServiceName: r.Service, DestinationServiceID: r.ID,
			LocalServiceAddress: p.LocalAddress, LocalServicePort: p.LocalPort},
		Checks: api.AgentServiceChecks{
			{CheckID: "service:" + p.ID + ":1", Name: "Connect Sidecar Listening", TCP: p.CheckAddress, Interval: r.Check.Interval.String(),
				Timeout: r.Check.Timeout.String(), DeregisterCriticalServiceAfter: g.deregisterAfter()},
			{CheckID: "service:" + p.ID + ":2", Name: "Connect Sidecar Aliasing " + r.ID, AliasService: r.ID},
		},
	}
}

func (g *consulRegistration) weights() *api.AgentWeights {
	return &api.AgentWeights{Passing: g.r.Weight, Warning: g.r.Weight}
}

func (g *consulRegistration) deregisterAfter() string {
	if g.r.DeregisterAfter < 0 {
		return ""
	}
	return g.r.DeregisterAfter.String()
}

// renew registers again when the agent forgot us: it restarted without its
// state, or somebody removed us.
func (g *consulRegistration) renew(ctx context.Context) {
	failing := false
	for sleep(ctx, g.r.Renew*9/10+rand.N(g.r.Renew/5+1)) {
		err := g.lookAfter(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			g.consul.cfg.Log.Warn("discovery: cannot see whether the agent still knows us; looking again", "id", g.r.ID, "error", err)
		}
		failing = err != nil
	}
}

func (g *consulRegistration) lookAfter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	for _, id := range g.ids() {
		_, _, err := g.consul.api.Agent().Service(id, g.options(ctx))
		if isStatus(err, 404) {
			g.consul.cfg.Log.Warn("discovery: the agent forgot us; registering again", "service", g.r.Service, "id", id)
			return g.register(ctx)
		}
		if err != nil {
			return g.explain("looking for", id, err)
		}
	}
	return nil
}

// keepAlive tells a TTL check how the app does.
func (g *consulRegistration) keepAlive(ctx context.Context) {
	every := g.r.Check.TTL / 3
	for {
		limited, cancel := context.WithTimeout(ctx, max(every, g.r.Check.Timeout))
		status, note := api.HealthPassing, "as the sidecar sees it"
		if g.r.Check.Probe != nil {
			if err := g.r.Check.Probe(limited); err != nil {
				status, note = api.HealthCritical, err.Error()
			}
		}
		err := g.consul.api.Agent().UpdateTTLOpts(g.checkID(), note, status, g.options(limited))
		cancel()
		if err != nil && ctx.Err() == nil {
			g.consul.cfg.Log.Warn("discovery: could not tell the agent the app's health", "id", g.r.ID, "error", err)
		}
		if !sleep(ctx, every) {
			return
		}
	}
}

// Drain puts both into maintenance, which no passing check can undo, and waits
// until the catalog lists neither.
func (g *consulRegistration) Drain(ctx context.Context) error {
	g.end() // else the renewal would register us as healthy again
	ctx, cancel := context.WithTimeout(ctx, g.r.PropagationWait)
	defer cancel()
	for _, id := range g.ids() {
		err := g.consul.api.Agent().EnableServiceMaintenanceOpts(id, "draining", g.options(ctx))
		if err != nil && !isStatus(err, 404) { // forgotten is as good as drained
			return g.explain("draining", id, err)
		}
	}
	for {
		listed, err := g.listed(ctx)
		if err == nil && !listed {
			return nil
		}
		if !sleep(ctx, drainPoll) {
			return fmt.Errorf("discovery: draining %q: the catalog still lists it: %w", g.r.ID, errors.Join(ctx.Err(), err))
		}
	}
}

func (g *consulRegistration) listed(ctx context.Context) (bool, error) {
	self, _, err := g.consul.api.Health().Service(g.r.Service, "", true, g.options(ctx))
	if err != nil {
		return true, err
	}
	if g.r.Proxy != nil {
		mesh, _, err := g.consul.api.Health().Connect(g.r.Service, "", true, g.options(ctx))
		if err != nil {
			return true, err
		}
		self = append(self, mesh...)
	}
	for _, e := range self {
		for _, id := range g.ids() {
			if e.Service.ID == id && g.ours(e) {
				return true, nil
			}
		}
	}
	return false, nil
}

// ours tells our instance from one of the same ID on another node, as far as
// the catalog shows it.
func (g *consulRegistration) ours(e *api.ServiceEntry) bool {
	port, address := g.r.Port, g.r.Address
	if g.r.Proxy != nil && e.Service.ID == g.r.Proxy.ID {
		port, address = g.r.Proxy.Port, g.r.Proxy.Address
	}
	return e.Service.Port == port && e.Service.Address == address
}

// Deregister removes the sidecar, then the service.
func (g *consulRegistration) Deregister(ctx context.Context) error {
	g.end()
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	var errs []error
	for _, id := range g.ids() {
		err := g.consul.api.Agent().ServiceDeregisterOpts(id, g.options(ctx))
		if err != nil && !isStatus(err, 404) {
			errs = append(errs, g.explain("deregistering", id, err))
		}
	}
	return errors.Join(errs...)
}

// HandOver leaves the instance to a new process.
func (g *consulRegistration) HandOver() { g.end() }

func (g *consulRegistration) end() {
	g.stop()
	g.done.Wait()
}

func (g *consulRegistration) options(ctx context.Context) *api.QueryOptions {
	o := g.consul.options(ctx)
	o.Namespace, o.Partition = g.r.Namespace, g.r.Partition
	return o
}

func (g *consulRegistration) explain(doing, id string, err error) error {
	if isStatus(err, 403) {
		err = fmt.Errorf("%w (%w): the ACL token needs service:write on %q", ErrDenied, err, g.r.Service)
	}
	return fmt.Errorf("discovery: consul: %s %q: %w", doing, id, err)
}
