//go:build linux

package loop

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestServeEndsWithItsListener(t *testing.T) {
	g := newGroup(t, 1)
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- g.Serve(ln.(*net.TCPListener), always(&funcs{ready: echo})) }()
		nc := dial(t, ln.Addr().String())
		_, _ = nc.Write([]byte("x"))
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		if err := within(t, "Serve to return", done); err != nil {
			t.Errorf("Serve returned %v", err)
		}
		// What was accepted lives on.
		_, _ = nc.Write([]byte("x"))
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if err := g.Serve(ln.(*net.TCPListener), nil); err != nil {
			t.Errorf("Serve with a closed listener returned %v", err)
		}
	}
	l := g.Loops()[0]
	if n := look(t, l, func() int { return len(l.acceptors) }); n != 1 {
		t.Errorf("%d places for listeners that came one after another", n)
	}
}

func TestAcceptedConnection(t *testing.T) {
	g := newGroup(t, 1)
	type facts struct {
		local, remote string
		nodelay, idle int
	}
	got := make(chan facts, 1)
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		done <- g.Serve(ln.(*net.TCPListener), func(c *Conn) Handler {
			f := facts{local: c.LocalAddr().String(), remote: c.RemoteAddrPort().String()}
			f.nodelay, _ = unix.GetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)
			f.idle, _ = unix.GetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
			got <- f
			return nil // refused
		})
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	nc := dial(t, "127.0.0.1:"+port)
	f := within(t, "a connection", got)
	if f.local != nc.RemoteAddr().String() || f.remote != nc.LocalAddr().String() {
		t.Errorf("its addresses are %+v, the client has %s to %s", f, nc.LocalAddr(), nc.RemoteAddr())
	}
	if f.nodelay == 0 || f.idle != 15 {
		t.Errorf("options are not inherited: %+v", f)
	}
	if _, err := nc.Read(make([]byte, 1)); err == nil {
		t.Error("a refused connection is open")
	}
	_ = ln.Close()
	if err := within(t, "Serve to return", done); err != nil {
		t.Error(err)
	}
}

// Without descriptors nothing is accepted, it is said once, and it goes on when
// there are some again.
func TestOutOfDescriptors(t *testing.T) {
	var log lockedBuffer
	g, err := New(Config{Loops: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	addr := serve(t, g, always(&funcs{ready: echo}))
	dial(t, addr)
	l := g.Loops()[0]
	eventually(t, "the first is accepted", func() bool { return l.load.Load() == 1 })

	hold := make(chan struct{})
	l.Post(func() { <-hold })
	var clients []net.Conn
	for range 5 {
		clients = append(clients, dial(t, addr))
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(next)
	// No number from the next free one on may be used.
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	restore := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }
	defer restore()
	close(hold)
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "cannot accept") })
	eventually(t, "it has been tried again and again", func() bool {
		return look(t, l, func() bool { return l.acceptors[0].pause >= 16*acceptPause })
	})
	restore()
	for _, nc := range clients {
		_, _ = nc.Write([]byte("x"))
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "cannot accept"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
	if p := look(t, l, func() time.Duration { return l.acceptors[0].pause }); p != 0 {
		t.Errorf("it still pauses for %s", p)
	}
}
