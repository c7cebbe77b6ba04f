package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

const aGet = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

// saying answers every request with what the engine or the path says.
func saying(x *exchange.Exchange) {
	if x.Fault != nil {
		x.Answer(x.Fault.Status, "text/plain", []byte(x.Fault.Code))
		return
	}
	x.Answer(200, "text/plain", []byte(x.Request.Path))
}

func TestTooManyConnectionsAreClosedAtOnce(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		s, addr := running(t, opt, exchange.ServerConfig{MaxConns: 1}, handler{serve: saying})
		first := dial(t, addr)
		first.send(aGet)
		first.answer("GET")
		dial(t, addr).ended()
		if open, refused := conns(s); open != 1 || refused != 1 {
			t.Errorf("%d open, %d refused", open, refused)
		}
		_ = first.Close()
		eventually(t, "room for another", func() bool { open, _ := conns(s); return open == 0 })
		third := dial(t, addr)
		third.send(aGet)
		third.answer("GET")
	})
}

func TestHTTP10IsKeptAliveWhenItAsksFor(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			if x.Request.Path == "/unknown" {
				x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, io.NopCloser(strings.NewReader("until the end"))
				return
			}
			saying(x)
		}})
		c := dial(t, addr)
		for range 3 {
			c.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
			if res, b := c.answer("GET"); b != "/a" || !strings.EqualFold(res.Header.Get("Connection"), "keep-alive") {
				t.Fatalf("%q, %v", b, res.Header)
			}
		}
		c.send("GET /unknown HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if res, b := c.answer("GET"); b != "until the end" || !res.Close || len(res.TransferEncoding) > 0 {
			t.Errorf("%q, %+v", b, res)
		}
		c.ended()
		c = dial(t, addr)
		c.send("GET /a HTTP/1.0\r\n\r\n")
		c.answer("GET")
		c.ended()
	})
}

func TestExpectationsThatCannotBeMet(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: saying})
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\n")
		if res, _ := c.answer("POST"); res.StatusCode != 417 || !res.Close {
			t.Errorf("%d, close %v", res.StatusCode, res.Close)
		}
		c.ended()
	})
}

// What the service refuses is not drawn out of the client, which is told by a
// final answer where it waits for 100, and its connection is of no use any more.
func TestAHeldBodyIsNotDrawn(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		over := make(chan int64, 1)
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: saying, finish: func(x *exchange.Exchange) { over <- x.Request.Read }})
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if res, _ := c.answer("POST"); res.StatusCode != 200 || !res.Close {
			t.Errorf("%d, close %v", res.StatusCode, res.Close)
		}
		if n := receive(t, "the exchange", over); n != 0 {
			t.Errorf("%d bytes were read", n)
		}
		c.ended()
	})
}

// A client's 100 is sent once, whoever asks for it how often, and in order with
// other interim answers; none comes after the final one.
func TestInterimAnswersAreInOrder(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		late := make(chan func(int, *exchange.Fields), 1)
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			var h exchange.Fields
			h.Add("Link", "</a>")
			x.Inform(103, &h)
			x.Inform(100, nil)
			x.Inform(100, nil)
			b, _ := io.ReadAll(x.Request.Body)
			x.Inform(102, nil)
			x.Inform(99, nil)
			x.Inform(101, nil)
			x.Inform(200, nil)
			x.Answer(200, "text/plain", b)
			late <- x.Informational
		}, finish: func(*exchange.Exchange) { (<-late)(103, nil) }})
		c := dial(t, addr)
		for range 2 {
			c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
			for _, want := range []int{103, 100, 102, 200} {
				res, b := c.answer("POST")
				if res.StatusCode != want || want == 103 && res.Header.Get("Link") != "</a>" || want == 200 && b != "hello" {
					t.Fatalf("%d %v %q where %d was due", res.StatusCode, res.Header, b, want)
				}
			}
		}
	})
}

