package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/exchange/enginetest"
)

// Closing a listening socket waits for an accept in progress, and what is
// accepted is counted under the server's lock: a Shutdown that held it while it
// closed would freeze the loop and never return.
func TestShutdownAmidNewConnections(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		for range 40 {
			s, err := NewServer(exchange.ServerConfig{Name: "test"}, handler{serve: saying}, slog.New(slog.DiscardHandler), opt)
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			stop := make(chan struct{})
			var dialers sync.WaitGroup
			for range 4 {
				dialers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
							_ = c.(*net.TCPConn).SetLinger(0) // no port is to stay taken
							_ = c.Close()
						}
					}
				})
			}
			time.Sleep(3 * time.Millisecond)
			ended := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_, err := s.Shutdown(ctx)
				ended <- err
			}()
			if err := receive(t, "Shutdown", ended); err != nil {
				t.Error(err)
			}
			close(stop)
			dialers.Wait()
			if err := receive(t, "Serve", served); err != nil {
				t.Error(err)
			}
		}
	})
}

// A connection whose last piece was read exactly is as good as any: over TLS it
// must not be taken for one that holds more.
func TestTLSConnectionsAreReusedAfterLargeBodies(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	big := strings.Repeat("x", 200<<10)
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	scriptedOn(t, l, func(c net.Conn, br *bufio.Reader) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(big), big)
		}
	})
	each(t, func(t *testing.T, opt Options) {
		tr := newTransport(t, exchange.TransportConfig{TLS: clientTLS})
		var mu sync.Mutex
		reused := 0
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			up, err := tr.Reserve(x, l.Addr().String(), exchange.HTTP1)
			if err == nil {
				mu.Lock()
				if up.Info().Reused {
					reused++
				}
				mu.Unlock()
				err = up.RoundTrip(x)
			}
			if err != nil {
				x.Answer(502, "text/plain", []byte(err.Error()))
			}
		}})
		c := dial(t, addr)
		for range 5 {
			c.send(aGet)
			if res, b := c.answer("GET"); res.StatusCode != 200 || b != big {
				t.Fatalf("%d, %d bytes", res.StatusCode, len(b))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if reused != 4 {
			t.Errorf("the connection to the service was reused %d times of 4", reused)
		}
	})
}

// The same towards clients: after an upload whose end was read exactly the
// connection is idle, and not about to be given up for a request head that
// does not come.
func TestTLSClientsAreIdleAfterLargeUploads(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	each(t, func(t *testing.T, opt Options) {
		s, addr := running(t, opt, exchange.ServerConfig{TLS: serverTLS}, handler{serve: func(x *exchange.Exchange) {
			n, _ := io.Copy(io.Discard, x.Request.Body)
			x.Answer(200, "text/plain", fmt.Append(nil, n))
		}})
		c := peerOn(t, tls.Client(dial(t, addr).Conn, clientTLS))
		const size = 100 << 10
		for range 3 {
			c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
			if res, b := c.answer("POST"); res.StatusCode != 200 || b != fmt.Sprint(size) {
				t.Fatalf("%d, %q", res.StatusCode, b)
			}
			eventually(t, "the connection to be idle", func() bool {
				for _, c := range s.(*server).snapshot() {
					return c.state.Load() == idling
				}
				return false
			})
		}
	})
}

// Requests that arrive in one record with an upload's end are served.
func TestTLSPipelinedBehindAnUpload(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	each(t, func(t *testing.T, opt Options) {
		_, addr := running(t, opt, exchange.ServerConfig{TLS: serverTLS}, handler{serve: func(x *exchange.Exchange) {
			n := int64(0)
			if x.Request.Body != nil {
				n, _ = io.Copy(io.Discard, x.Request.Body)
			}
			x.Answer(200, "text/plain", fmt.Append(nil, x.Request.Path, n))
		}})
		c := peerOn(t, tls.Client(dial(t, addr).Conn, clientTLS))
		for _, size := range []int{10 << 10, 16<<10 - 60, 16 << 10, 40 << 10} {
			c.send(fmt.Sprintf("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)) + aGet + aGet)
			for _, want := range []string{fmt.Sprintf("/p%d", size), "/0", "/0"} {
				if _, b := c.answer("GET"); b != want && b != strings.Replace(want, "/p", "/p ", 1) && b != strings.Replace(want, "/0", "/ 0", 1) {
					t.Fatalf("%q where %q was due", b, want)
				}
			}
		}
	})
}

// A filter's body that panics costs its exchange and nothing else, wherever it
// is called from; the exchange is finished all the same.
func TestBodiesThatPanic(t *testing.T) {
	address := scripted(t, answerOK)
	each(t, func(t *testing.T, opt Options) {
		tr := newTransport(t, exchange.TransportConfig{})
		finished := make(chan struct{}, 1)
		forward := forwarding(tr, address, nil)
		s, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			switch x.Request.Path {
			case "/close":
				x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, enginetest.Panicking{Reader: strings.NewReader("fine"), OnClose: true}
				return
			case "/read":
				x.Request.Body = enginetest.Panicking{Reader: x.Request.Body}
			}
			forward.Serve(x)
		}, finish: func(*exchange.Exchange) { finished <- struct{}{} }})
		c := dial(t, addr)
		c.send("GET /close HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, b := c.answer("GET"); res.StatusCode != 200 || b != "fine" {
			t.Errorf("%d %q", res.StatusCode, b)
		}
		receive(t, "the exchange to be finished", finished)
		c = dial(t, addr)
		c.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		if res, _ := c.answer("POST"); res.StatusCode != 500 {
			t.Errorf("%d", res.StatusCode)
		}
		receive(t, "the exchange to be finished", finished)
		eventually(t, "no connection to be left", func() bool {
			open, _ := conns(s)
			return open <= 1
		})
	})
}

