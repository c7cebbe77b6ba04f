package main

import (
	"os"
	"testing"
	"time"
)

// The bounds are generous: the machine is shared, and a test must not fail for
// that. They hold what a mistake would multiply.
func TestManyServicesStayWithinBounds(t *testing.T) {
	dir := t.TempDir()
	if err := build(dir); err != nil {
		t.Fatal(err)
	}
	one := options{services: 1, endpoints: 1, rate: 1, watch: time.Second, effects: 1, watches: 4096, dir: dir}
	many := one
	many.services, many.endpoints, many.rate, many.watch, many.effects = 500, 20, 100, 4*time.Second, 20
	base, err := run(one, "ingress")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir + "/cache"); err != nil {
		t.Fatal(err)
	}
	r, err := run(many, "ingress")
	if err != nil {
		t.Fatal(err)
	}
	r.Base, r.BaseGo = base.RSS, base.Goroutines
	t.Logf("\n%s", r.table(many, base))
	for _, b := range []struct {
		what      string
		is, limit float64
	}{
		{"bytes of memory for an endpoint", r.perEndpoint(), 16 << 10}, // about 8,000, its share of a service's included
		{"goroutines of a service", r.perService(), 6},                 // its watch and the connection's two; at first some connections are spare
		{"connections to Consul", float64(r.Conns), float64(2 * many.services)},
		{"share of a core at rest", r.Rest, 0.1},
		{"questions per second at rest", r.RestAsked, 1},
		{"share of a core under churn", r.Churn, 0.6},
		{"questions for each change", r.ChurnAsked / float64(many.rate), 1.5},
		{"seconds until half of the changes have an effect", r.P50.Seconds(), 1},
		{"seconds of a reload", r.Reload.Seconds(), 5},
	} {
		if b.is > b.limit {
			t.Errorf("%s: expected at most %v, found %v", b.what, b.limit, b.is)
		}
	}
	if r.ChurnAsked < float64(many.rate)/4 {
		t.Errorf("expected about %d questions per second under churn, found %v: changes were not followed", many.rate, r.ChurnAsked)
	}
}
