package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// asking is an exchange that no server made.
func asking(ctx context.Context) *exchange.Exchange {
	x := new(exchange.Exchange)
	x.Begin(ctx)
	x.Request = exchange.Request{Method: "GET", Scheme: "http", Authority: "a.example", Path: "/"}
	return x
}

func reserve(t *testing.T, tr exchange.Transport, address string) exchange.Upstream {
	t.Helper()
	u, err := tr.Reserve(asking(t.Context()), address, exchange.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func faultOf(t *testing.T, err error) *exchange.Fault {
	t.Helper()
	var f *exchange.Fault
	if !errors.As(err, &f) {
		t.Fatalf("%v (%T) is not a fault", err, err)
	}
	return f
}

// once makes one exchange and reads its answer.
func once(t *testing.T, tr exchange.Transport, address string) (reused bool) {
	t.Helper()
	x := asking(t.Context())
	u, err := tr.Reserve(x, address, exchange.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	reused = u.Info().Reused
	if err := u.RoundTrip(x); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(x.Response.Body); err != nil || string(b) != "ok" {
		t.Fatalf("%q, %v", b, err)
	}
	_ = x.Response.Body.Close()
	x.RunDone()
	return reused
}

func TestConnectionsAreReusedAndCounted(t *testing.T) {
	var opened atomic.Int64
	address := scripted(t, func(c net.Conn, br *bufio.Reader) { opened.Add(1); answerOK(c, br) })
	tr := newTransport(t, exchange.TransportConfig{})
	for i := range 10 {
		if reused := once(t, tr, address); reused != (i > 0) {
			t.Errorf("exchange %d: reused is %v", i, reused)
		}
	}
	if tr.Open() != 1 || opened.Load() != 1 {
		t.Errorf("%d open, %d were opened", tr.Open(), opened.Load())
	}
	u := reserve(t, tr, address)
	u.Release()
	u.Release() // once is enough
	if f := faultOf(t, u.RoundTrip(asking(t.Context()))); f.Source != exchange.FromSelf {
		t.Errorf("%+v", f)
	}
	if !once(t, tr, address) || tr.Open() != 1 {
		t.Errorf("%d open", tr.Open())
	}
}

// Also where exchanges come in over several loops, each with its own
// connections.
func TestConnectionsStayFewBehindAServer(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		const most = 3
		address := scripted(t, answerOK)
		tr := newTransport(t, exchange.TransportConfig{MaxConns: most})
		_, addr := running(t, opt, exchange.ServerConfig{}, forwarding(tr, address, nil))
		var clients sync.WaitGroup
		for range 16 {
			c := dial(t, addr)
			clients.Go(func() {
				for range 30 {
					_, _ = io.WriteString(c.Conn, aGet)
					res, err := http.ReadResponse(c.br, nil)
					if err != nil || res.StatusCode != 200 {
						t.Errorf("%v, %+v", err, res)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					if n := tr.Open(); n > most {
						t.Errorf("%d connections where %d may be", n, most)
					}
				}
			})
		}
		clients.Wait()
	})
}

// More than a few clients at once find their connections again.
func TestConnectionsOfManyClientsAreKept(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		const clients = 200
		var opened, asked atomic.Int64
		together := make(chan struct{})
		address := scripted(t, func(c net.Conn, br *bufio.Reader) {
			opened.Add(1)
			for {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				if asked.Add(1)%clients == 0 { // all of them are here at once
					for range clients - 1 {
						together <- struct{}{}
					}
				} else {
					<-together
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})
		// One loop, or a connection might be wanted by another than has it.
		if !opt.Threads {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		}
		_, addr := running(t, opt, exchange.ServerConfig{}, forwarding(newTransport(t, exchange.TransportConfig{}), address, nil))
		peers := make([]*peer, clients)
		for i := range peers {
			peers[i] = dial(t, addr)
		}
		for range 3 {
			for _, p := range peers {
				p.send(aGet)
			}
			for _, p := range peers {
				p.answer("GET")
			}
		}
		if n := opened.Load(); n > clients+clients/10 { // an answer may be read before its connection is back
			t.Errorf("%d connections for %d clients", n, clients)
		}
	})
}

// A service that sends a body where none may be has it taken for the next answer
// by nobody, even if epoll has not told of it when the next request comes.
func TestABodyThatMustNotBeIsNotTheNextAnswer(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		for name, c := range map[string]struct{ method, head string }{
			"HEAD":         {"HEAD", "200 OK\r\nContent-Length: 7\r\n\r\n"},
			"HEAD, chunks": {"HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
			"204":          {"GET", "204 No Content\r\n\r\n"},
			"304":          {"GET", "304 Not Modified\r\nContent-Length: 7\r\n\r\n"},
		} {
			t.Run(name, func(t *testing.T) {
				more, sent := make(chan struct{}), make(chan struct{})
				address := scripted(t, func(nc net.Conn, br *bufio.Reader) {
					for {
						r, err := http.ReadRequest(br)
						if err != nil {
							return
						}
						if r.URL.Path != "/bare" {
							_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
							continue
						}
						_, _ = io.WriteString(nc, "HTTP/1.1 "+c.head)
						<-more
						_, _ = io.WriteString(nc, "garbage")
						sent <- struct{}{}
					}
				})
				tr := newTransport(t, exchange.TransportConfig{})
				_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
					forwarding(tr, address, nil).serve(x)
					if x.Request.Path == "/bare" {
						// The connection is back already. This task keeps its loop until
						// the garbage is there, so that nothing can have told of it.
						more <- struct{}{}
						<-sent
					}
				}})
				p := dial(t, addr)
				p.send(c.method + " /bare HTTP/1.1\r\nHost: a\r\n\r\n" + aGet)
				if res, _ := p.answer(c.method); res.StatusCode >= 400 {
					t.Errorf("at first %d", res.StatusCode)
				}
				if res, b := p.answer("GET"); res.StatusCode != 200 || b != "ok" {
					t.Errorf("then %d %q", res.StatusCode, b)
				}
			})
		}
	})
}