// readyToPanic says that reading it does not wait, so it is read right away.
type readyToPanic struct{ enginetest.Panicking }

func (readyToPanic) Ready() bool { return true }

// Nor does such a body keep the connection that it was to go out on.
func TestABodyThatPanicsKeepsNoConnection(t *testing.T) {
	address := scripted(t, answerOK)
	each(t, func(t *testing.T, opt Options) {
		tr := newTransport(t, exchange.TransportConfig{MaxConns: 1})
		forward := forwarding(tr, address, nil)
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			if x.Request.Path == "/read" {
				x.Request.Body = readyToPanic{enginetest.Panicking{Reader: x.Request.Body}}
			}
			forward.Serve(x)
		}})
		c := dial(t, addr)
		c.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		if res, _ := c.answer("POST"); res.StatusCode != 500 {
			t.Errorf("%d", res.StatusCode)
		}
		eventually(t, "the connection to be given up", func() bool { return tr.Open() == 0 })
		c = dial(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if res, _ := c.answer("GET"); res.StatusCode != 200 {
			t.Errorf("%d", res.StatusCode)
		}
	})
}

// An upload that was given up does not take from the body which is sent again.
func TestAGivenUpUploadLeavesTheBodyAlone(t *testing.T) {
	body := make([]byte, 8<<20)
	for i := range body {
		body[i] = byte(i * 7 >> 8)
	}
	var mu sync.Mutex
	asked := 0
	got := make(chan string, 1)
	address := scripted(t, func(c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		mu.Lock()
		asked++
		first := asked%2 == 1
		mu.Unlock()
		if first {
			_, _ = io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err == nil && string(b) == string(body) {
			got <- ""
		} else {
			got <- fmt.Sprintf("%d bytes, %v", len(b), err)
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
	})
	each(t, func(t *testing.T, opt Options) {
		tr := newTransport(t, exchange.TransportConfig{})
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			whole := exchange.NewBody(body)
			x.Request.Body, x.Request.Length, x.Request.Method = whole, int64(len(body)), "PUT"
			for range 2 {
				x.DropResponse()
				whole.Rewind()
				up, err := tr.Reserve(x, address, exchange.HTTP1)
				if err == nil {
					err = up.RoundTrip(x)
				}
				if err != nil {
					x.Answer(502, "text/plain", []byte(err.Error()))
				}
			}
		}})
		for range 20 {
			c := dial(t, addr)
			c.send(aGet)
			if res, b := c.answer("GET"); res.StatusCode != 200 {
				t.Fatalf("%d %q", res.StatusCode, b)
			}
			if what := receive(t, "the service", got); what != "" {
				t.Fatal("the second time the service got", what)
			}
		}
	})
}

