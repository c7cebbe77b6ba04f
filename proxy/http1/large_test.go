package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// large is a body that no buffer holds, and in which no piece is like another.
var large = func() []byte {
	b := make([]byte, 8<<20)
	for i := 0; i+8 <= len(b); i += 8 {
		copy(b[i:], fmt.Sprintf("%08x", i))
	}
	return b
}()

// proxied runs a proxy in front of a service and tells how its exchanges ended.
func proxied(t *testing.T, opt Options, cfg exchange.ServerConfig, service string) (addr string, ended chan error) {
	tr := newTransport(t, exchange.TransportConfig{})
	ended = make(chan error, 16)
	_, addr = running(t, opt, cfg, handler{
		serve: func(x *exchange.Exchange) {
			u, err := tr.Reserve(x, service, exchange.HTTP1)
			if err == nil {
				err = u.RoundTrip(x)
			}
			if err != nil {
				x.Answer(http.StatusBadGateway, "", nil)
			}
		},
		finish: func(x *exchange.Exchange) {
			ended <- x.Abort
			x.RunDone()
		},
	})
	return addr, ended
}

// asked reads request heads and calls answer for each.
func asked(answer func(net.Conn) (again bool)) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, br *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(br); err != nil || !answer(c) {
				return
			}
		}
	}
}

func sayLarge(c net.Conn, body []byte) {
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(large))
	_, _ = c.Write(body)
}

// Large answers arrive as they were sent, and the connections are good for more.
func TestLargeAnswersPassWhole(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		var conns atomic.Int64
		service := scripted(t, func(c net.Conn, br *bufio.Reader) {
			conns.Add(1)
			asked(func(c net.Conn) bool { sayLarge(c, large); return true })(c, br)
		})
		addr, ended := proxied(t, opt, exchange.ServerConfig{}, service)
		p := dial(t, addr)
		for i := range 3 {
			p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			res, err := http.ReadResponse(p.br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, large) {
				t.Fatalf("answer %d: %d bytes of %d, %v", i, len(got), len(large), err)
			}
			if err := <-ended; err != nil {
				t.Errorf("answer %d: %v", i, err)
			}
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("%d connections to the service for one client", n)
		}
	})
}

// A service that pauses for longer than a client may take for a piece is none of
// the client's doing.
func TestAServiceMayPauseLongerThanAClient(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		const limit = 200 * time.Millisecond
		service := scripted(t, asked(func(c net.Conn) bool {
			sayLarge(c, large[:1<<20])
			time.Sleep(3 * limit)
			_, _ = c.Write(large[1<<20:])
			return true
		}))
		addr, ended := proxied(t, opt, exchange.ServerConfig{WriteTimeout: limit}, service)
		p := dial(t, addr)
		p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(p.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); err != nil || !bytes.Equal(got, large) {
			t.Errorf("%d bytes of %d, %v", len(got), len(large), err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A client that takes nothing of a large answer is cut off in time.
func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		service := scripted(t, asked(func(c net.Conn) bool { sayLarge(c, large); return false }))
		addr, ended := proxied(t, opt, exchange.ServerConfig{WriteTimeout: 200 * time.Millisecond}, service)
		p := dial(t, addr)
		_ = p.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		select {
		case err := <-ended:
			if err == nil {
				t.Error("it is said to have got all of it")
			}
		case <-time.After(waitLimit):
			t.Error("it holds the connection for ever")
		}
	})
}

// An answer that breaks off is seen to, by the client and by who observes.
func TestALargeAnswerThatBreaksOff(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		service := scripted(t, asked(func(c net.Conn) bool { sayLarge(c, large[:1<<20]); return false }))
		addr, ended := proxied(t, opt, exchange.ServerConfig{}, service)
		p := dial(t, addr)
		p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(p.br, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err == nil || !bytes.Equal(got, large[:len(got)]) || len(got) > 1<<20 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "broke off after 1048576 bytes") {
			t.Errorf("it is said to have ended with %v", err)
		}
	})
}
