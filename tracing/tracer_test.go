package tracing

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func newTestTracer(t *testing.T, cfg Config) *Tracer {
	t.Helper()
	tr, err := NewTracer(context.Background(), cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Shutdown(context.Background()) })
	return tr
}

func TestWhoseContextIsContinued(t *testing.T) {
	lan := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	mesh := func(x *exchange.Exchange) { x.Peer.ID = "spiffe://td/ns/default/dc/dc1/svc/web" }
	mapped := func(x *exchange.Exchange) { x.Client.Remote = netip.MustParseAddrPort("[::ffff:203.0.113.9]:1") }
	claimed := func(x *exchange.Exchange) {
		x.Client.Remote, x.ClientIP = netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddr("203.0.113.9")
	}
	for name, c := range map[string]struct {
		cfg       Config
		change    func(*exchange.Exchange)
		continued bool
	}{
		"a stranger at the edge":                   {Config{}, nil, false},
		"a trusted address at the edge":            {Config{TrustedAddrs: lan}, nil, true},
		"a trusted address in IPv6 clothes":        {Config{TrustedAddrs: lan}, mapped, true},
		"a stranger who claims a trusted address":  {Config{TrustedAddrs: lan}, claimed, false},
		"a mesh peer's id means nothing at edge":   {Config{}, mesh, false},
		"a verified peer inbound":                  {Config{Mode: Inbound}, mesh, true},
		"a plaintext caller inbound":               {Config{Mode: Inbound}, nil, false},
		"the app, outbound":                        {Config{Mode: Outbound}, nil, true},
		"a trusted address inbound without a peer": {Config{Mode: Inbound, TrustedAddrs: lan}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTestTracer(t, c.cfg)
			x := request("traceparent", sampled, "tracestate", "a=1,lintel=beef", "baggage", "user=1", "X-Request-Id", "req-1")
			if c.change != nil {
				c.change(x)
			}
			tr.Begin(x)
			got := &x.Trace
			if fmt.Sprintf("%x", got.Span) == spanHex || got.Span == [8]byte{} {
				t.Fatalf("the hop has no span of its own: %x", got.Span)
			}
			if c.continued {
				if fmt.Sprintf("%x", got.ID) != traceHex || fmt.Sprintf("%x", got.Parent) != spanHex || !got.Sampled || got.State != "a=1" {
					t.Fatalf("not continued: %+v", got)
				}
				if got.LinkID != [16]byte{} || x.ID != "req-1" || x.Request.Header.Get("baggage") != "user=1" {
					t.Fatalf("link %x, id %q, baggage %q", got.LinkID, x.ID, x.Request.Header.Get("baggage"))
				}
			} else {
				if fmt.Sprintf("%x", got.ID) == traceHex || got.Parent != [8]byte{} || got.Sampled || got.State != "" || !got.Random {
					t.Fatalf("continued: %+v", got)
				}
				if fmt.Sprintf("%x", got.LinkID) != traceHex || fmt.Sprintf("%x", got.LinkSpan) != spanHex {
					t.Fatalf("not linked: %+v", got)
				}
				if x.ID == "req-1" || len(x.ID) != 32 || x.Request.Header.Count("baggage") != 0 {
					t.Fatalf("id %q, baggage %q", x.ID, x.Request.Header.Get("baggage"))
				}
			}
			if want := map[bool]string{true: "beef"}[c.cfg.Mode == Outbound]; got.Memory != want {
				t.Fatalf("memory %q, want %q", got.Memory, want)
			}
			tr.Forward(x)
			p, ok := readParent(&x.Request.Header)
			if !ok || p.trace != got.ID || p.span != got.Span {
				t.Fatalf("forwarded %q", x.Request.Header.Get("traceparent"))
			}
			if s := x.Request.Header.Joined("tracestate"); strings.Contains(s, "lintel") || s != got.State {
				t.Fatalf("forwarded tracestate %q", s)
			}
			if x.Request.Header.Get("X-Request-ID") != x.ID {
				t.Fatal("the request id was not forwarded")
			}
		})
	}
}

