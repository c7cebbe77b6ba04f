package cluster

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// sharesOf is each endpoint's share of new requests.
func sharesOf(c *Cluster) map[string]float64 {
	out := map[string]float64{}
	for _, e := range c.Status().Endpoints {
		out[e.Address] = e.Share
	}
	return out
}

func zoneShares(c *Cluster) map[string]float64 {
	out := map[string]float64{}
	for _, e := range c.Status().Endpoints {
		out[e.Zone] += e.Share
	}
	return out
}

func inZones(layout map[string]int) []Endpoint {
	var out []Endpoint
	for zone, n := range layout {
		for i := range n {
			out = append(out, Endpoint{Address: fmt.Sprintf("%s-%d:1", zone, i), Zone: zone, Node: fmt.Sprintf("node-%s-%d", zone, i)})
		}
	}
	return out
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.002 }

func TestLocalityByZone(t *testing.T) {
	for _, c := range []struct {
		name   string
		zones  map[string]int
		own    string
		shares map[string]float64
	}{
		{"even: all stays", map[string]int{"a": 3, "b": 3, "c": 3}, "a", map[string]float64{"a": 1}},
		{"more than its share: all stays", map[string]int{"a": 6, "b": 2, "c": 1}, "a", map[string]float64{"a": 1}},
		{"less: what it can take, the rest where there is room", map[string]int{"a": 1, "b": 3, "c": 3}, "a", map[string]float64{"a": 3. / 7, "b": 2. / 7, "c": 2. / 7}},
		{"room only in c", map[string]int{"a": 2, "b": 3, "c": 4}, "a", map[string]float64{"a": 2. / 3, "c": 1. / 3}},
		{"none here", map[string]int{"b": 2, "c": 2}, "a", map[string]float64{"b": .5, "c": .5}},
		{"nobody knows where we are", map[string]int{"a": 1, "b": 1}, "", map[string]float64{"a": .5, "b": .5}},
		{"one zone", map[string]int{"a": 4}, "a", map[string]float64{"a": 1}},
		{"endpoints without zones", map[string]int{"": 4}, "a", map[string]float64{"": 1}},
	} {
		for _, balance := range balances {
			here := &Here{}
			here.Set(c.own, "")
			cl := New(Config{Balance: balance, Locality: "zone", Here: here, Transport: nothing{}})
			cl.Replace(inZones(c.zones))
			got := zoneShares(cl)
			for z := range c.zones {
				if !near(got[z], c.shares[z]) {
					t.Errorf("%s, %s: zone %q has %.3f, want %.3f", c.name, balance, z, got[z], c.shares[z])
				}
			}
			_ = cl.Close()
		}
	}
}

// TestNoEndpointIsOverloadedForBeingNear: callers in every zone together give
// every endpoint the same.
func TestNoEndpointIsOverloadedForBeingNear(t *testing.T) {
	for _, layout := range []map[string]int{{"a": 3, "b": 3, "c": 3}, {"a": 1, "b": 3, "c": 3}, {"a": 2, "b": 3, "c": 7}, {"a": 1, "b": 1, "c": 10}} {
		load := map[string]float64{}
		n := 0
		for _, k := range layout {
			n += k
		}
		for own := range layout {
			here := &Here{}
			here.Set(own, "")
			c := New(Config{Locality: "zone", Here: here, Transport: nothing{}})
			c.Replace(inZones(layout))
			for a, s := range sharesOf(c) {
				load[a] += s / float64(len(layout))
			}
			_ = c.Close()
		}
		for a, l := range load {
			if !near(l, 1/float64(n)) {
				t.Errorf("%v: %s has %.3f, want %.3f", layout, a, l, 1/float64(n))
			}
		}
	}
}

func TestLocalityFollowsHealthAndPlace(t *testing.T) {
	here := &Here{}
	o := ejecting
	c := newTest(t, newFarm().transport(), Config{Locality: "zone", Here: here, Outlier: &o, Balance: "round_robin"})
	defer func() { _ = c.Close() }()
	c.Replace(inZones(map[string]int{"a": 2, "b": 2, "c": 2}))
	if z := zoneShares(c); !near(z["a"], 1./3) {
		t.Errorf("before we know where we are: %v", z)
	}
	here.Set("a", "")
	if z := zoneShares(c); z["a"] != 1 {
		t.Errorf("told: %v", z)
	}
	m := c.members[0]
	for _, other := range c.members {
		if other.Address == "a-0:1" {
			m = other
		}
	}
	c.eject(m.Address, m.vitals, "test")
	if z := zoneShares(c); !near(z["a"], 0.6) || !near(z["b"], 0.2) { // 1 of 5 healthy, of three zones
		t.Errorf("half of the zone is gone: %v", z)
	}
	if n := send(c, 1000); n["a-1:1"] < 580 || n["a-1:1"] > 620 || n["a-0:1"] != 0 {
		t.Errorf("%v", n)
	}
}

