//go:build !race

package tracing

import (
	"context"
	"io"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func TestContextAllocations(t *testing.T) {
	x := request("traceparent", sampled, "tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", "baggage", "a=1", "X-Request-ID", "req-1")
	parsing := testing.AllocsPerRun(1000, func() {
		if _, ok := readParent(&x.Request.Header); !ok {
			t.Fatal("not parsed")
		}
		if readState(&x.Request.Header).carried == "" {
			t.Fatal("no state")
		}
		limitBaggage(&x.Request.Header)
	})
	if parsing != 0 {
		t.Errorf("parsing allocates %v times", parsing)
	}
	tr := newTestTracer(t, Config{Mode: Outbound})
	var keep exchange.Fields
	keep.Replace(&x.Request.Header)
	hop := testing.AllocsPerRun(1000, func() {
		x.Request.Header.Replace(&keep)
		tr.Begin(x)
		tr.Forward(x)
		tr.End(x)
	})
	if hop > 1 { // the traceparent
		t.Errorf("a hop that continues a trace allocates %v times", hop)
	}
}

func TestMetricsAllocations(t *testing.T) {
	m := NewMetrics()
	x := answered(request(), 200)
	x.CacheInfo, x.Removed, x.Attempts, x.Fault = "lintel; fwd=miss; stored", 2, 2, timedOut
	if n := testing.AllocsPerRun(1000, func() { m.Begin(x); m.End(x) }); n != 0 {
		t.Errorf("counting allocates %v times", n)
	}
}

func TestAccessLogAllocations(t *testing.T) {
	a, err := NewAccessLog(LogConfig{Writer: io.Discard}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(context.Background())
	x := answered(request("User-Agent", "curl/8"), 200)
	x.Identity = &exchange.Identity{Subject: "ada"}
	newTestTracer(t, Config{}).Begin(x)
	if n := testing.AllocsPerRun(5000, func() { a.End(x) }); n != 0 {
		t.Errorf("a line allocates %v times", n)
	}
}
