package discovery

import (
	"context"
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"
)

// nodesAtOnce is of how many nodes it is found out which services run on them,
// when the nodes' own checks change. Those of others are seen as turns come.
const nodesAtOnce = 32

// check is one that is critical.
type check struct{ node, id, service, serviceID string }

// followChecks watches which checks are critical, one query for all services, and
// lets those go first whose checks have become so or have recovered. The answer is
// only as long as there is trouble.
func (c *Consul) followChecks(ctx context.Context) {
	var before map[check]bool
	p := &poll[api.HealthChecks]{
		consul: c, ahead: true, about: "checks that are critical",
		needs: "service:read and node:read; without, changes are seen as turns come",
		ask: func(o *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
			return c.api.Health().State(api.HealthCritical, o)
		},
		answer: func(checks api.HealthChecks, _ *api.QueryMeta) error {
			now := make(map[check]bool, len(checks))
			for _, h := range checks {
				if h != nil {
					now[check{h.Node, h.CheckID, h.ServiceName, h.ServiceID}] = true
				}
			}
			if before != nil {
				c.hasten(ctx, changedChecks(before, now))
			}
			before = now
			return nil
		},
	}
	_ = p.run(ctx)
}

// changedChecks are those in one set only.
func changedChecks(a, b map[check]bool) []check {
	var changed []check
	for c := range a {
		if !b[c] {
			changed = append(changed, c)
		}
	}
	for c := range b {
		if !a[c] {
			changed = append(changed, c)
		}
	}
	return changed
}

func (c *Consul) hasten(ctx context.Context, changed []check) {
	names, nodes := map[string]bool{}, map[string]bool{}
	for _, h := range changed {
		if h.service != "" {
			names[h.service] = true
		} else {
			nodes[h.node] = true
		}
	}
	if len(nodes) <= nodesAtOnce {
		for node := range nodes {
			maps.Copy(names, c.servicesOf(ctx, node))
		}
	}
	if len(names) > 0 {
		c.seats.hasten(names)
	}
}

// servicesOf are the names of services on a node.
func (c *Consul) servicesOf(ctx context.Context, node string) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	list, _, err := c.api.Catalog().NodeServiceList(node, c.options(ctx))
	names := map[string]bool{}
	if err != nil || list == nil {
		return names // their turns come
	}
	for _, s := range list.Services {
		names[s.Service] = true
	}
	return names
}

// showIn names the services in whose checks the answer to a query may show: a
// mesh service's are those of its sidecars, named as usual or as seen.
func showIn(q Query, entries []*api.ServiceEntry) []string {
	names := map[string]bool{q.Service: true}
	if q.Connect {
		names[q.Service+"-sidecar-proxy"] = true
	}
	for _, e := range entries {
		if e != nil && e.Service != nil {
			names[e.Service.Service] = true
		}
	}
	return slices.Collect(maps.Keys(names))
}
