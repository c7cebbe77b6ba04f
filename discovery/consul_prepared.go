package discovery

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"lintel.dev/lintel/proxy/cluster"
)

// preparedEvery is how often a prepared query is asked: it cannot block.
const preparedEvery = 10 * time.Second

// watchPrepared asks a prepared query at intervals.
func (c *Consul) watchPrepared(ctx context.Context, q Query, update func(Update)) error {
	var last Update
	for failures := 0; ; {
		endpoints, err := c.prepared(ctx, q)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := preparedEvery
		if err == nil {
			last, failures = Update{Endpoints: tidy(endpoints), At: time.Now()}, 0
		} else {
			if failures++; failures == 1 {
				c.cfg.Log.Warn("discovery: consul does not answer; keeping what was last known", "about", q.String(), "error", err)
			}
			last.Stale, last.Err = true, err
			wait = min(wait, backoff(failures))
		}
		update(last)
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// prepared executes a prepared query once. Whether warning instances are among
// the answer is the query's own choice (OnlyPassing).
func (c *Consul) prepared(ctx context.Context, q Query) ([]cluster.Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	o := c.options(ctx)
	if q.Datacenter != "" {
		o.Datacenter = q.Datacenter
	}
	answer, meta, err := c.api.PreparedQuery().Execute(q.Service, o)
	if err != nil {
		if isStatus(err, 404) {
			return nil, fmt.Errorf("discovery: there is no prepared query %q, or the ACL token may not use it (query:read)", q.Service)
		}
		return nil, fmt.Errorf("discovery: prepared query %q: %w", q.Service, err)
	}
	if len(answer.Nodes) == 0 && meta != nil && meta.ResultsFilteredByACLs {
		return nil, fmt.Errorf("discovery: prepared query %q: %w: consul filtered the whole answer", q.Service, ErrDenied)
	}
	entries := make([]*api.ServiceEntry, len(answer.Nodes))
	for i := range answer.Nodes {
		entries[i] = &answer.Nodes[i]
	}
	return c.endpoints(entries, true), nil
}
