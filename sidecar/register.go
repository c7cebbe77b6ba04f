package sidecar

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"lintel.dev/lintel/discovery"
)

// register puts the service and this sidecar into the catalog. The app's health
// is told by us: the agent may not reach the app's loopback.
func (c *Sidecar) register(ctx context.Context) error {
	registrar := c.registrar()
	if registrar == nil || !c.cfg.Register || c.cfg.App == "" {
		return nil
	}
	r, err := c.registration()
	if err != nil {
		return err
	}
	if c.registered, err = registrar.Register(ctx, r); err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	c.log.Info("sidecar: registered", "id", r.ID, "address", r.Proxy.Address, "port", r.Proxy.Port)
	return nil
}

func (c *Sidecar) registrar() discovery.Registrar {
	switch {
	case c.discovery.Catalog != nil:
		return c.discovery.Catalog
	case c.discovery.Consul != nil:
		return c.discovery.Consul
	}
	return nil
}

func (c *Sidecar) registration() (discovery.Registration, error) {
	var r discovery.Registration
	appHost, appPort, err := hostPort(c.cfg.App)
	if err != nil {
		return r, fmt.Errorf("sidecar: app: %w", err)
	}
	advertised := c.cfg.Advertise
	if advertised == "" {
		advertised = c.Addr(meshListener)
	}
	meshHost, meshPort, err := hostPort(advertised)
	if err != nil {
		return r, fmt.Errorf("sidecar: advertise: %w", err)
	}
	if ip := net.ParseIP(meshHost); ip != nil && ip.IsUnspecified() {
		meshHost = "" // the agent's own address
	}
	id := c.cfg.ID
	if id == "" {
		host, _ := os.Hostname() // without one, service and port have to do
		id = c.cfg.Service + "-" + host + "-" + strconv.Itoa(appPort)
	}
	return discovery.Registration{
		Service: c.cfg.Service, ID: id, Address: meshHost, Port: appPort, Tags: c.cfg.Tags, Meta: c.cfg.Meta,
		Check: discovery.Check{TTL: 3 * c.cfg.Check.Interval, Probe: c.probe.ask, Interval: c.cfg.Check.Interval, Timeout: c.cfg.Check.Timeout},
		Proxy: &discovery.Proxy{Address: meshHost, Port: meshPort, LocalAddress: appHost, LocalPort: appPort},
	}, nil
}

func hostPort(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("expected host:port, found %q", address)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 {
		return "", 0, fmt.Errorf("expected a port from 1 to 65535, found %q", port)
	}
	return host, n, nil
}
