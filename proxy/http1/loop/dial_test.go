//go:build linux

package loop

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDialRefused(t *testing.T) {
	g := newGroup(t, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	l := g.Loops()[0]
	do(t, l, func() {
		_, err := l.Dial(context.Background(), "tcp", addr)
		var oe *net.OpError
		if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &oe) || oe.Op != "dial" || oe.Timeout() {
			t.Errorf("got %v (%T), want a dial error of connection refused", err, err)
		}
	})
	eventually(t, "the descriptor is closed", func() bool { return l.load.Load() == 0 })
}

func TestDialNames(t *testing.T) {
	g := newGroup(t, 1)
	addr := serve(t, g, always(&funcs{ready: echo}))
	_, port, _ := net.SplitHostPort(addr)
	l := g.Loops()[0]
	do(t, l, func() {
		for _, name := range []string{"localhost:" + port, ":" + port} {
			c, err := l.Dial(context.Background(), "tcp4", name)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			b := []byte("x")
			_, _ = c.Write(b)
			if _, err = io.ReadFull(c, b); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			_ = c.Close()
		}
		for _, bad := range []struct{ network, address string }{
			{"tcp", "no-port"}, {"udp", addr}, {"tcp6", addr}, {"tcp", "name.invalid:80"}, {"tcp", "127.0.0.1:99999"},
		} {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_, err := l.Dial(ctx, bad.network, bad.address)
			cancel()
			var oe *net.OpError
			if !errors.As(err, &oe) {
				t.Errorf("%s %s: got %v, want a *net.OpError", bad.network, bad.address, err)
			}
		}
	})
}

// unanswered is an address whose SYNs are dropped: a listener with a full queue.
func unanswered(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err = unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	// It holds one or two; whatever comes then is not answered. On loopback they
	// are there when connect returns.
	for range 8 {
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(client) })
		sa, _ := sockaddrFor(socketName(fd))
		_ = unix.Connect(client, sa)
	}
	return socketName(fd).String()
}

func TestDialTimeoutAndCancel(t *testing.T) {
	addr := unanswered(t)
	g := newGroup(t, 1)
	l := g.Loops()[0]
	do(t, l, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := l.Dial(ctx, "tcp", addr)
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("got %v, want a timeout", err)
		}
		ctx, stop := context.WithCancel(context.Background())
		time.AfterFunc(20*time.Millisecond, stop)
		if _, err = l.Dial(ctx, "tcp", addr); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if _, err = l.Dial(ctx, "tcp", addr); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v with a context that was cancelled before", err)
		}
	})
	eventually(t, "descriptors are closed", func() bool { return l.load.Load() == 0 })
}
