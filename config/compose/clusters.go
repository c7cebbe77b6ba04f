package compose

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

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

	mu   sync.Mutex
	live map[string]*cluster.Cluster // by service: the newest of that name
}

// Use returns the cluster of a service, the same one as long as the service's
// section stays the same.
func (c *Clusters) Use(lease *store.Lease, name string, svc config.Service) (*cluster.Cluster, error) {
	print, err := fingerprint(svc)
	if err != nil {
		return nil, fmt.Errorf("compose: service %s: %w", name, err)
	}
	return store.Use(lease, "cluster/"+name, print, func() (*cluster.Cluster, error) { return c.build(name, svc) })
}

func (c *Clusters) build(name string, svc config.Service) (*cluster.Cluster, error) {
	t := exchange.TransportConfig{ConnectTimeout: svc.ConnectTimeout, IdleTimeout: svc.IdleTimeout,
		MaxIdle: svc.MaxIdle, MaxConns: svc.MaxConns, Unshared: !svc.ShareConns}
	switch {
	case svc.Mesh && c.ID == nil:
		return nil, fmt.Errorf("service %s is in the mesh, but identity.source is none: set identity", name)
	case svc.Mesh:
		if err := c.ID.Transport(meshName(name, svc), svc.SPIFFEID, &t); err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
	case svc.TLS != nil:
		conf, err := clientTLS(svc.TLS)
		if err != nil {
			return nil, fmt.Errorf("service %s: tls: %w", name, err)
		}
		t.TLS = conf
	}
	transport := NewTransport(t)
	if svc.Protocol == "tcp" {
		transport = tcp.NewDialer(t)
	}
	var stop func()
	var cl *cluster.Cluster
	cl = cluster.New(cluster.Config{
		Service: name, Protocol: svc.Protocol, Balance: svc.Balance, Transport: transport,
		Breaker: cluster.BreakerConfig(svc.Breaker),
		Stop: func() {
			if stop != nil {
				stop()
			}
			c.forget(name, cl)
		},
	})
	var err error
	if stop, err = c.Feed(name, svc, cl.Replace); err != nil {
		_ = cl.Close()
		return nil, fmt.Errorf("service %s: %w", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		c.live = map[string]*cluster.Cluster{}
	}
	c.live[name] = cl
	return cl, nil
}

func (c *Clusters) forget(name string, cl *cluster.Cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live[name] == cl {
		delete(c.live, name)
	}
}

// meshName is the name an endpoint's certificate carries: Consul's.
func meshName(name string, svc config.Service) string {
	if svc.Consul != nil && svc.Consul.Service != "" {
		return svc.Consul.Service
	}
	return name
}

func clientTLS(c *config.ServiceTLS) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", c.CA)
		}
	}
	if c.Cert != "" || c.Key != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// Forwarding turns a route's terms into the cluster's.
func Forwarding(timeout time.Duration, r config.Retries) cluster.Options {
	o := cluster.Options{Timeout: timeout, Attempts: r.Attempts, Backoff: r.Backoff, MaxBackoff: r.MaxBackoff,
		BufferBody: r.BufferBody, OnConnect: slices.Contains(r.On, "connect"), OnReset: slices.Contains(r.On, "reset")}
	for _, on := range r.On {
		if status, err := strconv.Atoi(on); err == nil && http.StatusText(status) != "" {
			o.OnStatus = append(o.OnStatus, status)
		}
	}
	return o
}
