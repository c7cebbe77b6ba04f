package compose

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

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
	Here    *cluster.Here      // this process's zone and node, once they are known
	log     *slog.Logger
	zone    string // as configured
	ask     sync.Once
	ctx     context.Context
	cancel  context.CancelFunc
}

// OpenDiscovery makes the sources that cfg names. Nothing is asked yet.
func OpenDiscovery(cfg config.Discovery, catalog *discovery.Catalog, log *slog.Logger) (*Discovery, error) {
	d := &Discovery{Catalog: catalog, log: log, zone: cfg.Zone, Here: &cluster.Here{},
		Hub: discovery.NewHub(discovery.HubConfig{CacheDir: cfg.CacheDir, MaxStale: cfg.MaxStale, Log: log})}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.Here.Set(cfg.Zone, "")
	if c := cfg.Consul; c != nil {
		var err error
		d.Consul, err = discovery.NewConsul(discovery.ConsulConfig{
			Address: c.Address, Token: c.Token, Datacenter: c.Datacenter, Namespace: c.Namespace,
			Partition: c.Partition, CA: c.CA, Cert: c.Cert, Key: c.Key, Watches: c.MaxWatches, Log: log})
		if err != nil {
			d.Hub.Close()
			return nil, err
		}
	}
	return d, nil
}

// Close ends every watch.
func (d *Discovery) Close() {
	d.cancel()
	d.Hub.Close()
	if d.Consul != nil {
		d.Consul.Close()
	}
}

// Feed is the Feed of Clusters.
func (d *Discovery) Feed(name string, svc config.Service, replace func([]cluster.Endpoint)) (func(), error) {
	return d.feed(d.Hub.Subscribe, name, svc, replace)
}

// SpareFeed is the SpareFeed of Clusters.
func (d *Discovery) SpareFeed(name string, svc config.Service, replace func([]cluster.Endpoint)) (func(), error) {
	return d.feed(d.Hub.SubscribeSpare, name, svc, replace)
}

type subscribe func(discovery.Source, discovery.Query, func(discovery.Update)) (*discovery.Subscription, error)

func (d *Discovery) feed(subscribe subscribe, name string, svc config.Service, replace func([]cluster.Endpoint)) (func(), error) {
	source, query, err := d.source(name, svc)
	if err != nil {
		return nil, err
	}
	if svc.Locality != "off" && svc.Locality != "" {
		d.ask.Do(d.locate)
	}
	meta := svc.Consul
	if len(svc.Static) > 0 || svc.DNS != "" {
		meta = nil // consul only names the identity of such endpoints
	}
	sub, err := subscribe(source, query, func(u discovery.Update) { replace(having(u.Endpoints, meta)) })
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

// locate finds out where this process is. Consul's agent knows its node, and its
// zone where the configuration does not say.
func (d *Discovery) locate() {
	if d.Consul == nil {
		if d.zone == "" {
			d.log.Warn("discovery: a service prefers endpoints that are near, but nobody says where this process is: set discovery.zone")
		}
		return
	}
	go func() {
		zone, node, err := d.Consul.Locate(d.ctx)
		if err != nil {
			return // closed
		}
		if d.zone != "" {
			zone = d.zone
		}
		if zone == "" {
			d.log.Warn("discovery: a service prefers endpoints that are near, but the Consul agent's node metadata names no zone: set discovery.zone", "node", node)
		}
		d.Here.Set(zone, node)
	}()
}

// Ready waits until something is known about every service subscribed to.
func (d *Discovery) Ready(ctx context.Context) error { return d.Hub.Ready(ctx) }

func (d *Discovery) source(name string, svc config.Service) (discovery.Source, discovery.Query, error) {
	q := discovery.Query{Service: name, Connect: svc.Mesh}
	switch {
	case len(svc.Static) > 0:
		endpoints := make([]cluster.Endpoint, len(svc.Static))
		for i, e := range svc.Static {
			endpoints[i] = cluster.Endpoint{Address: e.Address, Weight: e.Weight, Zone: e.Zone, Tags: e.Tags, Meta: e.Meta}
		}
		s, err := discovery.NewStatic(endpoints)
		return s, q, err
	case svc.DNS != "":
		s, err := discovery.NewDNS(discovery.DNSConfig{Target: svc.DNS, Log: d.log})
		return s, q, err
	}
	if c := svc.Consul; c != nil {
		q.Tags, q.Datacenter, q.Namespace, q.Partition, q.Warning = c.Tags, c.Datacenter, c.Namespace, c.Partition, c.Warning
		if c.Service != "" {
			q.Service = c.Service
		}
		if c.PreparedQuery != "" {
			q.Service, q.Prepared = c.PreparedQuery, true
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