// One that keeps to it is used again.
func TestConnectionsAreReusedAfterAnswersWithoutABody(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		var opened atomic.Int64
		address := scripted(t, func(nc net.Conn, br *bufio.Reader) {
			opened.Add(1)
			for {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				_, _ = io.WriteString(nc, "HTTP/1.1 304 Not Modified\r\n\r\n")
			}
		})
		_, addr := running(t, opt, exchange.ServerConfig{}, forwarding(newTransport(t, exchange.TransportConfig{}), address, nil))
		p := dial(t, addr)
		for range 5 {
			p.send(aGet)
			if res, _ := p.answer("GET"); res.StatusCode != 304 {
				t.Fatalf("%d", res.StatusCode)
			}
		}
		if opened.Load() != 1 {
			t.Errorf("%d connections", opened.Load())
		}
	})
}

func TestConnectionLimitIsWaitedFor(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{MaxConns: 1})
	address := scripted(t, answerOK)
	first := reserve(t, tr, address)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := tr.Reserve(asking(ctx), address, exchange.HTTP1)
	if f := faultOf(t, err); f.Code != "pool-full" || !f.Retryable || f.Status != 503 {
		t.Errorf("%+v", f)
	}
	got := make(chan error, 1)
	wait := func() {
		u, err := tr.Reserve(asking(context.Background()), address, exchange.HTTP1)
		if err == nil {
			u.Release()
		}
		got <- err
	}
	go wait()
	first.Release()
	if err := receive(t, "the waiter", got); err != nil || tr.Open() != 1 {
		t.Errorf("%v, %d open", err, tr.Open())
	}
	// One who waits while everything ends is told so.
	held := reserve(t, tr, address)
	go wait()
	eventually(t, "somebody to wait", func() bool {
		tr := tr.(*transport)
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.places[address].waiting) == 1
	})
	tr.Close()
	if f := faultOf(t, receive(t, "the waiter", got)); f.Code != "closed" || !f.Retryable {
		t.Errorf("%+v", f)
	}
	held.Release()
	if tr.Open() != 0 {
		t.Errorf("%d open", tr.Open())
	}
}

func TestIdleConnectionsAreBoundedAndExpire(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{MaxIdle: 2, IdleTimeout: 2 * time.Second})
	address := scripted(t, answerOK)
	var held []exchange.Upstream
	for range 4 {
		held = append(held, reserve(t, tr, address))
	}
	for _, u := range held {
		u.Release()
	}
	if tr.Open() > 2 {
		t.Errorf("%d idle connections are kept, 2 may be", tr.Open())
	}
	eventually(t, "idle connections to expire", func() bool { return tr.Open() == 0 })
}