func TestSlowHeadsAreGivenUp(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	each(t, func(t *testing.T, opt Options) {
		// Long enough for a handshake on any machine; the waiting is done at once.
		cfg := exchange.ServerConfig{HeaderTimeout: 4 * time.Second, IdleTimeout: 4 * time.Second}
		seen := make(chan *exchange.Fault, 10)
		h := handler{serve: func(x *exchange.Exchange) {
			if saying(x); x.Fault != nil {
				seen <- x.Fault
			}
		}}
		_, addr := running(t, opt, cfg, h)
		cfg.TLS = serverTLS
		_, overTLS := running(t, opt, cfg, h)
		secure := func() *peer { return peerOn(t, tls.Client(dial(t, overTLS).Conn, clientTLS)) }
		// All of them first, so that their times pass together.
		var late, silent []*peer
		for _, begin := range []func() *peer{func() *peer { return dial(t, addr) }, secure} {
			half := begin()
			half.send("GET / HTTP/1.1\r\nHost: a")
			late = append(late, half)
			// What is no head yet gets no answer, and no more patience either.
			empty, idle := begin(), begin()
			empty.send("\r\n")
			idle.send(aGet)
			idle.answer("GET")
			silent = append(silent, empty, idle)
		}
		silent = append(silent, dial(t, addr))
		shaken := secure()
		if err := shaken.Conn.(*tls.Conn).Handshake(); err != nil {
			t.Fatal(err)
		}
		hello := dial(t, overTLS)
		hello.send("\x16")
		wire := dial(t, overTLS)
		record := peerOn(t, tls.Client(wire.Conn, clientTLS))
		record.send(aGet)
		record.answer("GET")
		wire.send("\x17\x03\x03") // the beginning of a record
		for _, c := range late {
			if res, _ := c.answer("GET"); res.StatusCode != 408 || !res.Close {
				t.Errorf("%d, close %v", res.StatusCode, res.Close)
			}
			if f := receive(t, "observers to see it", seen); f.Code != "header-timeout" {
				t.Errorf("%+v", f)
			}
			c.ended()
		}
		for _, c := range append(silent, shaken, hello, record) {
			c.ended()
		}
	})
}

// endless is an answer that never stops.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }
func (endless) Close() error               { return nil }

func TestAClientThatDoesNotReadIsCut(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	each(t, func(t *testing.T, opt Options) {
		for name, cfg := range map[string]exchange.ServerConfig{"plain": {}, "TLS": {TLS: serverTLS}} {
			t.Run(name, func(t *testing.T) {
				over := make(chan error, 1)
				cfg.WriteTimeout = 200 * time.Millisecond
				_, addr := running(t, opt, cfg, handler{serve: func(x *exchange.Exchange) {
					x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, endless{}
				}, finish: func(x *exchange.Exchange) { over <- x.Abort }})
				c := dial(t, addr)
				if cfg.TLS != nil {
					c = peerOn(t, tls.Client(c.Conn, clientTLS))
				}
				c.send(aGet)
				if err := receive(t, "the exchange to end", over); err == nil {
					t.Error("an answer nobody read counts as complete")
				}
			})
		}
	})
}

// A client that asks for key updates and reads nothing does not hold up the
// reader of its upload, which would have to write; and when too much is waiting
// for it, it is broken off.
func TestKeyUpdatesOfAClientThatDoesNotRead(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	each(t, func(t *testing.T, opt Options) {
		over := make(chan error, 1)
		_, addr := running(t, opt, exchange.ServerConfig{TLS: serverTLS}, handler{serve: func(x *exchange.Exchange) {
			_, err := io.Copy(io.Discard, x.Request.Body)
			x.Answer(200, "", nil)
			over <- err
		}})
		for _, c := range []struct {
			pieces int
			broken bool
		}{{50, false}, {5000, true}} {
			w := talk(t, addr, clientTLS)
			_ = w.say(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", c.pieces))
			for range c.pieces {
				var err error
				for range 10 { // crypto/tls takes 16 without data in between
					err = errors.Join(err, w.updateKey(t))
				}
				if err = errors.Join(err, w.say("x")); err != nil {
					break // broken off
				}
			}
			if err := receive(t, "the upload", over); (err != nil) != c.broken {
				t.Errorf("%d times ten updates: %v", c.pieces, err)
			}
		}
	})
}

// Someone who asks and then ends the own half gets what comes soon; nobody
// works on for one who gets nothing any more.
func TestClientsThatEndTheirHalf(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		felt := make(chan error, 1)
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			if x.Request.Path == "/long" {
				felt <- x.Await(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
			}
			saying(x)
		}})
		for range 20 {
			c := dial(t, addr)
			c.send(aGet)
			if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if res, b := c.answer("GET"); res.StatusCode != 200 || b != "/" {
				t.Errorf("%d %q", res.StatusCode, b)
			}
			c.ended()
		}
		for _, gone := range []func(*net.TCPConn) error{(*net.TCPConn).CloseWrite, (*net.TCPConn).Close} {
			c := dial(t, addr)
			c.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
			if err := gone(c.Conn.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			if err := receive(t, "the exchange to feel it", felt); err == nil {
				t.Error("not cancelled")
			}
		}
	})
}

