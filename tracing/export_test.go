package tracing

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// receiver is a collector that keeps what it is sent.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu       sync.Mutex
	spans    []*tracepb.Span
	resource map[string]string
	token    string
	stall    chan struct{} // until it is closed, exports hang
}

func (r *receiver) take(req *collector.ExportTraceServiceRequest, token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token = token
	for _, rs := range req.ResourceSpans {
		r.resource = attributes(rs.Resource.Attributes)
		for _, ss := range rs.ScopeSpans {
			r.spans = append(r.spans, ss.Spans...)
		}
	}
}

func (r *receiver) Export(ctx context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	if r.stall != nil {
		select {
		case <-r.stall:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	r.take(req, strings.Join(md.Get("x-token"), ","))
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var msg collector.ExportTraceServiceRequest
	if err != nil || req.URL.Path != "/v1/traces" || proto.Unmarshal(body, &msg) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.take(&msg, req.Header.Get("X-Token"))
	out, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Write(out)
}

func attributes(kv []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range kv {
		switch v := a.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			m[a.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			m[a.Key] = fmt.Sprint(v.IntValue)
		default:
			m[a.Key] = fmt.Sprint(a.Value)
		}
	}
	return m
}

func grpcReceiver(t *testing.T, r *receiver) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func flush(t *testing.T, tr *Tracer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := tr.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

func wantAttributes(t *testing.T, s *tracepb.Span, want map[string]string) {
	t.Helper()
	got := attributes(s.Attributes)
	for k, v := range want {
		if v == "absent" {
			if g, ok := got[k]; ok {
				t.Errorf("attribute %s is %q, want none", k, g)
			}
		} else if got[k] != v {
			t.Errorf("attribute %s is %q, want %q", k, got[k], v)
		}
	}
}

func TestSpansArriveWithTheIDsThatTravelled(t *testing.T) {
	for _, exporter := range []string{"otlp-grpc", "otlp-http"} {
		t.Run(exporter, func(t *testing.T) {
			r := &receiver{}
			var address string
			if exporter == "otlp-grpc" {
				address = grpcReceiver(t, r)
			} else {
				s := httptest.NewServer(r)
				t.Cleanup(s.Close)
				address = s.Listener.Addr().String()
			}
			tr := newTestTracer(t, Config{
				Service: "edge", Version: "1.2", SampleRatio: 1, Exporter: exporter, Endpoint: address, Insecure: true,
				TrustedAddrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.9/32")},
				Headers:      map[string]string{"x-token": "k"}, Resource: map[string]string{"deployment.environment.name": "test"},
			})
			// A trusted caller's trace, one of a stranger, and one that failed.
			child := answered(request("traceparent", sampled, "tracestate", "a=1", "User-Agent", "curl/8 \xff"), 200)
			tr.Begin(child)
			tr.End(child)
			linked := answered(request("traceparent", sampled[:53]+"00"), 404)
			linked.Client.Remote = netip.MustParseAddrPort("198.51.100.7:9")
			linked.Request.Method = "BREW"
			tr.Begin(linked)
			tr.End(linked)
			broken := failed(answered(request(), 0), timedOut)
			broken.Attempts = 3
			tr.Begin(broken)
			tr.End(broken)
			unsampled := answered(request("traceparent", sampled[:53]+"00"), 200)
			tr.Begin(unsampled)
			tr.End(unsampled)
			flush(t, tr)

			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.spans) != 3 {
				t.Fatalf("%d spans arrived, want 3", len(r.spans))
			}
			if r.resource["service.name"] != "edge" || r.resource["deployment.environment.name"] != "test" || r.token != "k" {
				t.Errorf("resource %v, token %q", r.resource, r.token)
			}
			for i, x := range []struct{ trace, span, parent string }{
				{traceHex, fmt.Sprintf("%x", child.Trace.Span), spanHex},
				{fmt.Sprintf("%x", linked.Trace.ID), fmt.Sprintf("%x", linked.Trace.Span), ""},
				{fmt.Sprintf("%x", broken.Trace.ID), fmt.Sprintf("%x", broken.Trace.Span), ""},
			} {
				s := r.spans[i]
				if fmt.Sprintf("%x", s.TraceId) != x.trace || fmt.Sprintf("%x", s.SpanId) != x.span || fmt.Sprintf("%x", s.ParentSpanId) != x.parent {
					t.Errorf("span %d is %x/%x under %x, want %+v", i, s.TraceId, s.SpanId, s.ParentSpanId, x)
				}
				if s.Kind != tracepb.Span_SPAN_KIND_SERVER || s.StartTimeUnixNano == 0 || s.EndTimeUnixNano < s.StartTimeUnixNano {
					t.Errorf("span %d: kind %v, from %d to %d", i, s.Kind, s.StartTimeUnixNano, s.EndTimeUnixNano)
				}
			}
			a, b, c := r.spans[0], r.spans[1], r.spans[2]
			if a.Name != "GET /orders/{id}" || a.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET || len(a.Links) != 0 {
				t.Errorf("%q, status %v, %d links", a.Name, a.Status, len(a.Links))
			}
			wantAttributes(t, a, map[string]string{
				"http.request.method": "GET", "url.path": "/orders/17", "url.scheme": "https", "http.route": "/orders/{id}",
				"http.response.status_code": "200", "server.address": "shop.example", "server.port": "8443",
				"client.address": "203.0.113.9", "network.protocol.version": "1.1", "http.response.body.size": "254",
				"user_agent.original": "curl/8 \uFFFD", "lintel.service": "orders", "lintel.request_id": child.ID,
				"url.query": "absent", "error.type": "absent",
			})
			if b.Name != "HTTP /orders/{id}" || len(b.Links) != 1 || fmt.Sprintf("%x", b.Links[0].TraceId) != traceHex || fmt.Sprintf("%x", b.Links[0].SpanId) != spanHex {
				t.Errorf("%q, links %v", b.Name, b.Links)
			}
			wantAttributes(t, b, map[string]string{"http.request.method": "_OTHER", "http.request.method_original": "BREW", "error.type": "absent"})
			if b.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET {
				t.Error("a 404 is not the server's error")
			}
			wantAttributes(t, c, map[string]string{"error.type": "upstream-timeout", "lintel.fault.source": "upstream", "http.request.resend_count": "2"})
			if c.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
				t.Error("a 504 is an error")
			}
			if sent, failed, dropped := tr.Stats(); sent != 3 || failed != 0 || dropped != 0 {
				t.Errorf("sent %d failed %d dropped %d", sent, failed, dropped)
			}
		})
	}
}

func TestOutboundSpansAreTheClients(t *testing.T) {
	r := &receiver{}
	tr := newTestTracer(t, Config{Mode: Outbound, SampleRatio: 1, Exporter: "otlp-grpc", Endpoint: grpcReceiver(t, r), Insecure: true})
	x := answered(request("Content-Type", "application/grpc"), 200)
	x.Request.Proto = "HTTP/2.0"
	x.Response.Trailer.Add("grpc-status", "14")
	tr.Begin(x)
	tr.End(x)
	y := answered(request(), 404)
	tr.Begin(y)
	tr.End(y)
	flush(t, tr)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spans) != 2 || r.spans[0].Kind != tracepb.Span_SPAN_KIND_CLIENT {
		t.Fatalf("%v", r.spans)
	}
	wantAttributes(t, r.spans[0], map[string]string{"rpc.response.status_code": "UNAVAILABLE", "error.type": "UNAVAILABLE", "url.template": "/orders/{id}"})
	wantAttributes(t, r.spans[1], map[string]string{"error.type": "404"})
	for _, s := range r.spans {
		if s.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("%s: status %v", s.Name, s.Status)
		}
	}
}