// A service that closes an idle connection is noticed before the next exchange.
func TestAServiceMayCloseWhatIsIdle(t *testing.T) {
	address := scripted(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	tr := newTransport(t, exchange.TransportConfig{})
	for range 5 {
		once(t, tr, address)
		eventually(t, "the end to have arrived", func() bool {
			tr := tr.(*transport)
			tr.mu.Lock()
			defer tr.mu.Unlock()
			idle := tr.places[address].idle[0]
			return len(idle) == 0 || !quiet(idle[0].raw)
		})
	}
	if tr.Open() > 1 {
		t.Errorf("%d open", tr.Open())
	}
}

func TestRetiredConnectionsAreNotUsedAgain(t *testing.T) {
	var at atomic.Int64
	at.Store(time.Now().Add(time.Hour).UnixNano())
	tr := newTransport(t, exchange.TransportConfig{Retire: func() time.Time { return time.Unix(0, at.Load()) }})
	address := scripted(t, answerOK)
	if once(t, tr, address) || !once(t, tr, address) {
		t.Error("a connection is not reused before its time")
	}
	tr.Retire(address)
	if tr.Open() != 0 {
		t.Errorf("%d open after Retire", tr.Open())
	}
	at.Store(time.Now().Add(-time.Second).UnixNano())
	for range 3 {
		if once(t, tr, address) {
			t.Error("a connection whose time is over is used again")
		}
	}
	eventually(t, "all to be closed", func() bool { return tr.Open() == 0 })
}

func TestAPeersOwnCertificateRetiresItsConnection(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	if err != nil {
		t.Fatal(err)
	}
	scriptedOn(t, l, answerOK)
	tr := newTransport(t, exchange.TransportConfig{TLS: clientTLS,
		PeerID:     func(*tls.ConnectionState) (exchange.Peer, error) { return exchange.Peer{ID: "spiffe://a/b"}, nil },
		RetirePeer: func(exchange.Peer) time.Time { return time.Now().Add(-time.Second) }})
	for range 2 {
		if once(t, tr, l.Addr().String()) {
			t.Error("reused")
		}
	}
}

// What is busy when its endpoint goes is finished, and closed then.
func TestRetireAndCloseLeaveBusyConnectionsTheirExchange(t *testing.T) {
	for name, end := range map[string]func(exchange.Transport, string){
		"Retire": func(tr exchange.Transport, address string) { tr.Retire(address) },
		"Close":  func(tr exchange.Transport, _ string) { tr.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			rest := make(chan struct{})
			address := scripted(t, func(c net.Conn, br *bufio.Reader) {
				_, _ = http.ReadRequest(br)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
				<-rest
				_, _ = io.WriteString(c, "cd")
				_, _ = br.ReadByte() // ends with the connection
			})
			tr := newTransport(t, exchange.TransportConfig{})
			x := asking(t.Context())
			u, err := tr.Reserve(x, address, exchange.HTTP1)
			if err != nil {
				t.Fatal(err)
			}
			if err := u.RoundTrip(x); err != nil {
				t.Fatal(err)
			}
			end(tr, address)
			if tr.Open() != 1 {
				t.Errorf("%d open while one is busy", tr.Open())
			}
			close(rest)
			if b, err := io.ReadAll(x.Response.Body); err != nil || string(b) != "abcd" {
				t.Errorf("%q, %v", b, err)
			}
			x.RunDone()
			if tr.Open() != 0 {
				t.Errorf("%d open afterwards", tr.Open())
			}
		})
	}
}

// The end of an answer that ends with its connection must be announced over
// TLS, or it was cut off (RFC 9112 section 9.8).
func TestTruncatedAnswersOverTLS(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	for _, c := range []struct {
		head    string
		goodbye bool
		whole   bool
	}{
		{"", true, true},
		{"", false, false},
		{"Content-Length: 5\r\n", false, true},
		{"Content-Length: 6\r\n", true, false},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		scriptedOn(t, l, func(raw net.Conn, _ *bufio.Reader) {
			s := tls.Server(raw, serverTLS)
			_, _ = http.ReadRequest(bufio.NewReader(s))
			_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\n"+c.head+"\r\nhello")
			if c.goodbye {
				_ = s.CloseWrite()
			}
		})
		tr := newTransport(t, exchange.TransportConfig{TLS: clientTLS})
		x := asking(t.Context())
		u, err := tr.Reserve(x, l.Addr().String(), exchange.HTTP1)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.RoundTrip(x); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(x.Response.Body)
		if string(b) != "hello" || (err == nil) != c.whole {
			t.Errorf("%+v: %q, %v", c, b, err)
		}
		x.RunDone()
	}
}

// What a service refuses is not drawn out of a client that waits for 100.
func TestAServiceThatRefusesABodyNeverGetsIt(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		heard := make(chan string, 1)
		address := scripted(t, func(c net.Conn, br *bufio.Reader) {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			expect := r.Header.Get("Expect")
			_, _ = io.WriteString(c, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
			b, _ := io.ReadAll(br)
			heard <- expect + " " + string(b)
		})
		tr := newTransport(t, exchange.TransportConfig{})
		over := make(chan int64, 1)
		_, addr := running(t, opt, exchange.ServerConfig{}, forwarding(tr, address, func(x *exchange.Exchange) { over <- x.Request.Read }))
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if res, _ := c.answer("POST"); res.StatusCode != 417 || !res.Close {
			t.Errorf("%d, close %v", res.StatusCode, res.Close)
		}
		if n := receive(t, "the exchange", over); n != 0 {
			t.Errorf("%d bytes were read", n)
		}
		c.ended()
		if got := receive(t, "the service", heard); !strings.EqualFold(got, "100-continue ") {
			t.Errorf("the service got %q", got)
		}
	})
}
