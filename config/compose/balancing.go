package compose

import (
	"crypto/tls"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
)

// balancing fills in how a cluster picks endpoints and knows which are healthy.
func (c *Clusters) balancing(svc config.Service, secure *tls.Config, cfg *cluster.Config) {
	cfg.Log, cfg.Here = c.Log, c.Here
	cfg.Balance, cfg.BoundedLoad, cfg.SlowStart = svc.Balance, svc.BoundedLoad, svc.SlowStart
	cfg.Subset, cfg.Panic = svc.Subset, svc.Panic
	if svc.Locality != "off" {
		cfg.Locality = svc.Locality
	}
	if svc.Subset > 0 {
		cfg.Instance, _ = os.Hostname() // without one all processes use the same part
	}
	for _, k := range svc.Hash {
		key := cluster.HashKey{}
		if key.From, key.Name = k.From(); k.Set {
			key.Cookie = &cluster.Cookie{Path: k.CookieAt, TTL: k.TTL, Secure: k.Secure, HTTPOnly: k.HTTPOnly, SameSite: k.SameSite}
		}
		cfg.Hash = append(cfg.Hash, key)
	}
	if o := svc.Outlier; o != nil {
		out := cluster.Outlier(*o)
		cfg.Outlier = &out
	}
	cfg.Health = health(svc, secure)
}

func health(svc config.Service, secure *tls.Config) *cluster.Health {
	h := svc.Health
	if h == nil {
		return nil
	}
	out := &cluster.Health{Interval: h.Interval, Timeout: h.Timeout, Healthy: h.Healthy, Unhealthy: h.Unhealthy,
		Secure: secure != nil, Protocol: exchange.HTTP1}
	if svc.Protocol == "h2" {
		out.Protocol = exchange.HTTP2
	}
	switch {
	case h.HTTP != nil:
		out.Kind, out.Path, out.Host, out.Status = "http", h.HTTP.Path, h.HTTP.Host, h.HTTP.Status
		for _, name := range slices.Sorted(maps.Keys(h.HTTP.Headers)) {
			out.Header = append(out.Header, exchange.Field{Name: name, Value: h.HTTP.Headers[name]})
		}
	case h.GRPC != nil:
		out.Kind, out.Host, out.Service = "grpc", h.GRPC.Host, h.GRPC.Service
	default:
		out.Kind, out.TLS = "tcp", secure
	}
	return out
}

// WithFailover returns svc with the services its failover names put in their
// place, so that what it is made of is all in one section.
func WithFailover(services map[string]config.Service, svc config.Service) (config.Service, error) {
	if len(svc.Failover) == 0 {
		return svc, nil
	}
	svc.Failover = slices.Clone(svc.Failover)
	for i := range svc.Failover {
		f := &svc.Failover[i]
		if f.Service == "" {
			continue
		}
		other, ok := services[f.Service]
		if !ok {
			return svc, fmt.Errorf("failover[%d].service: service %q does not exist; services are %s", i, f.Service,
				strings.Join(slices.Sorted(maps.Keys(services)), ", "))
		}
		if other.Mesh != svc.Mesh {
			return svc, fmt.Errorf("failover[%d].service: of a service and what it fails over to, either both are in the mesh or none: %s is not alike", i, f.Service)
		}
		f.Other = &other
	}
	return svc, nil
}

// CheckServices finds failover that cannot be.
func CheckServices(s *config.Snapshot) []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		if _, err := WithFailover(s.Services, s.Services[name]); err != nil {
			errs = append(errs, fmt.Errorf("%s: service %s: %w", s.Pos("services."+name+".failover"), name, err))
		}
	}
	return errs
}

// failover builds the clusters that stand in for a service.
func (c *Clusters) failover(name string, svc config.Service) (*cluster.Failover, error) {
	if len(svc.Failover) == 0 {
		return nil, nil
	}
	f := &cluster.Failover{Below: svc.FailoverBelow, Return: svc.FailoverReturn}
	for i, t := range svc.Failover {
		tier, of, label := tierOf(name, svc, t)
		cl, err := c.one(of, fmt.Sprintf("%d: %s", i+1, label), tier)
		if err != nil {
			for _, built := range f.Tiers {
				_ = built.Close()
			}
			return nil, fmt.Errorf("failover[%d]: %w", i, err)
		}
		f.Tiers = append(f.Tiers, cl)
	}
	return f, nil
}

// tierOf is a service as one tier of its failover has it, under which name it is
// looked for, and what to call the tier.
func tierOf(name string, svc config.Service, t config.Failover) (tier config.Service, of, label string) {
	tier, of = svc, name
	if t.Other != nil {
		tier, of, label = *t.Other, t.Service, "service "+t.Service
	}
	tier.Failover = nil
	if t.SPIFFEID != "" {
		tier.SPIFFEID = t.SPIFFEID
	}
	if t.Other == nil {
		tier.Static, tier.DNS, tier.Consul = t.Static, t.DNS, t.Consul
	}
	switch {
	case t.Consul != nil:
		tier.Consul, label = consulTier(svc.Consul, *t.Consul)
	case len(t.Static) > 0:
		label = "static"
		tier.Consul = svc.Consul // names the identity that mesh endpoints have
	case t.DNS != "":
		label = "dns " + t.DNS
		tier.Consul = svc.Consul
	}
	return tier, of, label
}

// consulTier takes from the service what its tier does not say.
func consulTier(svc *config.ConsulService, t config.ConsulService) (*config.ConsulService, string) {
	label := "consul"
	for _, part := range []string{t.PreparedQuery, t.Service, t.Datacenter} {
		if part != "" {
			label += " " + part
		}
	}
	if svc == nil || t.PreparedQuery != "" {
		return &t, label
	}
	if t.Service == "" {
		t.Service = svc.Service
	}
	if t.Tags == nil {
		t.Tags = svc.Tags
	}
	if t.Namespace == "" {
		t.Namespace = svc.Namespace
	}
	if t.Partition == "" {
		t.Partition = svc.Partition
	}
	t.Warning = t.Warning || svc.Warning
	return &t, label
}

// expects is the SPIFFE ID that a service's endpoints must show: a service of
// another datacenter, namespace or partition has its own.
func (id *Identity) expects(name string, svc config.Service) (string, error) {
	if svc.SPIFFEID != "" {
		return svc.SPIFFEID, nil
	}
	scope := id.scope
	if c := svc.Consul; c != nil {
		for _, set := range []struct {
			field *string
			value string
		}{{&scope.Datacenter, c.Datacenter}, {&scope.Namespace, c.Namespace}, {&scope.Partition, c.Partition}} {
			if set.value != "" {
				*set.field = set.value
			}
		}
	}
	return id.ids.ID(id.TrustDomain, scope.service(meshName(name, svc)))
}
