//go:build linux

package mux

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/http1/loop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take that is expected to happen.
const patience = 30 * time.Second

func within[T any](t testing.TB, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("after %s: still waiting for %s", patience, what)
	}
	return v
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: still not so: %s", patience, what)
		}
	}
}

// do runs f as a task of l and waits for its end.
func do(t testing.TB, l *loop.Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { l.Go(func() { defer close(done); f() }) }) {
		t.Fatal("the loop has ended")
	}
	within(t, "a task to end", done)
}

// look reads something of the loop's own on the loop.
func look[T any](t testing.TB, l *loop.Loop, f func() T) (v T) {
	t.Helper()
	ch := make(chan T, 1)
	if !l.Post(func() { ch <- f() }) {
		t.Fatal("the loop has ended")
	}
	return within(t, "a posted function", ch)
}

func newGroup(t testing.TB) *loop.Group {
	t.Helper()
	g, err := loop.New(loop.Config{Loops: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// plain is a wire without TLS.
type plain struct {
	raw   *loop.Conn
	out   []byte
	sends atomic.Int64 // that carried something
	least int          // Read waits for as many bytes, as TLS does for a whole record
}

func (w *plain) Read(p []byte) (n int, err error) {
	for err == nil && (n == 0 || n < w.least) {
		var m int
		m, err = w.raw.Read(p[n:])
		n += m
	}
	return n, err
}

func (w *plain) Buffered() bool      { return false }
func (w *plain) Seal(p []byte) error { w.out = append(w.out, p...); return nil }
func (w *plain) CloseWrite() error   { return w.raw.CloseWrite() }
func (w *plain) Close() error        { return w.raw.Close() }

func (w *plain) SendNow() (bool, error) {
	w.sends.Add(1)
	n, err := w.raw.WriteNow(w.out)
	w.out = w.out[:copy(w.out, w.out[n:])]
	return len(w.out) == 0, err
}

func (w *plain) Send() error {
	out := w.out
	w.out = nil
	_, err := w.raw.Write(out)
	return err
}

// end is one side of a session.
type end struct {
	*Session
	loop  *loop.Loop
	wire  *plain
	ended chan error
	left  atomic.Bool
}

func (e *end) config(cfg Config) Config {
	e.ended = make(chan error, 1)
	cfg.Ended = func(err error) { e.ended <- err }
	cfg.Leaves = func() { e.left.Store(true) }
	return cfg
}

// acceptor makes each connection of a listener a session.
type acceptor struct {
	cfg  Config
	ends chan *end
}

// Ready implements loop.Handler.
func (a *acceptor) Ready(c *loop.Conn) bool {
	e := &end{loop: c.Loop(), wire: &plain{raw: c}}
	e.Session = New(c, e.wire, e.config(a.cfg))
	a.ends <- e
	return e.Serve()
}

func (a *acceptor) Hangup(*loop.Conn)        {}
func (a *acceptor) Expired(*loop.Conn)       {}
func (a *acceptor) each() <-chan *end        { return a.ends }
func ready(f func(*Stream) bool) *funcs      { return &funcs{ready: f} }
func always(h Handler) func(*Stream) Handler { return func(*Stream) Handler { return h } }

// accepting listens for sessions whose streams accept names the handlers of.
func accepting(t testing.TB, cfg Config) (address string, ends <-chan *end) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(t)
	a := &acceptor{cfg: cfg, ends: make(chan *end, 16)}
	done := make(chan error, 1)
	go func() {
		done <- g.Serve(l.(*net.TCPListener), func(*loop.Conn) loop.Handler { return a })
	}()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String(), a.each()
}

// dialling opens a session to address.
func dialling(t testing.TB, address string, cfg Config) *end {
	t.Helper()
	e := &end{loop: newGroup(t).Loops()[0]}
	do(t, e.loop, func() {
		c, err := e.loop.Dial(context.Background(), "tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		e.wire = &plain{raw: c}
		e.Session = New(c, e.wire, e.config(cfg))
		e.Start()
	})
	return e
}

// pair is a session between two loops. The accepting end comes once something
// was written.
func pair(t testing.TB, accept func(*Stream) Handler) (*end, <-chan *end) {
	t.Helper()
	address, ends := accepting(t, Config{Accept: accept})
	return dialling(t, address, Config{}), ends
}

// funcs is a Handler made of functions.
type funcs struct {
	ready   func(*Stream) bool
	hangup  func(*Stream)
	expired func(*Stream)
}

func (f *funcs) Ready(st *Stream) bool { return f.ready(st) }

func (f *funcs) Hangup(st *Stream) {
	if f.hangup != nil {
		f.hangup(st)
	}
}

func (f *funcs) Expired(st *Stream) {
	if f.expired != nil {
		f.expired(st)
		return
	}
	_ = st.Close()
}

// echo answers everything with itself, one Read at a time.
func echo(st *Stream) bool {
	var b [4096]byte
	n, err := st.Read(b[:])
	if err == nil {
		_, err = st.Write(b[:n])
	}
	if err != nil {
		_ = st.Close()
	}
	return err == nil
}

// raw is the other side made of bytes.
type raw struct {
	t testing.TB
	net.Conn
}

func rawTo(t testing.TB, address string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return rawOn(t, c)
}

func rawOn(t testing.TB, c net.Conn) *raw {
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &raw{t, c}
}

func (r *raw) send(h header, payload string) {
	b := h.bytes()
	_, _ = r.Write(append(b[:], payload...)) // it may have been cut off already
}

func (r *raw) data(stream uint32, payload string) {
	r.send(header{kind: dataFrame, stream: stream, length: len(payload)}, payload)
}

// next reads a frame; false: the end.
func (r *raw) next() (h header, payload []byte, ok bool) {
	r.t.Helper()
	var b [headerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, nil, false
	}
	h, err := parseHeader(&b)
	if err != nil {
		r.t.Fatalf("what was sent to the other side: %v", err)
	}
	payload = make([]byte, h.length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return h, nil, false
	}
	return h, payload, true
}

// want reads frames until one is of the given kind and stream.
func (r *raw) want(k kind, stream uint32) []byte {
	r.t.Helper()
	for {
		h, p, ok := r.next()
		if !ok {
			r.t.Fatalf("the connection ended before a frame of type %d on stream %d", k, stream)
		}
		if h.kind == k && h.stream == stream {
			return p
		}
	}
}
