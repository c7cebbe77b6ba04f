package discovery

import (
	"context"
)

// Locate asks the agent for its node's name and zone, until it answers or ctx
// ends. The zone is "" when the node has none.
func (c *Consul) Locate(ctx context.Context) (zone, node string, err error) {
	for failures := 1; ; failures++ {
		zone, node, err = c.locate(ctx)
		if err == nil || ctx.Err() != nil {
			return zone, node, err
		}
		if failures == 1 {
			c.cfg.Log.Warn("discovery: consul does not say where this process is; asking on (it takes agent:read)", "error", err)
		}
		if !sleep(ctx, backoff(failures)) {
			return "", "", ctx.Err()
		}
	}
}

func (c *Consul) locate(ctx context.Context) (zone, node string, err error) {
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	var self struct {
		Config struct{ NodeName string }
		Meta   map[string]string
	}
	if _, err := c.api.Raw().Query("/v1/agent/self", &self, c.options(ctx)); err != nil {
		return "", "", err
	}
	return zoneIn(self.Meta), self.Config.NodeName, nil
}

// zoneIn is the zone that a node's metadata names.
func zoneIn(meta map[string]string) string {
	for _, key := range []string{"zone", "availability_zone", "availability-zone"} {
		if z := meta[key]; z != "" {
			return z
		}
	}
	return ""
}
