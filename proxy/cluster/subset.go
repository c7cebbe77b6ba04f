package cluster

import (
	"cmp"
	"math"
	"slices"
)

// cut keeps n of members: those that rank first for this process (weighted
// rendezvous hashing). Every process ranks them differently and always the same,
// so that each uses few endpoints, all are used, and an endpoint that comes or
// goes changes little. With locality, n of its own zone or node and n of the others.
func (c *Cluster) cut(members []*member, n int, here place) []*member {
	if len(members) <= n {
		return members
	}
	type ranked struct {
		m     *member
		score float64
	}
	seed := hash(c.cfg.Instance)
	list := make([]ranked, len(members))
	for i, m := range members {
		// Uniform in (0, 1): the weight over its logarithm ranks fairly by weight.
		u := (float64(mix(hash(m.Address)^seed)>>11) + 0.5) / (1 << 53)
		list[i] = ranked{m, float64(m.weight()) / -math.Log(u)}
	}
	slices.SortFunc(list, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.m.Address, b.m.Address))
	})
	kept := make([]*member, 0, 2*n)
	left := [2]int{n, n}
	for _, r := range list {
		group := 0
		if c.local(r.m, here) {
			group = 1
		}
		if left[group] > 0 {
			left[group]--
			kept = append(kept, r.m)
		}
	}
	return kept
}

// local reports whether a member is preferred for where it is.
func (c *Cluster) local(m *member, here place) bool {
	switch c.cfg.Locality {
	case "zone":
		return here.zone != "" && m.Zone == here.zone
	case "node":
		return here.node != "" && m.Node == here.node || here.zone != "" && m.Zone == here.zone
	}
	return false
}