func TestTwoTraceparentsBeginAnew(t *testing.T) {
	x := request("traceparent", sampled, "Traceparent", sampled, "tracestate", "a=1")
	tr := newTestTracer(t, Config{Mode: Outbound})
	tr.Begin(x)
	if x.Trace.Parent != [8]byte{} || x.Trace.State != "" || x.Trace.LinkID != [16]byte{} {
		t.Fatalf("%+v", x.Trace)
	}
	tr.Forward(x)
	tr.Forward(x) // a second attempt
	if n := x.Request.Header.Count("traceparent"); n != 1 {
		t.Fatalf("%d traceparents are forwarded", n)
	}
	if n := x.Request.Header.Count("tracestate"); n != 0 {
		t.Fatalf("the tracestate of a trace that was not continued is forwarded")
	}
}

func TestInboundHandsTheAppItsMemory(t *testing.T) {
	tr := newTestTracer(t, Config{Mode: Inbound})
	x := request("traceparent", sampled, "tracestate", "a=1")
	x.Peer.ID = "spiffe://td/web"
	tr.Begin(x)
	x.Txn = &exchange.Txn{Memory: "0123456789abcdef0123456789abcdef"}
	tr.Forward(x)
	if got := x.Request.Header.Get("tracestate"); got != "lintel=0123456789abcdef0123456789abcdef,a=1" {
		t.Fatalf("got %q", got)
	}
}

func TestBaggageOfStrangersMayBeAllowed(t *testing.T) {
	x := request("baggage", "a=1")
	newTestTracer(t, Config{AllowBaggage: true}).Begin(x)
	if x.Request.Header.Get("baggage") != "a=1" {
		t.Fatal("it was removed all the same")
	}
}

func TestRequestIDs(t *testing.T) {
	tr := newTestTracer(t, Config{Mode: Outbound})
	for in, ok := range map[string]bool{
		"a": true, "A-1_b.c:d=e+f/g@h": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a\nb": false, `a"b`: false, "ä": false, "<s>": false,
	} {
		x := request("X-Request-ID", in)
		tr.Begin(x)
		if (x.ID == in) != ok || x.ID == "" {
			t.Errorf("%.20q became %.40q", in, x.ID)
		}
	}
	x := request("X-Request-ID", "a", "X-Request-ID", "b")
	if tr.Begin(x); len(x.ID) != 32 {
		t.Errorf("of two ids one was taken: %q", x.ID)
	}
}

func TestRootsAreSampledByTheRatio(t *testing.T) {
	const n = 20000
	for _, ratio := range []float64{0, 0.1, 0.5, 1} {
		tr := newTestTracer(t, Config{SampleRatio: ratio})
		got := 0
		for range n {
			var trace exchange.Trace
			if tr.root(&trace); trace.Sampled {
				got++
			}
		}
		// Six standard deviations: wrong once in half a billion runs.
		if d := math.Abs(float64(got) - ratio*n); d > 6*math.Sqrt(n*ratio*(1-ratio)) {
			t.Errorf("ratio %v: %d of %d", ratio, got, n)
		}
	}
	// Others follow their parent.
	x := request("traceparent", sampled[:53]+"00")
	if newTestTracer(t, Config{Mode: Outbound, SampleRatio: 1}).Begin(x); x.Trace.Sampled {
		t.Error("a trace that its root did not sample was sampled")
	}
	for _, ratio := range []float64{-0.1, 1.1, math.NaN()} {
		if _, err := NewTracer(context.Background(), Config{SampleRatio: ratio}, quiet); err == nil {
			t.Errorf("ratio %v was taken", ratio)
		}
	}
	if _, err := NewTracer(context.Background(), Config{Exporter: "zipkin"}, quiet); err == nil {
		t.Error("an unknown exporter was taken")
	}
}

func TestOriginalOutlivesRewrites(t *testing.T) {
	for target, want := range map[string][2]string{
		"/a/b?c=d":                        {"/a/b", "c=d"},
		"http://u:p@shop.example/a?x":     {"/a", "x"},
		"http://shop.example":             {"/", ""},
		"http://shop.example?q=1":         {"/", "q=1"},
		"*":                               {"*", ""},
		"/redirect?to=http://evil/secret": {"/redirect", "to=http://evil/secret"},
		"?":                               {"/orders/17", "token=hush"},
		"":                                {"/orders/17", "token=hush"},
	} {
		x := request()
		x.Request.Target = target
		remember(x)
		x.Request.Method, x.Request.Path, x.Request.Authority = "PUT", "/else", "10.0.0.7"
		remember(x)
		if o := x.Original; o.Path != want[0] || o.Query != want[1] || o.Method != "GET" || o.Authority != "shop.example:8443" {
			t.Errorf("%q: %+v", target, o)
		}
	}
}
