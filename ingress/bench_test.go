package ingress

import "testing"

// BenchmarkPlain is everything Lintel does with a plain request in its default
// configuration, the engine's own work aside: firewall, route, tracing
// (unsampled), forwarding with breaker and picker, metrics, access log.
func BenchmarkPlain(b *testing.B) {
	p := newPath(b, plain)
	b.ReportAllocs()
	for b.Loop() {
		p.exchange()
	}
	if p.bad != "" {
		b.Fatal(p.bad)
	}
}

// BenchmarkSecured is the same with a token that was seen before and a limit by
// its subject.
func BenchmarkSecured(b *testing.B) {
	p := newPath(b, secured).with("Authorization", bearer())
	b.ReportAllocs()
	for b.Loop() {
		p.exchange()
	}
	if p.bad != "" {
		b.Fatal(p.bad)
	}
}

// BenchmarkEngine is what the above has of the test's own: to be subtracted.
func BenchmarkEngine(b *testing.B) {
	p := newPath(b, plain)
	b.ReportAllocs()
	for b.Loop() {
		p.fill()
		_ = p.wire.RoundTrip(p.x)
	}
}
