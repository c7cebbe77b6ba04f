package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"lintel.dev/lintel/discovery"
)

// TestCatalogIsConsulEnough: Lintel's own client follows it, change by change.
func TestCatalogIsConsulEnough(t *testing.T) {
	const size, share = 300, 30
	cat, err := startCatalog(size, share, "12002")
	if err != nil {
		t.Fatal(err)
	}
	defer cat.end()
	consul, err := discovery.NewConsul(discovery.ConsulConfig{Address: cat.addr, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer consul.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	updates := make(chan discovery.Update, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = consul.Watch(ctx, discovery.Query{Service: "app"}, func(u discovery.Update) {
			select {
			case updates <- u:
			case <-ctx.Done():
			}
		})
	}()
	defer func() { cancel(); <-done }()
	seen := map[string]bool{}
	for n := 0; n < 3; {
		select {
		case u := <-updates:
			if u.Err != nil || len(u.Endpoints) != size {
				t.Fatalf("%d endpoints, %v; want %d", len(u.Endpoints), u.Err, size)
			}
			fresh := 0
			for _, e := range u.Endpoints {
				if !seen[e.Address] {
					fresh++
				}
				seen[e.Address] = true
			}
			// A slow reader may miss a change and see several at once.
			if n > 0 && (fresh == 0 || fresh%share != 0) {
				t.Errorf("%d endpoints are new, want a multiple of %d", fresh, share)
			}
			n++
		case <-ctx.Done():
			t.Fatal("no change within 30 s")
		}
	}
}

func TestGaugeIsFoundAmongMetrics(t *testing.T) {
	const text = "# HELP a_b x\na_bc 7\na_b{service=\"x y\"} 50000\nplain 1\n"
	for name, want := range map[string]float64{"a_b": 50000, "a_bc": 7, "plain": 1} {
		if got, err := gauge(text, name); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
	if _, err := gauge(text, "a"); err == nil {
		t.Error("a metric that is not there has a value")
	}
}
