package enginetest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"lintel.dev/lintel/proxy/exchange"
)

func testWebSocket(t *testing.T, e Engine) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, data, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if err := c.Write(r.Context(), kind, data); err != nil {
				return
			}
		}
	})
	w := way{exchange.HTTP1, exchange.HTTP1}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dial := func(t *testing.T, p *proxy, path string) *websocket.Conn {
		t.Helper()
		c, res, err := websocket.Dial(ctx, "ws://"+p.addr+path, &websocket.DialOptions{Subprotocols: []string{"echo"}})
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 101 || c.Subprotocol() != "echo" {
			t.Errorf("status %d, subprotocol %q", res.StatusCode, c.Subprotocol())
		}
		c.SetReadLimit(1 << 20)
		return c
	}
	t.Run("echo", func(t *testing.T) {
		p := start(t, e, options{way: w, app: echo})
		c := dial(t, p, "/ws")
		for _, size := range []int{0, 5, 1000, 300 << 10} {
			data := bytes.Repeat([]byte{'x'}, size)
			if err := c.Write(ctx, websocket.MessageBinary, data); err != nil {
				t.Fatal(err)
			}
			_, back, err := c.Read(ctx)
			if err != nil || !bytes.Equal(back, data) {
				t.Fatalf("%d of %d bytes, %v", len(back), size, err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
		if r := p.record("/ws"); r.status != 101 || r.written == 0 {
			t.Errorf("finished as %+v", r)
		}
		eventually(t, "the endpoint connection to close", func() bool { return p.trans.Open() == 0 })
	})
	t.Run("shutdown waits for a tunnel, then cuts it", func(t *testing.T) {
		p := start(t, e, options{way: w, app: echo})
		c := dial(t, p, "/held")
		defer c.CloseNow()
		down, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer stop()
		if cut, err := p.server.Shutdown(down); cut != 1 || err != nil {
			t.Errorf("Shutdown cut %d, %v", cut, err)
		}
		if _, _, err := c.Read(ctx); err == nil {
			t.Error("the tunnel outlived Shutdown")
		}
		p.record("/held")
	})
	t.Run("a refusal is an ordinary answer", func(t *testing.T) {
		p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "not here", http.StatusForbidden)
		})})
		_, res, err := websocket.Dial(ctx, "ws://"+p.addr+"/no", nil)
		if err == nil || res == nil || res.StatusCode != 403 {
			t.Errorf("%v, %+v", err, res)
		}
	})
	t.Run("a quiet tunnel is closed", func(t *testing.T) { testTunnelIdle(t, e) })
	t.Run("another protocol than was asked for", func(t *testing.T) {
		for name, c := range map[string]struct {
			upgrade string
			status  string
		}{"another": {"Upgrade: other\r\n", "502"}, "the same": {"Upgrade: RAW\r\n", "101"}, "two": {"Upgrade: raw, other\r\n", "502"}} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go answerOnce(l, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"+c.upgrade+"\r\n")
			p := start(t, e, options{way: w, appAddr: l.Addr().String()})
			answer := p.raw("GET /other HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 "+c.status+" ") {
				t.Errorf("%s: %q", name, answer)
			}
			if r := p.record("/other"); c.status == "502" && r.code != "bad-answer" {
				t.Errorf("%s: finished as %+v", name, r)
			}
		}
	})
	t.Run("halves end one by one", func(t *testing.T) { testHalfClose(t, e) })
	t.Run("h2c is not switched to", func(t *testing.T) {
		got := make(chan seen, 1)
		p := start(t, e, options{way: w, app: recorder(got)})
		answer := p.raw("GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			t.Errorf("%q", answer)
		}
		if s := <-got; s.header.Get("Upgrade") != "" {
			t.Errorf("Upgrade: %s was forwarded", s.header.Get("Upgrade"))
		}
	})
}

// testTunnelIdle: bytes in one direction keep a tunnel open, silence ends it, and
// that is no failure.
func testTunnelIdle(t *testing.T, e Engine) {
	const limit = 1500 * time.Millisecond // a busy machine may hold all of us up for a while
	ended := make(chan error, 1)
	p := start(t, e, options{way: way{exchange.HTTP1, exchange.HTTP1}, app: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
		_, err = io.Copy(io.Discard, rw)
		ended <- err
	}), serve: func(p *proxy, x *exchange.Exchange) error {
		err := p.forward(x)
		x.Response.TunnelIdle = limit
		return err
	}})
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET /quiet HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
	br := bufio.NewReader(c)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %+v", err, res)
	}
	busy := time.Now().Add(limit + limit/2)
	for time.Now().Before(busy) {
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatalf("closed while something passed: %v", err)
		}
		time.Sleep(limit / 50) // the pace is what is tested
	}
	if _, err := br.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silence ended with %v", err)
	}
	within(t, "the service to hear of it", func() { <-ended })
	if r := p.record("/quiet"); r.abort != nil || r.status != 101 {
		t.Errorf("finished as %+v", r)
	}
}

// testHalfClose: what the client said before it ended its half is answered
// after it did.
func testHalfClose(t *testing.T, e Engine) {
	p := start(t, e, options{way: way{exchange.HTTP1, exchange.HTTP1}, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
		said, _ := io.ReadAll(rw)
		_, _ = io.WriteString(conn, "you said "+string(said))
	})})
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	// The first bytes of the new protocol travel with the request.
	_, _ = io.WriteString(c, "GET /half HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nhel")
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "raw" {
		t.Fatalf("%v, %+v", err, res)
	}
	_, _ = io.WriteString(c, "lo")
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(br); err != nil || string(b) != "you said hello" {
		t.Errorf("%q, %v", b, err)
	}
	if r := p.record("/half"); r.abort != nil {
		t.Errorf("finished as %+v", r)
	}
}