// An answer that is given while the client still uploads reaches it before its
// connection ends.
func TestARefusedUploadCanReadItsRefusal(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		_, addr := running(t, opt, exchange.ServerConfig{BodyBytes: 1000}, handler{serve: func(x *exchange.Exchange) {
			if x.Fault == nil {
				if _, err := io.Copy(io.Discard, x.Request.Body); err != nil && !errors.As(err, &x.Fault) {
					t.Errorf("not a fault: %v", err)
				}
			}
			saying(x)
		}})
		body := strings.Repeat("x", 100<<10)
		for name, head := range map[string]string{
			"said":   "Content-Length: 102400\r\n\r\n",
			"unsaid": "Transfer-Encoding: chunked\r\n\r\n19000\r\n",
		} {
			for range 5 {
				c := dial(t, addr)
				// Not more than sockets hold: it is written whatever the proxy does.
				c.send("POST / HTTP/1.1\r\nHost: a\r\n" + head + body)
				if res, _ := c.answer("POST"); res.StatusCode != http.StatusRequestEntityTooLarge || !res.Close {
					t.Errorf("%s: %d, close %v", name, res.StatusCode, res.Close)
				}
			}
		}
	})
}

func TestPeersThatAreNotAccepted(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	each(t, func(t *testing.T, opt Options) {
		for name, cfg := range map[string]exchange.ServerConfig{"plain": {}, "TLS": {TLS: serverTLS}} {
			t.Run(name, func(t *testing.T) {
				cfg.PeerID = func(*tls.ConnectionState) (exchange.Peer, error) { return exchange.Peer{}, errors.New("not you") }
				seen := make(chan *exchange.Fault, 1)
				_, addr := running(t, opt, cfg, handler{serve: func(x *exchange.Exchange) { saying(x); seen <- x.Fault }})
				c := dial(t, addr)
				if cfg.TLS != nil {
					c = peerOn(t, tls.Client(c.Conn, clientTLS))
				}
				c.send(aGet + aGet)
				if res, _ := c.answer("GET"); res.StatusCode != 403 || !res.Close {
					t.Errorf("%d, close %v", res.StatusCode, res.Close)
				}
				c.ended()
				if f := <-seen; f.Code != "peer-refused" || f.Source != exchange.FromPolicy {
					t.Errorf("%+v", f)
				}
			})
		}
	})
}

// A body that nobody reads costs nothing if it is there already, else the
// connection, and is never taken for a request.
func TestConnectionSurvivesAnUnreadSmallBody(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: saying})
		c := dial(t, addr)
		c.send(strings.Repeat("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 2) +
			"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
		for _, want := range []string{"/a", "/a", "/b"} {
			if _, b := c.answer("POST"); b != want {
				t.Errorf("%q where %q was due", b, want)
			}
		}
		c.ended()
	})
}

func TestBadConfigIsRefused(t *testing.T) {
	for name, cfg := range map[string]exchange.ServerConfig{
		"TLS without a certificate": {TLS: &tls.Config{}},
		"negative limit":            {BodyBytes: -1},
	} {
		if _, err := NewServer(cfg, handler{}, nil, Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
