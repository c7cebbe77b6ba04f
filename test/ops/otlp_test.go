package ops_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"lintel.dev/lintel/test/kit"
)

// receiver is an OTLP collector that keeps what it gets.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []received
}

type received struct{ process, name, trace, id, parent, kind string }

func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		process := ""
		for _, a := range rs.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				process = a.GetValue().GetStringValue()
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				r.spans = append(r.spans, received{process, s.GetName(), hex.EncodeToString(s.GetTraceId()),
					hex.EncodeToString(s.GetSpanId()), hex.EncodeToString(s.GetParentSpanId()), s.GetKind().String()})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// of lists the spans of one trace.
func (r *receiver) of(trace string) (out []received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.trace == trace {
			out = append(out, s)
		}
	}
	return out
}

func startReceiver(t testing.TB) (*receiver, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, s := &receiver{}, grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return r, l.Addr().String()
}

func otlp(endpoint string) string {
	return fmt.Sprintf("tracing: {exporter: otlp-grpc, endpoint: %q, insecure: true, sample: 1}\n", endpoint)
}

func TestSpansOfAllHopsReachTheCollector(t *testing.T) {
	t.Parallel()
	r, addr := startReceiver(t)
	c := kit.StartChain(t, kit.ChainOptions{Ingress: otlp(addr), SidecarTop: otlp(addr)})
	status, e := c.Echo("/orders/call?service=inventory&path=/traced", c.Token(nil), nil)
	if status != http.StatusOK {
		t.Fatal(status)
	}
	parent := func(h http.Header) (trace, span string) {
		p := h.Get("Traceparent")
		if len(p) != 55 || (p[54]-48)&1 != 1 {
			t.Fatalf("traceparent %q, want a sampled one", p)
		}
		return p[3:35], p[36:52]
	}
	trace, atOrders := parent(e.Header)
	trace2, atInventory := parent(e.Second(t).Header)
	if trace2 != trace {
		t.Errorf("trace id %s at orders and %s at inventory", trace, trace2)
	}
	// ingress → orders' inbound → orders' outbound → inventory's inbound
	var spans []received
	kit.Eventually(t, time.Minute, "four spans", func() error {
		if spans = r.of(trace); len(spans) < 4 {
			return fmt.Errorf("%d spans: %+v", len(spans), spans)
		}
		return nil
	})
	byID := map[string]received{}
	for _, s := range spans {
		byID[s.id] = s
	}
	if len(spans) != 4 || len(byID) != 4 {
		t.Fatalf("want four spans with ids of their own, found %+v", spans)
	}
	got := ""
	last := byID[atInventory] // what inventory's app was told as its parent
	for s, ok := last, last.id != ""; ok; s, ok = byID[s.parent] {
		got += s.process + " < "
		if s.parent == "" {
			got += "root"
			break
		}
	}
	if want := "inventory-sidecar < orders-sidecar < orders-sidecar < lintel-ingress < root"; got != want {
		t.Errorf("way back from inventory: %s\nwant %s\nspans %+v", got, want, spans)
	}
	if s := byID[atOrders]; s.process != "orders-sidecar" {
		t.Errorf("the app orders was told %s as its parent, of %q", atOrders, s.process)
	}
}

func TestDeadCollectorCostsNoRequest(t *testing.T) {
	t.Parallel()
	// It accepts and never answers, which is worse than a refused connection.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := kit.StartChain(t, kit.ChainOptions{Ingress: otlp(l.Addr().String()), SidecarTop: otlp(kit.FreeAddr(t))})
	load := meshLoad(t, c)
	load.During(4 * time.Second)
	load.Clean(300)
	c.Ingress.Signal(15)
	if code := c.Ingress.Wait(time.Minute); code != 0 { // for the collector it would wait for ever
		t.Errorf("exit code %d", code)
	}
}
