package compose

import (
	"context"
	"fmt"
	"log/slog"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/proxy/cluster"
)

// Discovery is where clusters get their endpoints.
type Discovery struct {
	Hub     *discovery.Hub
	Consul  *discovery.Consul  // nil unless configured
	Catalog *discovery.Catalog // the demo's, in this process; nil otherwise
	log     *slog.Logger
}

// OpenDiscovery makes the sources that cfg names. Nothing is asked yet.
func OpenDiscovery(cfg config.Discovery, catalog *discovery.Catalog, log *slog.Logger) (*Discovery, error) {
	d := &Discovery{Catalog: catalog, log: log,
		Hub: discovery.NewHub(discovery.HubConfig{CacheDir: cfg.CacheDir, MaxStale: cfg.MaxStale, Log: log})}
	if c := cfg.Consul; c != nil {
		var err error
		d.Consul, err = discovery.NewConsul(discovery.ConsulConfig{
			Address: c.Address, Token: c.Token, Datacenter: c.Datacenter, Namespace: c.Namespace,
			Partition: c.Partition, CA: c.CA, Cert: c.Cert, Key: c.Key, Log: log})
		if err != nil {
			d.Hub.Close()
			return nil, err
		}
	}
	return d, nil
}

// Close ends every watch.
func (d *Discovery) Close() {
	d.Hub.Close()
	if d.Consul != nil {
		d.Consul.Close()
	}
}

// Feed is the Feed of Clusters.
func (d *Discovery) Feed(name string, svc config.Service, replace func([]cluster.Endpoint)) (func(), error) {
	source, query, err := d.source(name, svc)
	if err != nil {
		return nil, err
	}
	sub, err := d.Hub.Subscribe(source, query, func(u discovery.Update) { replace(having(u.Endpoints, svc.Consul)) })
	if err != nil {
		return nil, err
	}
	return sub.Close, nil
}

// having is those endpoints that have the metadata asked for.
func having(endpoints []cluster.Endpoint, c *config.ConsulService) []cluster.Endpoint {
	if c == nil || len(c.Meta) == 0 {
		return endpoints
	}
	var out []cluster.Endpoint // a copy: others are told the same list
	for _, e := range endpoints {
		has := true
		for k, v := range c.Meta {
			has = has && e.Meta[k] == v
		}
		if has {
			out = append(out, e)
		}
	}
	return out
}

// Ready waits until something is known about every service subscribed to.
func (d *Discovery) Ready(ctx context.Context) error { return d.Hub.Ready(ctx) }

func (d *Discovery) source(name string, svc config.Service) (discovery.Source, discovery.Query, error) {
	q := discovery.Query{Service: name, Connect: svc.Mesh}
	switch {
	case len(svc.Static) > 0:
		endpoints := make([]cluster.Endpoint, len(svc.Static))
		for i, a := range svc.Static {
			endpoints[i].Address = a
		}
		s, err := discovery.NewStatic(endpoints)
		return s, q, err
	case svc.DNS != "":
		s, err := discovery.NewDNS(discovery.DNSConfig{Target: svc.DNS, Log: d.log})
		return s, q, err
	}
	if c := svc.Consul; c != nil {
		q.Tags, q.Datacenter, q.Namespace, q.Partition = c.Tags, c.Datacenter, c.Namespace, c.Partition
		if c.Service != "" {
			q.Service = c.Service
		}
	}
	switch {
	case d.Catalog != nil:
		return d.Catalog, q, nil
	case d.Consul != nil:
		return d.Consul, q, nil
	}
	return nil, q, fmt.Errorf("it has neither static nor dns endpoints, and discovery.consul is not configured")
}

// CA is Consul's certificate authority, nil without Consul.
func (d *Discovery) CA() mtls.ConnectCA {
	if d.Consul == nil {
		return nil
	}
	return d.Consul
}
