package sidecar

import (
	"fmt"
	"testing"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/store"
)

// Names that nobody has ever answered to must not take the places of services: an
// app asks for whatever its users make it ask for.
func TestNamesOfNobodyTakeNoPlacesForGood(t *testing.T) {
	watched := map[string]bool{}
	feed := func(name string, _ config.Service, replace func([]cluster.Endpoint)) (func(), error) {
		watched[name] = true
		if name == "orders" || name == "pay" {
			replace([]cluster.Endpoint{{Address: "127.0.0.1:1"}})
		}
		return func() { delete(watched, name) }, nil
	}
	plain := map[string]config.Service{}
	name := func(i int) string { return fmt.Sprintf("nobody-%d", i) }
	for i := range 3 * maxDestinations {
		plain[name(i)] = config.Service{}
	}
	plain["orders"], plain["pay"] = config.Service{}, config.Service{}
	stores := store.NewSet()
	table := func() *destinations {
		return &destinations{clusters: &compose.Clusters{Feed: feed}, services: plain, lease: stores.Lease(), known: map[string]*destination{}}
	}
	d := table()
	get := func(d *destinations, name string) error {
		dest, err := d.get(name)
		if err == nil && dest.cluster.Size() > 0 {
			d.saw(dest)
		}
		return err
	}
	if err := get(d, "orders"); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < maxDestinations; i++ {
		if err := get(d, name(i)); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := get(d, "pay"); err == nil {
		t.Error("more than there are places for, while discovery may still answer for each")
	}
	for _, dest := range d.known {
		dest.asked = dest.asked.Add(-firstAnswer)
	}
	for i := maxDestinations; i < 2*maxDestinations; i++ {
		if err := get(d, name(i)); err != nil {
			t.Fatal("all places are taken by nobody:", err)
		}
		d.known[name(i)].asked = time.Time{}
	}
	if err := get(d, "pay"); err != nil {
		t.Error("all places are taken by nobody:", err)
	}
	if len(d.known) != maxDestinations || len(watched) != maxDestinations || !watched["orders"] || d.known["orders"] == nil {
		t.Errorf("%d are known, %d watched, orders %t", len(d.known), len(watched), watched["orders"])
	}
	after := table()
	after.inherit(d)
	if len(after.known) != 2 {
		t.Errorf("a reload took %d names along, want those that somebody answers to", len(after.known))
	}
	d.lease.Release()
	if len(watched) != 2 {
		t.Errorf("%d are watched after the reload", len(watched))
	}
	after.lease.Release()
	if len(watched) != 0 {
		t.Errorf("%d are still watched", len(watched))
	}
}
