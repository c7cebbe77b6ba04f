package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"lintel.dev/lintel/proxy/cluster"
)

// Watch follows the passing instances of a service, or with q.Connect those of
// its sidecars.
func (c *Consul) Watch(ctx context.Context, q Query, update func(Update)) error {
	if q.Prepared {
		return c.watchPrepared(ctx, q, update)
	}
	var mu sync.Mutex // confirmations come from the pulse's goroutine
	var last Update
	var known, ended bool
	tell := func(change func() bool) {
		mu.Lock()
		defer mu.Unlock()
		if !ended && change() {
			update(last)
		}
	}
	defer func() { mu.Lock(); ended = true; mu.Unlock() }()
	var p *poll[[]*api.ServiceEntry]
	p = &poll[[]*api.ServiceEntry]{
		consul: c,
		before: new(answered),
		about:  fmt.Sprintf("endpoints of %q", q.String()),
		needs:  fmt.Sprintf("service:read on %q and node:read", q.Service),
		ask: func(o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
			return c.passing(q, o)
		},
		answer: func(entries []*api.ServiceEntry, meta *api.QueryMeta) error {
			if err := c.trust(ctx, q, entries, meta); err != nil {
				return err
			}
			if q.Datacenter == "" { // others' checks are not followed
				c.seats.about(p.place, showIn(q, entries))
			}
			endpoints := tidy(c.endpoints(entries, q.Warning))
			tell(func() bool { last, known = Update{Endpoints: endpoints, At: time.Now()}, true; return true })
			return nil
		},
		confirm: func() {
			tell(func() bool { last.At = time.Now(); return known && !last.Stale })
		},
		failed: func(err error) {
			tell(func() bool { last.Stale, last.Err = true, err; return true })
		},
	}
	return p.run(ctx)
}

func (c *Consul) passing(q Query, o *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	if q.Datacenter != "" {
		o.Datacenter = q.Datacenter
	}
	if q.Namespace != "" {
		o.Namespace = q.Namespace
	}
	if q.Partition != "" {
		o.Partition = q.Partition
	}
	if q.Connect {
		return c.api.Health().ConnectMultipleTags(q.Service, q.Tags, !q.Warning, o)
	}
	return c.api.Health().ServiceMultipleTags(q.Service, q.Tags, !q.Warning, o)
}

// trust tells an empty service from one we may not see: to a token without the
// permission Consul answers 200 and an empty list.
func (c *Consul) trust(ctx context.Context, q Query, entries []*api.ServiceEntry, meta *api.QueryMeta) error {
	if entries == nil {
		return errors.New("expected a list, found null")
	}
	if len(entries) > 0 {
		return nil
	}
	if meta.ResultsFilteredByACLs {
		return fmt.Errorf("%w: consul filtered the whole answer", ErrDenied)
	}
	if meta.DefaultACLPolicy != "deny" && c.token.now(c.cfg.Log) == "" {
		return nil
	}
	allowed, err := c.mayRead(ctx, "service", q.Service)
	if err == nil && !allowed {
		return fmt.Errorf("%w: consul answers with an empty list to a token that may not read the service", ErrDenied)
	}
	return err
}

// mayRead asks what the token allows. The endpoint is the one Consul's own UI
// uses; consul/api has no call for it.
func (c *Consul) mayRead(ctx context.Context, resource, name string) (bool, error) {
	var answers []struct{ Allow bool }
	status, err := c.post(ctx, "/v1/internal/acl/authorize", []map[string]string{{"Resource": resource, "Access": "read", "Segment": name}}, &answers)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusNotFound: // ACLs are off, or too old to be asked
		return true, nil
	case err != nil:
		return false, fmt.Errorf("asking what the ACL token allows: %w", err)
	case len(answers) != 1:
		return false, fmt.Errorf("asking what the ACL token allows: expected one answer, found %d", len(answers))
	}
	return answers[0].Allow, nil
}

func (c *Consul) endpoints(entries []*api.ServiceEntry, warning bool) []cluster.Endpoint {
	endpoints := make([]cluster.Endpoint, 0, len(entries))
	for _, e := range entries {
		if e == nil || e.Service == nil || e.Node == nil {
			continue
		}
		weight := max(1, e.Service.Weights.Passing)
		if warning { // then the answer holds all instances, whatever their checks say
			switch e.Checks.AggregatedStatus() {
			case api.HealthPassing:
			case api.HealthWarning:
				weight = e.Service.Weights.Warning
			default:
				continue
			}
			if weight <= 0 {
				continue
			}
		}
		host := e.Service.Address
		if host == "" {
			host = e.Node.Address
		}
		if host == "" || e.Service.Port <= 0 || e.Service.Port > 65535 {
			c.cfg.Log.Warn("discovery: an instance has no address and port to dial; ignored",
				"service", e.Service.Service, "id", e.Service.ID, "node", e.Node.Node, "address", host, "port", e.Service.Port)
			continue
		}
		endpoints = append(endpoints, cluster.Endpoint{
			Address: net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(e.Service.Port)),
			Weight:  weight,
			Tags:    e.Service.Tags,
			Meta:    metaOf(e),
			Node:    e.Node.Node,
			Zone:    zoneOf(e),
		})
	}
	return endpoints
}

// metaOf is the service's metadata, and the node's under "node.": Consul
// allows no dot in keys, so they cannot collide.
func metaOf(e *api.ServiceEntry) map[string]string {
	meta := make(map[string]string, len(e.Service.Meta)+len(e.Node.Meta))
	maps.Copy(meta, e.Service.Meta)
	for k, v := range e.Node.Meta {
		meta["node."+k] = v
	}
	return meta
}

func zoneOf(e *api.ServiceEntry) string {
	for _, l := range []*api.Locality{e.Service.Locality, e.Node.Locality} {
		if l != nil && l.Zone != "" {
			return l.Zone
		}
	}
	return zoneIn(e.Node.Meta)
}
