package sidecar

import (
	"testing"
	"time"

	"lintel.dev/lintel/config"
)

func BenchmarkPolicy(b *testing.B) {
	allow := []config.Allow{{From: []string{"*"}}}
	for name, require := range map[string][]config.Require{"allow": nil,
		"require": {{For: "user", Through: []string{"ingress", "orders"}, BeganAt: []string{"ingress"}, Scope: []string{"pay"}}}} {
		b.Run(name, func(b *testing.B) {
			p, err := newPolicy("payments", config.Policy{Allow: allow, Require: require}, consulIdentity(b), nil)
			if err != nil {
				b.Fatal(err)
			}
			x := came("ada", "pay", "ingress", "orders")
			b.ReportAllocs()
			for b.Loop() {
				if p.OnRequest(x).Fault() != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkStreams is what recheck costs every request, and max none.
func BenchmarkStreams(b *testing.B) {
	for name, cfg := range map[string]config.Streams{"max": {Max: time.Hour}, "recheck": {Recheck: time.Second}} {
		b.Run(name, func(b *testing.B) {
			s := newStreams(cfg, nil)
			x := came("ada", "pay", "ingress", "orders")
			for _, name := range []string{"Accept", "User-Agent", "Traceparent", "Tracestate", "X-Request-Id", "Accept-Encoding"} {
				x.Request.Header.Add(name, "some value of an ordinary length")
			}
			b.ReportAllocs()
			for b.Loop() {
				s.OnRequest(x)
				s.OnResponse(x)
			}
		})
	}
}
