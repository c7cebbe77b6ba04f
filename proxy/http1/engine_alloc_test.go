//go:build !race

// The race detector allocates, and drops what is in pools: make test runs this
// without it.

package http1

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// forwarder is the plainest handler: it sends everything to one address.
type forwarder struct {
	t       exchange.Transport
	address string
}

func (f *forwarder) Serve(x *exchange.Exchange) {
	if x.Fault != nil {
		x.Answer(x.Fault.Status, "", nil)
		return
	}
	u, err := f.t.Reserve(x, f.address, exchange.HTTP1)
	if err == nil {
		err = u.RoundTrip(x)
	}
	if err != nil {
		x.Answer(502, "text/plain", []byte(err.Error()))
	}
}

func (f *forwarder) Finish(x *exchange.Exchange) { x.RunDone() }

// startForwarder runs a proxy in front of a service that says answer to every
// request head.
func startForwarder(tb testing.TB, opt Options, answer string) (addr string) {
	tb.Helper()
	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, out := make([]byte, 4096), []byte(answer)
				for n := 0; ; {
					m, err := c.Read(b[n:])
					if err != nil {
						return
					}
					if n += m; bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) {
						n = 0
						if _, err := c.Write(out); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	tr := NewTransport(exchange.TransportConfig{})
	s, err := NewServer(exchange.ServerConfig{Name: "test"}, &forwarder{tr, service.Addr().String()}, slog.New(slog.DiscardHandler), opt)
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
		if _, err := s.Shutdown(tb.Context()); err != nil && tb.Context().Err() == nil {
			tb.Error(err)
		}
		tr.Close()
		_ = service.Close()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return l.Addr().String()
}

const (
	plainRequest = "GET /a/b?c=d HTTP/1.1\r\nHost: a.example\r\nUser-Agent: wrk\r\nAccept: */*\r\nX-A: b\r\n\r\n"
	plainAnswer  = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Tue, 24 Nov 2026 03:14:23 GMT\r\nContent-Length: 250\r\n\r\n"
)

// asker is a client that allocates nothing.
type asker struct {
	c       net.Conn
	request []byte
	b       []byte
	want    int // bytes of an answer
}

func newAsker(tb testing.TB, addr string) *asker {
	tb.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	a := &asker{c: c, request: []byte(plainRequest), b: make([]byte, 4096)}
	if _, err := c.Write(a.request); err != nil {
		tb.Fatal(err)
	}
	n := 0
	for !bytes.Contains(a.b[:n], []byte(strings.Repeat("x", 250))) {
		m, err := c.Read(a.b[n:])
		if n += m; err != nil {
			tb.Fatalf("%v after %q", err, a.b[:n])
		}
	}
	a.want = n
	return a
}

func (a *asker) once(tb testing.TB) {
	if _, err := a.c.Write(a.request); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(a.c, a.b[:a.want]); err != nil {
		tb.Fatal(err)
	}
}

// allocations per forwarded request: the exchange's Life, which may be ended
// late and so is never used again; goroutines also ask the kernel through
// closures.
var allocations = map[string]float64{"threads": 7, "loops": 1}

// What a forwarded request costs in allocations: none that grows with anything,
// and each is named.
func TestForwardingAllocates(t *testing.T) {
	for name, opt := range drivers() {
		t.Run(name, func(t *testing.T) {
			a := newAsker(t, startForwarder(t, opt, plainAnswer+strings.Repeat("x", 250)))
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
			if limit := allocations[name]; perRequest > limit+0.5 {
				t.Errorf("%.2f allocations per request, want at most %v", perRequest, limit)
			}
		})
	}
}

func BenchmarkForward(b *testing.B) {
	for name, opt := range drivers() {
		b.Run(name, func(b *testing.B) {
			a := newAsker(b, startForwarder(b, opt, plainAnswer+strings.Repeat("x", 250)))
			b.ReportAllocs()
			for b.Loop() {
				a.once(b)
			}
		})
	}
}
