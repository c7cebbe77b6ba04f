//go:build linux && !race

package http1

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// Between two Lintels a stream costs no more than a connection: an exchange's
// Life in each, the body that this test makes, and what crypto/tls allocates for
// every record it reads, which exchanges share that come together.
func TestForwardingOverSharedConnectionAllocates(t *testing.T) {
	a := newAsker(t, startMesh(t))
	for range 200 {
		a.once(t)
	}
	const n = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		a.once(t)
	}
	runtime.ReadMemStats(&after)
	perRequest := float64(after.Mallocs-before.Mallocs) / n
	t.Logf("%.2f allocations, %d bytes per request", perRequest, (after.TotalAlloc-before.TotalAlloc)/n)
	if limit := 2*allocations["loops"] + 1 + 2; perRequest > limit+0.5 {
		t.Errorf("%.2f allocations per request, want at most %v", perRequest, limit)
	}
}

// startMesh runs two servers with mTLS between them; the far one answers by
// itself.
func startMesh(tb testing.TB) (addr string) {
	serverTLS, clientTLS := certified(tb)
	tr := NewTransport(exchange.TransportConfig{TLS: clientTLS, PeerID: anyPeer})
	tb.Cleanup(tr.Close)
	far := startServer(tb, exchange.ServerConfig{TLS: serverTLS, PeerID: anyPeer}, &answerer{body: []byte(strings.Repeat("x", 250))})
	return startServer(tb, exchange.ServerConfig{}, &forwarder{tr, far})
}

// answerer is a handler that says the same to all.
type answerer struct{ body []byte }

func (a *answerer) Serve(x *exchange.Exchange) {
	x.Response.Status, x.Response.Length = 200, int64(len(a.body))
	x.Response.Body = exchange.NewBody(a.body)
}

func (a *answerer) Finish(x *exchange.Exchange) { x.RunDone() }

func startServer(tb testing.TB, cfg exchange.ServerConfig, h exchange.Handler) (addr string) {
	tb.Helper()
	cfg.Name = "test"
	s, err := NewServer(cfg, h, slog.New(slog.DiscardHandler), Options{})
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	tb.Cleanup(func() {
		_, _ = s.Shutdown(tb.Context())
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return l.Addr().String()
}

// One exchange at a time is the least that sharing can win; large answers are
// what it can lose by, and alone is what they cost without.
func BenchmarkForwardOverSharedConnection(b *testing.B) {
	b.Run("small", func(b *testing.B) {
		a := newAsker(b, startMesh(b))
		b.ReportAllocs()
		for b.Loop() {
			a.once(b)
		}
	})
	for _, name := range []string{"large", "large alone"} {
		b.Run(name, func(b *testing.B) {
			serverTLS, clientTLS := certified(b)
			scfg, tcfg := exchange.ServerConfig{TLS: serverTLS}, exchange.TransportConfig{TLS: clientTLS}
			if name == "large" {
				scfg.PeerID, tcfg.PeerID = anyPeer, anyPeer
			}
			tr := NewTransport(tcfg)
			b.Cleanup(tr.Close)
			const size = 1 << 20
			addr := startServer(b, exchange.ServerConfig{}, &forwarder{tr, startServer(b, scfg, &answerer{body: make([]byte, size)})})
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = c.Close() })
			r := bufio.NewReader(c)
			b.SetBytes(size)
			for b.Loop() {
				_, _ = io.WriteString(c, plainRequest)
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
