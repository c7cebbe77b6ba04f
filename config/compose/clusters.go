package compose

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/proxy/tcp"
)

// Feed starts to tell a cluster its endpoints and returns how to stop.
type Feed func(name string, svc config.Service, replace func([]cluster.Endpoint)) (stop func(), err error)

// Clusters builds clusters that outlive tables.
type Clusters struct {
	ID   *Identity // nil without a mesh
	Feed Feed
	Log  *slog.Logger  // may be nil
	Here *cluster.Here // where this process is, for services with a locality

	SpareFeed Feed // for what is failed over to, which nobody waits for; nil: Feed

	live newest[*cluster.Cluster] // by service
}

// Use returns the cluster of a service, the same one as long as the service's
// section and its TLS files stay the same.
func (c *Clusters) Use(lease *store.Lease, name string, svc config.Service) (*cluster.Cluster, error) {
	cl, _, err := c.UseUntil(lease, name, svc)
	return cl, err
}

// UseUntil is Use of a cluster that may be given up before the lease ends, by drop.
func (c *Clusters) UseUntil(lease *store.Lease, name string, svc config.Service) (cl *cluster.Cluster, drop func(), err error) {
	print, err := fingerprint(svc)
	if err != nil {
		return nil, nil, fmt.Errorf("compose: service %s: %w", name, err)
	}
	key := "cluster/" + name
	print += servicePEM(svc)
	if cl, err = store.Use(lease, key, print, func() (*cluster.Cluster, error) { return c.build(name, svc) }); err != nil {
		return nil, nil, err
	}
	c.live.used(name, cl)
	return cl, func() { lease.Drop(key, print) }, nil
}

// Imagine returns the cluster that Use would, but one that is told no endpoints and
// is nobody else's: for explanations. Close it.
func (c *Clusters) Imagine(name string, svc config.Service) (*cluster.Cluster, error) {
	nobody := func(string, config.Service, func([]cluster.Endpoint)) (func(), error) { return func() {}, nil }
	return (&Clusters{ID: c.ID, Feed: nobody}).build(name, svc)
}

func (c *Clusters) build(name string, svc config.Service) (*cluster.Cluster, error) {
	cl, err := c.one(name, "", svc)
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", name, err)
	}
	return cl, nil
}

// one builds the cluster of a service, or of one tier of its failover.
func (c *Clusters) one(name, tier string, svc config.Service) (*cluster.Cluster, error) {
	t := exchange.TransportConfig{ConnectTimeout: svc.ConnectTimeout, IdleTimeout: svc.IdleTimeout,
		MaxIdle: svc.MaxIdle, MaxConns: svc.MaxConns, Unshared: !svc.ShareConns}
	switch {
	case svc.Mesh && c.ID == nil:
		return nil, fmt.Errorf("it is in the mesh, but identity.source is none: set identity")
	case svc.Mesh:
		id, err := c.ID.expects(name, svc)
		if err != nil {
			return nil, err
		}
		if err := c.ID.Transport(meshName(name, svc), id, &t); err != nil {
			return nil, err
		}
	case svc.TLS != nil:
		conf, err := clientTLS(svc.TLS)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		t.TLS = conf
	}
	further, err := c.failover(name, svc)
	if err != nil {
		return nil, err
	}
	transport := NewTransport(t)
	if svc.Protocol == "tcp" {
		transport = tcp.NewDialer(t)
	}
	var stop func()
	var cl *cluster.Cluster
	cfg := cluster.Config{
		Service: name, Tier: tier, Protocol: svc.Protocol, Transport: transport, Connect: t.ConnectTimeout, MaxConns: t.MaxConns,
		Breaker: cluster.BreakerConfig(svc.Breaker), Failover: further,
		Stop: func() {
			if stop != nil {
				stop()
			}
			if tier == "" {
				c.live.forget(name, cl)
			}
		},
	}
	c.balancing(svc, t.TLS, &cfg)
	resilient(&cfg, svc)
	cl = cluster.New(cfg)
	feed := c.Feed
	if tier != "" && c.SpareFeed != nil {
		feed = c.SpareFeed
	}
	if stop, err = feed(name, svc, cl.Replace); err != nil {
		_ = cl.Close()
		return nil, err
	}
	return cl, nil
}

// meshName is the name an endpoint's certificate carries: Consul's.
func meshName(name string, svc config.Service) string {
	if svc.Consul != nil && svc.Consul.Service != "" {
		return svc.Consul.Service
	}
	return name
}

// servicePEM tells what a service's TLS files hold, and those of what it fails over to,
// "" without any: they are replaced in place.
func servicePEM(svc config.Service) string {
	if svc.Mesh {
		return ""
	}
	print := pemPrint(svc.TLS)
	for _, f := range svc.Failover {
		if f.Other != nil {
			print += pemPrint(f.Other.TLS)
		}
	}
	return print
}

// pemPrint is a digest of the files; one that cannot be read is told by clientTLS.
func pemPrint(c *config.ServiceTLS) string {
	if c == nil {
		return ""
	}
	digest := sha256.New()
	for _, name := range []string{c.CA, c.Cert, c.Key} {
		var content []byte
		if name != "" {
			content, _ = os.ReadFile(name)
		}
		sum := sha256.Sum256(content)
		digest.Write(sum[:])
	}
	return hex.EncodeToString(digest.Sum(nil))
}

func clientTLS(c *config.ServiceTLS) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, &keyError{"ca", err}
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &keyError{"ca", fmt.Errorf("%s holds no PEM certificate", c.CA)}
		}
	}
	if c.Cert != "" || c.Key != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, &keyError{"cert", err}
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
