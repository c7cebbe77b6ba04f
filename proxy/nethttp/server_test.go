package nethttp

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

type handlerFunc func(*exchange.Exchange)

func (f handlerFunc) Serve(x *exchange.Exchange) { f(x) }
func (handlerFunc) Finish(x *exchange.Exchange)  { x.RunDone() }

func serve(t *testing.T, cfg exchange.ServerConfig, h exchange.Handler) (*Server, string) {
	t.Helper()
	s, err := NewServer(cfg, h, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
	return s, l.Addr().String()
}

func TestTooManyConnectionsAreClosedAtOnce(t *testing.T) {
	s, addr := serve(t, exchange.ServerConfig{MaxConns: 1}, handlerFunc(func(x *exchange.Exchange) { x.Answer(200, "", nil) }))
	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, _ = io.WriteString(first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if b := make([]byte, 12); func() bool { _, err := io.ReadFull(first, b); return err != nil || string(b) != "HTTP/1.1 200" }() {
		t.Fatal("the first connection is not served")
	}
	second, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	_ = second.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := second.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the second connection got %v", err)
	}
	if open, refused := s.Conns(); open != 1 || refused != 1 {
		t.Errorf("%d open, %d refused", open, refused)
	}
}

func TestPlaintextHasNoPeer(t *testing.T) {
	seen := make(chan *exchange.Fault, 1)
	_, addr := serve(t, exchange.ServerConfig{PeerID: func(*tls.ConnectionState) (exchange.Peer, error) {
		return exchange.Peer{ID: "spiffe://never"}, nil
	}}, handlerFunc(func(x *exchange.Exchange) { seen <- x.Fault; x.Answer(x.Fault.Status, "", nil) }))
	res, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if f := <-seen; f == nil || f.Status != 403 || !f.Close || res.StatusCode != 403 || !res.Close {
		t.Errorf("%+v, %d, close %v", f, res.StatusCode, res.Close)
	}
	http.DefaultClient.CloseIdleConnections()
}

// An unread small upload costs nothing; an unread endless one the connection.
func TestConnectionSurvivesAnUnreadSmallBody(t *testing.T) {
	_, addr := serve(t, exchange.ServerConfig{}, handlerFunc(func(x *exchange.Exchange) { x.Answer(401, "text/plain", []byte("no")) }))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, strings.Repeat("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 2)+
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
	b, err := io.ReadAll(c)
	if n := strings.Count(string(b), "HTTP/1.1 401 "); n != 3 || err != nil {
		t.Errorf("%d answers, %v: %q", n, err, b)
	}
}

func TestSplitTarget(t *testing.T) {
	for target, want := range map[string][2]string{
		"/":                       {"/", ""},
		"/a%2Fb?x=%2F&y":          {"/a%2Fb", "x=%2F&y"},
		"*":                       {"*", ""},
		"http://a.example":        {"/", ""},
		"http://a.example?q":      {"/", "q"},
		"http://a.example/x?y?z":  {"/x", "y?z"},
		"/go?to=http://b.example": {"/go", "to=http://b.example"},
		"//a/b":                   {"//a/b", ""},
		"":                        {"/", ""},
	} {
		if path, query := splitTarget(target); path != want[0] || query != want[1] {
			t.Errorf("%q is %q, %q", target, path, query)
		}
	}
}

func FuzzSplitTarget(f *testing.F) {
	for _, s := range []string{"/", "/a?b", "http://x/y?z", "*", "x://", "?", "a://?//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		path, query := splitTarget(target)
		if path == "" || strings.Contains(path, "?") || len(path)+len(query) > len(target)+1 {
			t.Errorf("%q became %q, %q", target, path, query)
		}
	})
}

func TestBadConfigIsRefused(t *testing.T) {
	h := handlerFunc(func(*exchange.Exchange) {})
	for name, cfg := range map[string]exchange.ServerConfig{
		"TLS without a certificate": {TLS: &tls.Config{}},
		"negative limit":            {BodyBytes: -1},
	} {
		if _, err := NewServer(cfg, h, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewServer(exchange.ServerConfig{}, nil, nil); err == nil {
		t.Error("no handler: no error")
	}
}

func TestWhatIsNoTokenNeverReachesAService(t *testing.T) {
	asked := make(chan string, 10)
	_, addr := serve(t, exchange.ServerConfig{}, handlerFunc(func(x *exchange.Exchange) {
		if x.Fault != nil {
			x.Answer(x.Fault.Status, "", nil)
			return
		}
		asked <- x.Request.Upgrade
		x.Answer(200, "", nil)
	}))
	for head, want := range map[string]string{
		"POST / HTTP/1.1\r\nHost: a\r\nTrailer: a(b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":    "400",
		"POST / HTTP/1.1\r\nHost: a\r\nTrailer: a, x b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": "400",
		"POST / HTTP/1.1\r\nHost: a\r\nTrailer: A-b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":    "200",
		"G(T / HTTP/1.1\r\nHost: a\r\n\r\n":                                           "400",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a b(c;\r\n\r\n": "200",
	} {
		if got := raw(t, addr, head); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%q: %.60q, want %s", head, got, want)
		}
	}
	for range 2 {
		if up := <-asked; up != "" {
			t.Errorf("upgrade to %q", up)
		}
	}
}

// raw sends bytes and returns what comes back first.
func raw(t *testing.T, addr, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, send)
	b := make([]byte, 4096)
	n, _ := c.Read(b)
	return string(b[:n])
}

// endless is an answer that never stops.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }

func TestAClientThatDoesNotReadIsCut(t *testing.T) {
	over := make(chan error, 1)
	h := &finisher{serve: func(x *exchange.Exchange) {
		x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, endless{}
	}, finish: func(x *exchange.Exchange) { over <- x.Abort }}
	_, addr := serve(t, exchange.ServerConfig{WriteTimeout: 200 * time.Millisecond}, h)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	select {
	case err := <-over:
		if err == nil {
			t.Error("an answer nobody read counts as complete")
		}
	case <-time.After(30 * time.Second):
		t.Error("a client that does not read holds its exchange")
	}
}

// slowly is an answer with pauses longer than the client may take to read.
type slowly struct{ n int }

func (s *slowly) Read(p []byte) (int, error) {
	if s.n++; s.n > 2 {
		return 0, io.EOF
	}
	time.Sleep(time.Second)
	return copy(p, "tick\n"), nil
}
func (*slowly) Close() error { return nil }

func TestASlowServiceIsNotTheClientsFault(t *testing.T) {
	_, addr := serve(t, exchange.ServerConfig{WriteTimeout: 700 * time.Millisecond, H2C: true}, handlerFunc(func(x *exchange.Exchange) {
		x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, &slowly{}
	}))
	for _, h2 := range []bool{false, true} {
		p := new(http.Protocols)
		p.SetHTTP1(!h2)
		p.SetUnencryptedHTTP2(h2)
		tr := &http.Transport{Protocols: p}
		for range 2 { // the second on the same connection
			res, err := (&http.Client{Transport: tr}).Get("http://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || string(b) != "tick\ntick\n" {
				t.Errorf("h2 %t: %q, %v", h2, b, err)
			}
		}
		tr.CloseIdleConnections()
	}
}

type finisher struct{ serve, finish func(*exchange.Exchange) }

func (f *finisher) Serve(x *exchange.Exchange)  { f.serve(x) }
func (f *finisher) Finish(x *exchange.Exchange) { f.finish(x); x.RunDone() }
