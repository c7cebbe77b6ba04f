package nethttp

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func both(t *testing.T) string {
	t.Helper()
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: p, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

// What net/http refuses to write, if any of it gets so far, is not the service's
// doing: it must not count for its breaker, nor be sent to another endpoint.
func TestWhatIsNotWrittenIsNotTheServicesFault(t *testing.T) {
	address, tr := both(t), newTransport(t, exchange.TransportConfig{})
	for _, p := range []exchange.Protocol{exchange.HTTP1, exchange.HTTP2} {
		for name, c := range map[string]struct {
			change func(*exchange.Request)
			code   string
		}{
			"field name":          {func(r *exchange.Request) { r.Header.Add("a(b", "c") }, "internal"},
			"field value":         {func(r *exchange.Request) { r.Header.Add("a", "b\nc") }, "internal"},
			"trailer that frames": {func(r *exchange.Request) { r.Header.Add("Trailer", "content-length, trailer") }, ""},
			"trailer no token":    {func(r *exchange.Request) { r.Header.Add("Trailer", "a(b") }, ""},
		} {
			u, err := tr.Reserve(get(t.Context()), address, p)
			if err != nil {
				t.Fatal(err)
			}
			x := get(t.Context())
			x.Request.Method, x.Request.Body, x.Request.Length = "POST", io.NopCloser(strings.NewReader("hello")), 5
			c.change(&x.Request)
			err = u.RoundTrip(x)
			if c.code == "" && err != nil {
				t.Errorf("%s, %s: %v", p, name, err)
			}
			if c.code != "" {
				if f := fault(t, err); f.Code != c.code || f.Source != exchange.FromSelf || f.Retryable {
					t.Errorf("%s, %s: %+v", p, name, f)
				}
			}
			x.DropResponse()
			x.RunDone()
		}
	}
}

// The bound is on each piece: a client that keeps reading a large answer from
// memory gets all of it, however long that takes.
func TestASlowReaderGetsALargeAnswerFromMemory(t *testing.T) {
	const size = 24 << 20
	_, addr := serve(t, exchange.ServerConfig{WriteTimeout: 2 * time.Second}, handlerFunc(func(x *exchange.Exchange) {
		x.Answer(200, "a/b", bytes.Repeat([]byte("x"), size))
	}))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n, piece := int64(0), int64(256<<10)
	for n < size {
		m, err := io.CopyN(io.Discard, res.Body, piece)
		if n += m; err != nil {
			t.Fatalf("got %d of %d bytes: %v", n, size, err)
		}
		time.Sleep(40 * time.Millisecond) // the slowness under test: twice the bound in all
	}
}