// TestARetryLeavesTheZone when all of it has failed.
func TestARetryLeavesTheZone(t *testing.T) {
	f, here := newFarm(), &Here{}
	here.Set("a", "")
	for _, balance := range balances {
		f.set("a-0:1", "connect")
		c := newTest(t, f.transport(), Config{Locality: "zone", Here: here, Balance: balance})
		c.Replace(inZones(map[string]int{"a": 1, "b": 1, "c": 1}))
		for range 20 {
			x := newExchange("GET", "")
			if fault := c.Forward(x, &opts); fault != nil || x.Endpoint == "a-0:1" {
				t.Errorf("%s: %v at %s", balance, fault, x.Endpoint)
			}
			over(x)
		}
		_ = c.Close()
	}
}

func TestLocalityByNode(t *testing.T) {
	here := &Here{}
	here.Set("a", "node-a-0")
	c := New(Config{Locality: "node", Here: here, Transport: nothing{}})
	defer func() { _ = c.Close() }()
	c.Replace(inZones(map[string]int{"a": 2, "b": 2}))
	if s := sharesOf(c); s["a-0:1"] != 1 {
		t.Errorf("its node has an even share: %v", s)
	}
	eps := inZones(map[string]int{"a": 2, "b": 2})
	for i := range eps {
		if eps[i].Address == "a-0:1" {
			eps[i].Node = "other"
		}
	}
	c.Replace(eps) // none on the node: the zone
	if s := sharesOf(c); !near(s["a-0:1"], .5) || !near(s["a-1:1"], .5) {
		t.Errorf("none on the node: %v", s)
	}
	for i := range eps {
		eps[i].Weight = 3
		if eps[i].Address == "a-0:1" {
			eps[i].Node, eps[i].Weight = "node-a-0", 1
		}
	}
	c.Replace(eps) // its node has 1 of 10, an even share is 1 of 4
	if s := sharesOf(c); !near(s["a-0:1"], .4) || s["a-1:1"] < 0.3 {
		t.Errorf("a weak one on the node: %v", s)
	}
	here.Set("", "node-a-0")
	if s := sharesOf(c); !near(s["a-0:1"], .4) || !near(s["a-1:1"], .2) || !near(s["b-1:1"], .2) {
		t.Errorf("without a zone: %v", s)
	}
	here.Set("a", "") // without Consul
	if s := sharesOf(c); !near(s["a-0:1"]+s["a-1:1"], .8) {
		t.Errorf("without a node, zone a has 4 of 10, and 5 would be its even share: %v", s)
	}
}

func many(n int) []Endpoint {
	out := make([]Endpoint, n)
	for i, a := range named(n) {
		out[i].Address = a
	}
	return out
}

func used(c *Cluster) map[string]bool {
	out := map[string]bool{}
	for _, m := range c.lineup.Load().members {
		out[m.Address] = true
	}
	return out
}

// TestSubsetsAreStableAndCoverAll.
func TestSubsetsAreStableAndCoverAll(t *testing.T) {
	const endpoints, processes, n = 300, 300, 20
	count := map[string]int{}
	for p := range processes {
		c := New(Config{Subset: n, Instance: fmt.Sprint("host-", p), Transport: nothing{}})
		all := many(endpoints)
		c.Replace(all)
		before := used(c)
		if len(before) != n {
			t.Fatalf("%d endpoints used", len(before))
		}
		for a := range before {
			count[a]++
		}
		if p > 20 {
			continue
		}
		// In another order it is the same; without one, at most one is new.
		c.Replace(append(all[100:300:300], all[:100]...))
		for a := range used(c) {
			if !before[a] {
				t.Fatal("the order of discovery matters")
			}
		}
		c.Replace(all[1:])
		fresh := 0
		for a := range used(c) {
			if !before[a] {
				fresh++
			}
		}
		if fresh > 1 {
			t.Errorf("%d of %d are new after one endpoint of %d has left", fresh, n, endpoints)
		}
		_ = c.Close()
	}
	// Each endpoint is chosen by 20 processes on average, standard deviation 4.3.
	least, most := processes, 0
	for _, a := range named(endpoints) {
		least, most = min(least, count[a]), max(most, count[a])
	}
	t.Logf("%d processes with %d of %d endpoints: %d to %d processes each", processes, n, endpoints, least, most)
	if least < 5 || most > 40 {
		t.Errorf("endpoints are used by %d to %d processes", least, most)
	}
}

func TestASubsetReplacesWhoIsUnhealthy(t *testing.T) {
	o := ejecting
	o.MaxEjected = 1
	c := newTest(t, newFarm().transport(), Config{Subset: 5, Instance: "h", Outlier: &o})
	defer func() { _ = c.Close() }()
	c.Replace(many(100))
	before := used(c)
	var first *member
	for _, m := range c.members {
		if before[m.Address] {
			first = m
			break
		}
	}
	c.eject(first.Address, first.vitals, "test")
	after := used(c)
	if len(after) != 5 || after[first.Address] {
		t.Errorf("%v", after)
	}
	kept := 0
	for a := range after {
		if before[a] {
			kept++
		}
	}
	if kept != 4 {
		t.Errorf("%d of 4 healthy ones kept", kept)
	}
}

func TestASubsetOfALargeServiceIsCheap(t *testing.T) {
	c := New(Config{Subset: 20, Instance: "h", Transport: nothing{}})
	defer func() { _ = c.Close() }()
	from := time.Now()
	c.Replace(many(20000))
	if d := time.Since(from); d > 2*time.Second {
		t.Errorf("%s for 20000 endpoints", d)
	}
}