func TestADeadCollectorSlowsNothing(t *testing.T) {
	r := &receiver{stall: make(chan struct{})}
	t.Cleanup(sync.OnceFunc(func() { close(r.stall) }))
	var said lockedBuffer
	tr, err := NewTracer(context.Background(), Config{
		SampleRatio: 1, Exporter: "otlp-grpc", Endpoint: grpcReceiver(t, r), Insecure: true,
		Queue: 64, Batch: time.Millisecond, Timeout: time.Second,
	}, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000
	start := time.Now()
	for range n {
		x := answered(request(), 200)
		tr.Begin(x)
		tr.End(x)
	}
	// Waiting for the collector would take a second for each batch of at most 64.
	if took := time.Since(start); took > time.Minute {
		t.Errorf("%d exchanges took %v", n, took)
	}
	eventually(t, "every span is accounted for", func() bool {
		sent, failed, dropped := tr.Stats()
		return sent == 0 && failed > 0 && failed+dropped == n
	})
	if _, _, dropped := tr.Stats(); dropped == 0 {
		t.Error("nothing was dropped: the queue is not bounded")
	}
	if lines := strings.Count(said.String(), "not exported"); lines != 1 {
		t.Errorf("%d lines about it, want 1:\n%s", lines, said.String())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := tr.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	r := &receiver{stall: make(chan struct{})}
	tr, err := NewTracer(context.Background(), Config{
		SampleRatio: 1, Exporter: "otlp-grpc", Endpoint: grpcReceiver(t, r), Insecure: true, Timeout: time.Minute,
	}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	x := answered(request(), 200)
	tr.Begin(x)
	tr.End(x)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := tr.Shutdown(ctx); err == nil {
		t.Error("a flush that could not be done was reported as done")
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	close(r.stall) // lets the last export end, so that no goroutine is left
	eventually(t, "the export ends", func() bool { return tr.spans.pending.Load() == 0 })
}

// lockedBuffer is a strings.Builder for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
