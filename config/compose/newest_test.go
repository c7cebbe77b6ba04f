package compose

import (
	"log/slog"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/store"
)

// A reload that fails has built what was new in it, and gives it up. What serves
// must be shown all the same.
func TestAFailedReloadHidesNothingThatServes(t *testing.T) {
	const text = "version: 1\nredis: {default: {addresses: '127.0.0.1:1'}}\nservices: {orders: {static: ['127.0.0.1:1']}}\n"
	set := store.NewSet()
	c := &Clusters{Feed: func(_ string, svc config.Service, replace func([]cluster.Endpoint)) (func(), error) {
		replace([]cluster.Endpoint{{Address: svc.Static[0]}})
		return func() {}, nil
	}}
	r := &Redis{Log: slog.New(slog.DiscardHandler)}
	use := func(text string) *store.Lease {
		t.Helper()
		lease, s := set.Lease(), parse(t, text)
		if _, err := c.Use(lease, "orders", s.Services["orders"]); err != nil {
			t.Fatal(err)
		}
		if _, err := r.For(lease, s)("default"); err != nil {
			t.Fatal(err)
		}
		return lease
	}
	shown := func(want string) {
		t.Helper()
		if s := c.Status(); len(s) != 1 || s[0].Endpoints[0].Address != want {
			t.Errorf("services: %+v, want %s", s, want)
		}
		if s := r.Status(); len(s) != 1 {
			t.Errorf("redis: %+v", s)
		}
	}
	changed := strings.ReplaceAll(text, "127.0.0.1:1", "127.0.0.1:2")
	first := use(text)
	use(changed).Release()
	shown("127.0.0.1:1")

	second := use(changed) // this one goes well, and an exchange still holds the first table
	shown("127.0.0.1:2")
	third := use(text) // and back
	second.Release()
	shown("127.0.0.1:1")
	first.Release()
	shown("127.0.0.1:1")
	third.Release()
	if len(c.Status())+len(r.Status()) != 0 {
		t.Errorf("released, but still there: %+v %+v", c.Status(), r.Status())
	}
}
