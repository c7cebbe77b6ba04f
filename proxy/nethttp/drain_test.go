package nethttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"lintel.dev/lintel/proxy/exchange"
)

// h2conn is a client of HTTP/2 by prior knowledge that sees every frame.
type h2conn struct {
	*http2.Framer
	t    *testing.T
	conn net.Conn
}

func dialH2(t *testing.T, addr string) *h2conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, http2.ClientPreface)
	h := &h2conn{http2.NewFramer(c, c), t, c}
	if err := h.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *h2conn) get(stream uint32) {
	h.t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	if err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		h.t.Errorf("asking on stream %d: %v", stream, err)
	}
}

// until reads frames up to one that satisfies; the streams that have ended till
// then, and whether GOAWAY came.
func (h *h2conn) until(what string, satisfied func(http2.Frame) bool) (ended []uint32, away bool) {
	h.t.Helper()
	for {
		f, err := h.ReadFrame()
		if err != nil {
			h.t.Fatalf("waiting for %s: %v", what, err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = h.WriteSettingsAck()
			}
		case *http2.GoAwayFrame:
			away = true
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				ended = append(ended, f.StreamID)
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				ended = append(ended, f.StreamID)
			}
		}
		if satisfied(f) {
			return ended, away
		}
	}
}

func isGoAway(f http2.Frame) bool { _, is := f.(*http2.GoAwayFrame); return is }

func endOf(stream uint32) func(http2.Frame) bool {
	return func(f http2.Frame) bool {
		end, has := f.(interface{ StreamEnded() bool })
		return has && f.Header().StreamID == stream && end.StreamEnded()
	}
}

// A connection at rest hears GOAWAY before it is closed: a client whose request is
// on its way learns that nobody has looked at it.
func TestConnectionsAtRestHearThatTheyAreToGo(t *testing.T) {
	s, addr := serve(t, exchange.ServerConfig{H2C: true}, handlerFunc(func(x *exchange.Exchange) { x.Answer(200, "", nil) }))
	var conns []*h2conn
	for range 20 {
		h := dialH2(t, addr)
		h.get(1)
		h.until("an answer", endOf(1))
		conns = append(conns, h)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Shutdown(context.Background())
		done <- err
	}()
	for i, h := range conns {
		if f := h.goAway(); f.LastStreamID != 1 || f.ErrCode != http2.ErrCodeNo {
			t.Errorf("connection %d was told %v", i, f)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func (h *h2conn) goAway() (g http2.GoAwayFrame) {
	h.t.Helper()
	h.until("GOAWAY", func(f http2.Frame) bool {
		if isGoAway(f) {
			g = *f.(*http2.GoAwayFrame)
		}
		return isGoAway(f)
	})
	return g
}

// Whoever is only asked to leave is answered, and told so with the answer.
func TestLeavingTellsClientsWithTheirAnswers(t *testing.T) {
	s, addr := serve(t, exchange.ServerConfig{H2C: true}, handlerFunc(func(x *exchange.Exchange) { x.Answer(200, "", nil) }))
	h := dialH2(t, addr)
	h.get(1)
	h.until("an answer", endOf(1))
	s.Leaving()
	h.get(3)
	ended, away := h.until("an answer after Leaving", endOf(3))
	if len(ended) != 1 {
		t.Errorf("streams ended: %v", ended)
	}
	if !away {
		h.goAway()
	}
	if got := raw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !bytes.Contains([]byte(got), []byte("Connection: close")) {
		t.Errorf("HTTP/1.1 got %q", got)
	}
}

// A connection that is handed over just as the server shuts down is answered, or
// told that it is not going to be; or it is not served at all.
func TestAConnectionTakenDuringShutdownIsNotCut(t *testing.T) {
	s, err := NewServer(exchange.ServerConfig{H2C: true}, handlerFunc(func(x *exchange.Exchange) { x.Answer(200, "", nil) }), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	begun, over := make(chan struct{}), make(chan struct{})
	s.http.RegisterOnShutdown(func() { close(begun) })
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew { // between accepting it and accepting again
			go func() {
				defer close(over)
				if cut, err := s.Shutdown(ctx); cut != 0 || err != nil {
					t.Errorf("%d cut, %v", cut, err)
				}
			}()
			<-begun
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := dialH2(t, l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	h.get(1)
	s.Take(c)
	answered := endOf(1)
	h.until("an answer or GOAWAY", func(f http2.Frame) bool { return answered(f) || isGoAway(f) })
	_ = h.conn.Close()
	<-over
	late := dialH2(t, l.Addr().String())
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	s.Take(c)
	if _, err := io.Copy(io.Discard, late.conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection that came too late ended with %v", err)
	}
}
