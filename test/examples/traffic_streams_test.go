package examples_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// speaks is a service that says its name over gRPC and WebSocket.
func speaks(t *testing.T, name string) string {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("X-Name", name)
			w.Header().Set("Trailer", "Grpc-Status")
			w.WriteHeader(200)
			_, _ = io.Copy(w, r.Body)
			w.Header().Set("Grpc-Status", "0")
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			_, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), websocket.MessageText, append([]byte(name+" "), b...)) != nil {
				return
			}
		}
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestSplitTakesGRPCAndWebSockets(t *testing.T) {
	g := start(t, "canary.yaml", map[string]string{"ORDERS_ADDR": speaks(t, "v1"), "ORDERS_V2_ADDR": speaks(t, "v2")})
	for side, line := range map[string]string{"v1": "X-Account: 3", "v2": "X-Canary: 1"} {
		path := "/orders/s"
		if side == "v1" { // an account's side is fixed, and found out first
			path = "/accounts/s"
			a := g.exchange("POST", path, "\x00\x00\x00\x00\x00", ":h2", "Content-Type: application/grpc", "TE: trailers", line)
			side = a.Header.Get("X-Name")
		}
		for range 5 {
			a := g.exchange("POST", path, "\x00\x00\x00\x00\x00", ":h2", "Content-Type: application/grpc", "TE: trailers", line)
			if a.Header.Get("X-Name") != side || a.Trailer.Get("Grpc-Status") != "0" || a.body != "\x00\x00\x00\x00\x00" {
				t.Fatalf("gRPC: %s %v %v, want %s", a.Header.Get("X-Name"), a.Trailer, a.Header, side)
			}
		}
		name, value, _ := strings.Cut(line, ": ")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(g.base, "http")+path, &websocket.DialOptions{HTTPHeader: http.Header{name: {value}}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := c.Write(ctx, websocket.MessageText, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
			if _, b, err := c.Read(ctx); err != nil || string(b) != fmt.Sprintf("%s %d", side, i) {
				t.Errorf("WebSocket: %q %v, want %s", b, err, side)
			}
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
		cancel()
	}
}

// hangsUp is a service that cuts every second connection before it answers.
func hangsUp(t *testing.T, name string, asked *atomic.Int64) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil && asked.Add(1)%2 == 0 {
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestARetryStaysOnItsSide(t *testing.T) {
	var v1, v2 atomic.Int64
	g := start(t, "canary.yaml", map[string]string{"ORDERS_ADDR": hangsUp(t, "v1", &v1), "ORDERS_V2_ADDR": hangsUp(t, "v2", &v2)})
	for range 20 { // more would open the breaker
		if a := g.get("/orders/1", "", "X-Canary: 1"); a.StatusCode != 200 || a.body != "v2" {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	if v1.Load() != 0 || v2.Load() != 40 {
		t.Errorf("v1 was asked %d times, v2 %d: want 0 and 40", v1.Load(), v2.Load())
	}
}

// A shadow that takes its time costs the service's answers none of theirs, and
// an answer is not held up by a body that a copy waits for.
func TestMirrorCostsNoTime(t *testing.T) {
	real := newService(t)
	shadow := newHandler(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	g := start(t, "mirror.yaml", map[string]string{"SEARCH_ADDR": real.addr(), "NEXT_ADDR": shadow.addr(), "SHARE": "1"})
	begun := time.Now()
	for range 300 {
		if a := g.get("/search/x", ""); a.StatusCode != 200 {
			t.Fatal(a.StatusCode)
		}
	}
	if d := time.Since(begun); d > 20*time.Second { // one copy alone would take the mirror's 10 s
		t.Errorf("300 requests took %v", d)
	}
}
