package nethttp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
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

// net/http writes to the connection beside requests, SETTINGS and WINDOW_UPDATE
// over HTTP/2: that something was written does not say that the request was.
func TestARefusalOverHTTP2DoesNotDependOnWhatElseWasWritten(t *testing.T) {
	a := &attempt{c: &conn{p: &pool{key: poolKey{address: "a:1"}}}}
	info := &exchange.ConnInfo{Protocol: "h2"}
	for text, code := range map[string]string{
		`net/http: invalid header field name "a(b"`:         "internal",
		`http2: invalid Connection request header: ["a"]`:   "internal",
		`http2: Transport received Server's something else`: "reset",
	} {
		for _, sent := range []bool{false, true} {
			if f := a.classify(info, sent, errors.New(text)); f.Code != code || (f.Source == exchange.FromSelf) != (code == "internal") {
				t.Errorf("%s, something written %v: %+v", text, sent, f)
			}
		}
	}
	// What the service has sent is the service's, whatever it says.
	stream := http2StreamError{StreamID: 1, Code: 1, Cause: errors.New("http2: invalid field")}
	if f := a.classify(info, true, fmt.Errorf("http2: invalid frame: %w", stream)); f.Source == exchange.FromSelf {
		t.Errorf("a stream error: %+v", f)
	}
}

// dated is a connection that notes how much is written under one deadline.
type dated struct {
	net.Conn
	mu          sync.Mutex
	under, most int
	bounded     bool
}

func (c *dated) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.under, c.bounded = 0, !t.IsZero()
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

func (c *dated) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.bounded {
		c.under += len(p)
		c.most = max(c.most, c.under)
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

type datedListener struct {
	net.Listener
	conns chan *dated
}

func (l *datedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d := &dated{Conn: c}
	l.conns <- d
	return d, nil
}

// The bound is on each piece: a client that keeps reading a large answer from
// memory gets all of it, however long that takes. So every piece has a deadline
// of its own.
func TestASlowReaderGetsALargeAnswerFromMemory(t *testing.T) {
	const size = 8 << 20
	s, err := NewServer(exchange.ServerConfig{WriteTimeout: time.Hour}, handlerFunc(func(x *exchange.Exchange) {
		x.Answer(200, "a/b", bytes.Repeat([]byte("x"), size))
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &datedListener{inner, make(chan *dated, 1)}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, res.Body)
	if n != size || err != nil {
		t.Fatalf("got %d of %d bytes: %v", n, size, err)
	}
	_ = c.Close()
	if _, err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	d := <-l.conns
	d.mu.Lock()
	defer d.mu.Unlock()
	if most := copyBuffer + 8<<10; d.most == 0 || d.most > most { // a piece, with the head and what net/http has kept
		t.Errorf("%d bytes were written under one deadline, want at most %d", d.most, most)
	}
}
