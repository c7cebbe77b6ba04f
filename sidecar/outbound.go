package sidecar

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
)

var errTooMany = errors.New("too many services are in use already")

// loopback is whose trace context and request id count on the outbound side:
// the own app's.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// outbound compiles the table for the app's own calls: one route, whose service
// is found by authority, and one per upstream listener.
func (c *compiler) outbound(s *config.Snapshot, memory *txntoken.Memory) (*route.Table, error) {
	lease := c.stores.Lease()
	table, err := c.outboundTable(s, memory, lease)
	if err != nil {
		lease.Release()
	}
	return table, err
}

func (c *compiler) outboundTable(s *config.Snapshot, memory *txntoken.Memory, lease *store.Lease) (*route.Table, error) {
	spec := route.Spec{Release: lease.Release}
	found, err := filter.Bind("correlate", s.Pos("sidecar"), &correlate{memory: memory})
	if err != nil {
		return nil, err
	}
	fw, err := compose.Firewall(s.Firewall, s.Pos("firewall"))
	if err != nil {
		return nil, err
	}
	spec.Always = []filter.Instance{found, fw}
	consumers, err := compose.Consumers(s)
	if err != nil {
		return nil, err
	}
	env := compose.Env(lease, c.log, "outbound", consumers)
	env.Redis = c.redis.For(lease, s)
	chain, err := compose.Filters(c.registry, s.Sidecar.OutboundChain, env)
	if err != nil {
		return nil, err
	}
	opaque, err := opaqueServices(s)
	if err != nil {
		return nil, err
	}
	dests := &destinations{clusters: c.clusters, services: s.Services, opaque: opaque, lease: lease, known: map[string]*destination{}}
	forward := compose.Forwarding(s.Sidecar.Timeout, s.Sidecar.Retries, s.Deadline)
	spec.Routes = append(spec.Routes, route.Route{Name: "outbound", Pos: s.Pos("sidecar.outbound"),
		Listeners: []string{outboundListener}, Filters: chain, Find: dests.find, Forward: forward, TunnelIdle: int64(s.Sidecar.TunnelIdle),
		Before: c.sender.BeforeWrite, Place: outboundPlaces(s)})
	for i, u := range s.Sidecar.Upstreams {
		pos := s.Pos(fmt.Sprintf("sidecar.upstreams[%d]", i))
		if _, declared := s.Services[u.Service]; !declared {
			if _, ok := serviceName(u.Service); !ok {
				return nil, fmt.Errorf("%s: upstream service %q is no service name", pos, u.Service)
			}
		}
		if opaque[u.Service] {
			continue // its port speaks no HTTP
		}
		if _, err := dests.get(u.Service); err != nil {
			return nil, fmt.Errorf("%s: %w", pos, err)
		}
		forward := forward
		forward.Hedge = compose.Hedge(u.Hedge)
		spec.Routes = append(spec.Routes, route.Route{Name: "upstream-" + u.Service, Pos: pos,
			Listeners: []string{upstreamListener(i)}, Filters: chain, Forward: forward, RewriteHost: u.Service,
			TunnelIdle: int64(s.Sidecar.TunnelIdle), Before: c.sender.BeforeWrite, Place: upstreamPlaces(s, i),
			Find: func(x *exchange.Exchange) (*cluster.Cluster, *exchange.Fault) {
				if !localName(x.Request.Authority, u.Service) {
					return nil, unknown(x.Request.Authority, "this port is for "+u.Service+" and takes its name or a loopback address as Host")
				}
				return dests.use(x, u.Service)
			}})
	}
	if c.dests != nil {
		dests.inherit(c.dests)
	}
	t, err := route.Compile(spec)
	if err == nil {
		c.dests = dests
	}
	return t, err
}

const (
	meshListener     = "mesh"
	outboundListener = "outbound"
)

func upstreamListener(i int) string { return fmt.Sprintf("upstream-%d", i) }

// localName reports whether an authority is what an app calls an upstream port
// by. A page in a browser that got here by DNS rebinding uses its own name.
func localName(authority, service string) bool {
	host, ok := route.Host(authority)
	if !ok {
		return false
	}
	if host == "localhost" || host == service {
		return true
	}
	if name, ok := serviceName(host); ok && name == service {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
