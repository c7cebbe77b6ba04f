package firewall

import (
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// ordinary is a browser's request head.
func ordinary() *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Proto = "HTTP/1.1"
	x.Request.Length = 10
	x.Request.Body = exchange.NewBody([]byte("0123456789"))
	for _, n := range []string{"Accept", "Accept-Encoding", "Accept-Language", "User-Agent", "Cookie", "Referer", "X-Forwarded-For",
		"X-Request-Id", "Traceparent", "Authorization", "X-User-Agent"} {
		x.Request.Header.Add(n, "value")
	}
	x.Request.Header.Add("Connection", "keep-alive, TE")
	x.Response.Header.Add("Content-Type", "text/plain")
	x.Response.Header.Add("X-Powered-By", "test")
	return x
}

func TestCleanRequestAllocatesNothing(t *testing.T) {
	f, x := newFilter(t, Config{}), ordinary()
	if n := testing.AllocsPerRun(1000, func() { f.OnRequest(x); f.OnResponse(x) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	if x.Request.Header.Len() != 12 || x.Removed != 0 {
		t.Errorf("an ordinary request was changed: %d lines", x.Request.Header.Len())
	}
}

func BenchmarkOrdinaryRequest(b *testing.B) {
	f, x := newFilter(b, Config{}), ordinary()
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
		f.OnResponse(x)
	}
}
