//go:build linux

package loop

import (
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take that is expected to happen.
const patience = 30 * time.Second

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: still not so: %s", patience, what)
		}
	}
}

// within waits for something to be received.
func within[T any](t testing.TB, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("after %s: still waiting for %s", patience, what)
	}
	return v
}

// funcs is a Handler made of functions.
type funcs struct {
	ready   func(*Conn) bool
	hangup  func(*Conn)
	expired func(*Conn)
}

func (f *funcs) Ready(c *Conn) bool {
	if f.ready == nil {
		_ = c.Close()
		return false
	}
	return f.ready(c)
}

func (f *funcs) Hangup(c *Conn) {
	if f.hangup != nil {
		f.hangup(c)
	}
}

func (f *funcs) Expired(c *Conn) {
	if f.expired != nil {
		f.expired(c)
		return
	}
	_ = c.Close()
}

// echo answers everything with itself.
func echo(c *Conn) bool {
	var b [4096]byte
	n, err := c.Read(b[:])
	if err == nil {
		_, err = c.Write(b[:n])
	}
	if err != nil {
		_ = c.Close()
		return false
	}
	return true
}

func newGroup(t testing.TB, loops int) *Group {
	t.Helper()
	g, err := New(Config{Loops: loops, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// serve listens and serves with h; it returns the address.
func serve(t testing.TB, g *Group, accepted func(*Conn) Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l.(*net.TCPListener), accepted) }()
	t.Cleanup(func() {
		_ = l.Close()
		// Its group may have been closed before.
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// always is for serve: one handler for all connections.
func always(h Handler) func(*Conn) Handler { return func(*Conn) Handler { return h } }

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc.(*net.TCPConn)
}

// do runs f as a task of l and waits for its end.
func do(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { l.Go(func() { defer close(done); f() }) }) {
		t.Fatal("the loop has ended")
	}
	within(t, "a task to end", done)
}

// look reads something of the loop's own on the loop.
func look[T any](t testing.TB, l *Loop, f func() T) T {
	t.Helper()
	ch := make(chan T, 1)
	if !l.Post(func() { ch <- f() }) {
		t.Fatal("the loop has ended")
	}
	return within(t, "a posted function", ch)
}

// count is a counter that tests read.
type count struct{ atomic.Int64 }
