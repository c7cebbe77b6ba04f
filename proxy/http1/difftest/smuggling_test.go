package difftest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1"
	"lintel.dev/lintel/proxy/http1/smuggling"
)

// drivers are the ways in which http1 runs. Those that need sockets of the
// kernel are tested here and by the soak; what the fuzzers compare is the same
// code for all of them.
var drivers = []struct {
	name string
	opt  http1.Options
}{
	{"threads", http1.Options{Threads: true}},
	{"loops", http1.Options{}},
}

// Every case of the corpus goes through a running proxy: what is refused never
// reaches the service, what is taken arrives once and as what it is, and behind
// a refusal nothing is served any more.
func TestSmugglingThroughAProxy(t *testing.T) {
	const lanes = 16
	all := smuggling.Cases()
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			for lane := range lanes {
				t.Run("", func(t *testing.T) {
					t.Parallel() // some of it is waiting
					s := newService(t)
					p, address := listening(t, d.opt)
					for i := lane; i < len(all); i += lanes {
						p.at(s.address)
						attempt(t, all[i], p, address, s)
					}
				})
			}
		})
	}
}

// listening is a proxy on a socket.
func listening(t *testing.T, opt http1.Options) (*proxy, string) {
	t.Helper()
	p := &proxy{name: "http1", transport: http1.NewTransport(exchange.TransportConfig{})}
	var err error
	if p.server, err = http1.NewServer(exchange.ServerConfig{Name: "test"}, p, slog.New(slog.DiscardHandler), opt); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = p.server.Shutdown(ctx)
		p.transport.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
	return p, l.Addr().String()
}

// attempt sends a case with a good request behind it.
func attempt(t *testing.T, c smuggling.Case, p *proxy, address string, s *service) {
	t.Helper()
	fail := func(format string, a ...any) {
		t.Helper()
		t.Errorf("%q: "+format, append([]any{c.Name}, a...)...)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	send := c.Bytes
	if c.Refuse != 0 {
		send += "GET " + smuggling.Smuggled + " HTTP/1.1\r\nHost: a.example\r\n\r\n"
	}
	if _, err := io.WriteString(conn, send); err != nil {
		fail("sending: %v", err)
		return
	}
	br := bufio.NewReader(conn)
	served := 0
	for served < len(c.Want) || c.Refuse != 0 {
		if c.Waits && served == len(c.Want)-1 {
			break // what is not complete is not answered
		}
		method := "GET"
		if served < len(c.Want) {
			method = c.Want[served].Method
		}
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			fail("answer %d: %v", served, err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		switch {
		case res.StatusCode < 200:
			continue
		case res.StatusCode == 200:
			served++
			continue
		case res.StatusCode != c.Refuse:
			fail("%d where %d was due", res.StatusCode, c.Refuse)
		case !res.Close:
			fail("%d, and the connection goes on", res.StatusCode)
		}
		break
	}
	// A refused client need do nothing: its connection ends. Others end theirs.
	if c.Refuse == 0 {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	rest, err := io.ReadAll(br)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		fail("the connection does not end: %v", err)
	}
	got, broken := s.take()
	if n := strings.Count(string(rest), "HTTP/1.1 "); n > 1 || n > 0 && !c.Waits {
		fail("after the last answer came %q", rest)
	}
	if served += strings.Count(string(rest), "HTTP/1.1 200 "); served != len(got) {
		fail("%d good answers to %d requests that arrived; the last: %q", served, len(got), rest)
	}
	if len(broken) > 0 {
		fail("the service got what nobody can read: %q", broken)
	}
	whole := len(c.Want)
	if c.Body {
		whole-- // the last one is cut short, if it was sent at all
	}
	if len(got) > whole || len(got) < whole && !c.Waits || len(got) < whole-1 {
		fail("%d requests arrived where %d were due: %+v", len(got), whole, got)
		return
	}
	for i, r := range got {
		w := c.Want[i]
		if r.method != w.Method || r.host != w.Host || r.target != w.Target || r.body != w.Body {
			fail("request %d arrived as %+v where %+v was due", i, r, w)
		}
		if slices.ContainsFunc(r.fields, func(f string) bool { return strings.HasPrefix(f, "content_length") }) {
			fail("request %d has fields %q", i, r.fields)
		}
	}
}
