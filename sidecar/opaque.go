package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/proxy/tcp"
)

// opaque is what a snapshot says of opaque TCP: who may connect to the app, and
// the services behind the upstreams' ports.
type opaque struct {
	policy   *policy          // nil: the app speaks HTTP
	app      *cluster.Cluster // nil: the same
	services map[string]*cluster.Cluster
	forward  cluster.Options
	idle     time.Duration
	lease    *store.Lease
	snapshot *config.Snapshot
}

// opaque compiles it.
func (c *compiler) opaque(s *config.Snapshot) (o *opaque, err error) {
	cfg := s.Sidecar
	o = &opaque{snapshot: s, services: map[string]*cluster.Cluster{}, lease: c.stores.Lease(), idle: cfg.TunnelIdle,
		forward: compose.Forwarding(cfg.Timeout, cfg.Retries, nil)}
	lease := o.lease
	defer func() {
		if err != nil {
			lease.Release()
		}
	}()
	names, err := opaqueServices(s)
	if err != nil {
		return nil, err
	}
	for name := range names {
		svc, ok := s.Services[name]
		if !ok {
			svc = compose.MeshService()
		}
		svc.Protocol = "tcp"
		if svc, err = compose.WithFailover(s.Services, svc); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Pos("services."+name+".failover"), err)
		}
		if o.services[name], err = c.clusters.Use(o.lease, name, svc); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Pos("sidecar.upstreams"), err)
		}
	}
	if cfg.App == "" || cfg.AppProtocol != "tcp" {
		return o, nil
	}
	if err = opaquePolicy(s); err != nil {
		return nil, err
	}
	if o.policy, err = newPolicy(cfg.Service, cfg.Policy, c.id, c.intentions); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Pos("sidecar.policy.allow"), err)
	}
	c.log.Info("policy: in force for opaque TCP", "rules", o.policy.InForce())
	app := compose.MeshService()
	app.Mesh, app.Static, app.Protocol = false, []config.StaticEndpoint{{Address: cfg.App}}, "tcp"
	app.Breaker.Enabled = false // one endpoint, and its health is what Consul is told
	if o.app, err = c.clusters.Use(o.lease, cfg.Service+"/app", app); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Pos("sidecar.app"), err)
	}
	return o, nil
}

// opaquePolicy refuses what an opaque stream has no place for: a condition that
// cannot be checked must not look as if it were.
func opaquePolicy(s *config.Snapshot) error {
	cfg := s.Sidecar
	st := cfg.Policy.Streams
	at, why := "", ""
	for i, a := range cfg.Policy.Allow {
		if len(a.Methods) > 0 || len(a.Paths) > 0 || a.User || len(a.Through) > 0 || len(a.Scope) > 0 {
			at = fmt.Sprintf("sidecar.policy.allow[%d]", i)
			why = "streams have neither methods, paths nor a Txn-Token: a rule can only say from"
			break
		}
	}
	for _, c := range []struct {
		key   string
		given bool
		why   string
	}{
		{"sidecar.policy.require", len(cfg.Policy.Require) > 0, "streams carry no Txn-Token and no chain: nothing can be required of them"},
		{"sidecar.policy.streams", st.Max > 0 || st.Recheck > 0 || len(st.Until) > 0, "opaque streams end when their caller loses its permission, and have no other end"},
		{"sidecar.token_exchange", cfg.TokenExchange != nil, "the mesh listener does not speak HTTP"},
		{"sidecar.context_headers", len(cfg.ContextHeaders) > 0, "streams have no headers"},
		{"sidecar.concurrency", cfg.Concurrency != nil, "streams are limited by limits.connections"},
		{"sidecar.inbound", len(cfg.Inbound) > 0, "filters are for HTTP"},
	} {
		if c.given && at == "" {
			at, why = c.key, c.why
		}
	}
	if at == "" {
		return nil
	}
	return fmt.Errorf("%s: %s: app_protocol is tcp, and %s", s.Pos(at), at, why)
}

// opaqueServices are the services behind ports for opaque TCP.
func opaqueServices(s *config.Snapshot) (map[string]bool, error) {
	out, is := map[string]bool{}, map[string]string{}
	for i, u := range s.Sidecar.Upstreams {
		declared := s.Services[u.Service].Protocol
		protocol := upstreamProtocol(s, u)
		at := fmt.Sprintf("sidecar.upstreams[%d].protocol", i)
		switch before := is[u.Service]; {
		case u.Protocol == "http" && declared == "tcp", u.Protocol == "tcp" && (declared == "http1" || declared == "h2"):
			return nil, fmt.Errorf("%s: %s is %s, and services.%s.protocol is %s: say one of them only", s.Pos(at), at, u.Protocol, u.Service, declared)
		case before != "" && before != protocol:
			return nil, fmt.Errorf("%s: %s is %s here and %s in another upstream of %s", s.Pos(at), at, protocol, before, u.Service)
		}
		is[u.Service] = protocol
		if protocol == "tcp" {
			if u.Hedge != nil {
				at := fmt.Sprintf("sidecar.upstreams[%d].hedge", i)
				return nil, fmt.Errorf("%s: %s is for HTTP, and %s is reached by opaque TCP", s.Pos(at), at, u.Service)
			}
			out[u.Service] = true
		}
	}
	return out, nil
}

