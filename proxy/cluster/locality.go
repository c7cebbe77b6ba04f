package cluster

import "sync"

// Here is where this process is, once that is known. It may be nil: nowhere in
// particular.
type Here struct {
	mu    sync.Mutex
	place place
	tell  map[*func()]struct{}
}

// place is a zone and a Consul node; either may be unknown.
type place struct{ zone, node string }

// Set says where this process is.
func (h *Here) Set(zone, node string) {
	h.mu.Lock()
	news := h.place != place{zone, node}
	h.place = place{zone, node}
	var tell []func()
	for f := range h.tell {
		tell = append(tell, *f)
	}
	h.mu.Unlock()
	if news {
		for _, f := range tell {
			f()
		}
	}
}

func (h *Here) now() place {
	if h == nil {
		return place{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.place
}

func (h *Here) attend(f func()) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tell == nil {
		h.tell = map[*func()]struct{}{}
	}
	h.tell[&f] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.tell, &f)
	}
}

// nearness is a factor for each member's weight, nil when none is preferred.
//
// It takes callers to be spread evenly over the zones, as nobody tells us how
// they are: then a zone can serve its own callers alone when it has at least its
// even share of all healthy capacity. One that has less serves its callers to
// that part, and the rest goes to those zones that have more than their share,
// by how much more. So no endpoint gets more than others for it being near.
// (Envoy's zone aware routing, without the callers' zones.)
func (c *Cluster) nearness(members []*member, weights []float64, here place) []float64 {
	switch {
	case c.cfg.Locality == "node" && here.node != "":
		return c.nearNode(members, weights, here)
	case c.cfg.Locality != "" && here.zone != "": // without Consul nobody knows a node
		return spread(members, weights, here.zone, zones(c.members, here.zone), zoneOf)
	}
	return nil
}

// nearNode prefers the own node, and for what goes elsewhere the own zone.
func (c *Cluster) nearNode(members []*member, weights []float64, here place) []float64 {
	nodes := map[string]bool{here.node: true}
	for _, m := range c.members {
		nodes[m.Node] = true
	}
	var total, own float64
	others := make([]float64, len(weights)) // weights of those elsewhere
	for i, m := range members {
		total += weights[i]
		if m.Node == here.node {
			own += weights[i]
		} else {
			others[i] = weights[i]
		}
	}
	if total == 0 || own == 0 && here.zone == "" {
		return nil
	}
	share := min(1, own/total*float64(len(nodes)))
	var factors []float64
	if here.zone != "" {
		factors = spread(members, others, here.zone, zones(c.members, here.zone), zoneOf)
	}
	if factors == nil {
		factors = make([]float64, len(members))
		for i := range factors {
			factors[i] = 1
		}
	}
	for i, m := range members {
		switch {
		case m.Node == here.node:
			factors[i] = share * total / own
		case total > own:
			factors[i] *= (1 - share) * total / (total - own)
		}
	}
	return factors
}

func zoneOf(m *member) string { return m.Zone }

// zones counts those that hold an endpoint or this process.
func zones(members []*member, own string) int {
	seen := map[string]bool{own: true}
	for _, m := range members {
		seen[m.Zone] = true
	}
	return len(seen)
}

// spread shares traffic between n groups, of which own is preferred.
func spread(members []*member, weights []float64, own string, n int, group func(*member) string) []float64 {
	part := map[string]float64{} // of the capacity
	var total float64
	for i, m := range members {
		part[group(m)] += weights[i]
		total += weights[i]
	}
	if total == 0 || n < 2 {
		return nil
	}
	even := 1 / float64(n)
	stays := min(1, part[own]/total/even)
	if stays > 1-1e-9 {
		stays = 1
	}
	room := 0.0 // beyond what the other zones need for themselves
	for g, w := range part {
		if g != own {
			room += max(0, w/total-even)
		}
	}
	factors := make([]float64, len(members))
	for i, m := range members {
		g := group(m)
		has := part[g] / total
		switch {
		case has == 0:
		case g == own:
			factors[i] = stays / has
		case room > 0:
			factors[i] = (1 - stays) * max(0, has-even) / room / has
		default:
			factors[i] = (1 - stays) / (1 - part[own]/total)
		}
	}
	return factors
}