// Whoever ends an exchange late ends no other that has its connection by now.
func TestALateWakeEndsNothingElse(t *testing.T) {
	woken := make(chan struct{})
	address := scripted(t, func(c net.Conn, br *bufio.Reader) {
		for n := range 2 {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			if n == 1 {
				<-woken
			}
			_, _ = io.WriteString(c, "ok")
		}
	})
	tr := newTransport(t, exchange.TransportConfig{})
	first := asking(context.Background())
	u, err := tr.Reserve(first, address, exchange.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	l := u.(*link)
	if err := u.RoundTrip(first); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(first.Response.Body)
	first.RunDone()
	second := asking(context.Background())
	if u, err = tr.Reserve(second, address, exchange.HTTP1); err != nil || u != exchange.Upstream(l) {
		t.Fatalf("%v, another connection: %v", err, u)
	}
	if err := u.RoundTrip(second); err != nil {
		t.Fatal(err)
	}
	l.Wake() // the first one's, which had been on its way
	close(woken)
	if b, err := io.ReadAll(second.Response.Body); err != nil || string(b) != "ok" {
		t.Errorf("%q, %v", b, err)
	}
	second.RunDone()
}

// The preface of HTTP/2 is known however it is cut.
func TestPrefaceInPieces(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		handed := make(chan string, 1)
		opt.HTTP2 = func(c net.Conn) {
			defer c.Close()
			b := make([]byte, len(preface)+3)
			_ = c.SetDeadline(time.Now().Add(waitLimit))
			_, err := io.ReadFull(c, b)
			handed <- fmt.Sprint(string(b), err)
		}
		_, addr := running(t, opt, exchange.ServerConfig{H2C: true}, handler{serve: saying})
		for cut := 1; cut < len(preface); cut++ {
			c := dial(t, addr)
			c.send(string(preface[:cut]))
			time.Sleep(time.Millisecond)
			c.send(string(preface[cut:]) + "abc")
			if got := receive(t, "HTTP/2", handed); got != string(preface)+"abc<nil>" {
				t.Fatalf("cut at %d: %q", cut, got)
			}
		}
	})
}

// A trailer section that comes byte by byte costs as much as one that comes at
// once: every byte is looked at once, and it is understood wherever it is cut.
func TestTrailersInPieces(t *testing.T) {
	const section = "A: 1\r\nbb: 2\r\n\r\n"
	for _, c := range []struct {
		section string
		used    int
		bad     bool
	}{{section + "GET", len(section), false}, {"\r\n\r\n", 2, false}, {"A: 1\n\r\n", 0, true}, {" A: 1\r\n\r\n", 0, true}, {"\rA", 0, true}} {
		var d chunkDecoder
		var f exchange.Fields
		var used int
		var done bool
		var err error
		for n := 0; n <= len(c.section) && !done && err == nil; n++ {
			used, done, err = d.trailers([]byte(c.section[:n]), someLimits, &f)
			if !done && err == nil && d.seen < n-1 {
				t.Errorf("%q: after %d bytes %d count as seen", c.section, n, d.seen)
			}
		}
		if c.bad {
			// What is no line end is found with the line's end, or by the limit.
			if done {
				t.Errorf("%q was taken: %d bytes", c.section, used)
			}
			continue
		}
		if used != c.used || !done || err != nil {
			t.Errorf("%q: %d bytes used, done %v, %v", c.section, used, done, err)
		}
	}
}

// slowTransport leads to slowClosing.
type slowTransport struct {
	exchange.Transport
	up slowClosing
}

func (t slowTransport) Reserve(*exchange.Exchange, string, exchange.Protocol) (exchange.Upstream, error) {
	return t.up, nil
}

// slowClosing answers with a body that blocks as it is closed.
type slowClosing struct {
	exchange.Upstream
	closing chan struct{}
	release chan struct{}
}

func (s slowClosing) RoundTrip(x *exchange.Exchange) error {
	x.Response.Status, x.Response.Length, x.Response.Body = 200, 4, s
	return nil
}

func (s slowClosing) Read(p []byte) (int, error) { return copy(p, "body"), io.EOF }

func (s slowClosing) Close() error {
	s.closing <- struct{}{}
	<-s.release
	return nil
}

// Closing a body of another transport may take its time, which is not the
// loop's.
func TestAnotherTransportClosesOutsideTheLoop(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		slow := slowClosing{closing: make(chan struct{}, 1), release: make(chan struct{})}
		tr := Bridge(slowTransport{up: slow})
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			if x.Request.Path != "/slow" {
				saying(x)
				return
			}
			up, err := tr.Reserve(x, "", exchange.HTTP2)
			if err == nil {
				err = up.RoundTrip(x)
			}
			if err != nil {
				t.Error(err)
			}
		}})
		c := dial(t, addr)
		c.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
		c.answer("GET")
		receive(t, "the body to be closed", slow.closing)
		var others []*peer
		for range 16 { // some of them on the same loop
			others = append(others, dial(t, addr))
		}
		for _, o := range others {
			o.send(aGet)
			_ = o.SetDeadline(time.Now().Add(waitLimit / 3))
			if res, err := http.ReadResponse(o.br, nil); err != nil || res.StatusCode != 200 {
				t.Error(err)
				break
			}
		}
		close(slow.release)
	})
}