func upstreamProtocol(s *config.Snapshot, u config.Upstream) string {
	switch {
	case u.Protocol != "":
		return u.Protocol
	case s.Services[u.Service].Protocol == "tcp":
		return "tcp"
	}
	return "http"
}

// connect decides about a caller of an opaque stream, who says nothing but who
// it is.
func (p *policy) connect(peer string) error {
	why := "no allow rule names it"
	for i := range p.rules {
		if r := &p.rules[i]; r.from.Match(peer) && !r.user && len(r.methods) == 0 && len(r.paths) == 0 {
			if p.intentions == nil || !p.intentions.bans(peer) {
				return nil
			}
			why = fmt.Sprintf("sidecar.policy.allow[%d] would allow it", i)
			break
		}
	}
	if p.intentions != nil {
		allowed, reason := p.intentions.connect(peer, p.byDefault)
		if allowed {
			return nil
		}
		why += "; " + reason
	}
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "peer-denied", Title: "Caller is not allowed",
		Err: fmt.Errorf("%s may not connect to %s: %s", peer, p.service, why)}
}

// connect is decide for an opaque stream: an intention with HTTP permissions
// cannot allow one, as with Consul's own proxies.
func (i *intentions) connect(peer string, byDefault bool) (bool, string) {
	x := exchange.Exchange{Peer: exchange.Peer{ID: peer}}
	if s := i.state.Load(); s != nil {
		if in := s.about(peer); in != nil && len(in.permissions) > 0 {
			return false, fmt.Sprintf("the intention for %s has HTTP permissions, which cannot allow an opaque stream", in.Source)
		}
	}
	r := i.decide(&x, byDefault)
	return r.allowed, r.String()
}

// openOpaque opens a listener for opaque streams: the mesh's, or a loopback port.
func (c *Sidecar) openOpaque(name, service, address string, inbound bool) error {
	cfg := tcp.Config{Name: name, Service: service, Idle: func() time.Duration { return c.opaque.Load().idle },
		Handshake: c.cfg.Limits.HeaderTimeout, MaxConns: c.cfg.Limits.Connections, Ended: c.observers.Stream, Log: c.log}
	if inbound {
		cfg.TLS = mtls.ServerConfig(c.identity.Source, func(p exchange.Peer) error { return c.opaque.Load().policy.connect(p.ID) },
			c.identity.Server(c.cfg.AllowTLS12))
		cfg.PeerID = mtls.PeerOf
	}
	cfg.Connect = func(ctx context.Context, st *exchange.Stream) (exchange.Wire, func(), *exchange.Fault) {
		o := c.opaque.Load()
		to := o.app
		if !inbound {
			to = o.services[service]
		}
		if to == nil {
			return nil, nil, &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusBadGateway, Code: "unknown-service",
				Title: "No such service in the mesh", Detail: "the configuration in force has no TCP upstream for " + service}
		}
		w, peer, over, fault := to.Connect(ctx, st, &o.forward)
		if fault == nil && !inbound {
			st.Peer = peer
		}
		return w, over, fault
	}
	cfg.Recheck = func() func(*exchange.Stream) *exchange.Fault { return c.recheck(inbound) }
	server := tcp.NewServer(cfg)
	listener, err := c.opts.Listen.Open(address)
	if err != nil {
		return fmt.Errorf("sidecar: %s: %w", name, err)
	}
	c.watched.Opaque(server)
	c.doors = append(c.doors, &door{name: name, server: server, listener: listener})
	return nil
}

// recheck says of running streams which must end: all, when the own identity has
// expired, those whose other side is trusted no more, and those whose caller may
// not connect any more.
func (c *Sidecar) recheck(inbound bool) func(*exchange.Stream) *exchange.Fault {
	if ends := c.identity.Status().NotAfter; time.Now().After(ends) {
		fault := &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable, Code: "identity",
			Title: "Internal identity is not in order", Err: errors.New("the own identity has expired and has not been renewed")}
		return func(*exchange.Stream) *exchange.Fault { return fault }
	}
	o := c.opaque.Load()
	known := map[string]*exchange.Fault{} // by peer: many streams are of few
	return func(st *exchange.Stream) *exchange.Fault {
		if st.Peer.Cert != nil { // upstreams may be plaintext
			if err := c.identity.Trusted(st.Peer, time.Now()); err != nil {
				return untrusted(err)
			}
		}
		if !inbound || o.policy == nil {
			return nil
		}
		fault, ok := known[st.Peer.ID]
		if !ok {
			if err := o.policy.connect(st.Peer.ID); err != nil {
				errors.As(err, &fault)
			}
			known[st.Peer.ID] = fault
		}
		return fault
	}
}

func untrusted(err error) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "peer-untrusted",
		Title: "The other side's certificate is no longer trusted", Err: err}
}
