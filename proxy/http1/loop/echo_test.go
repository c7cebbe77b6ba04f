//go:build linux

package loop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEcho(t *testing.T) {
	g := newGroup(t, 2)
	addr := serve(t, g, always(&funcs{ready: echo}))
	nc := dial(t, addr)
	for i := range 100 {
		want := fmt.Sprintf("hello %d", i)
		if _, err := nc.Write([]byte(want)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
}

func TestDialedConnectionEchoes(t *testing.T) {
	g := newGroup(t, 1)
	addr := serve(t, g, always(&funcs{ready: echo}))
	l := g.Loops()[0]
	do(t, l, func() {
		c, err := l.Dial(context.Background(), "tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err = c.Write([]byte("ping")); err != nil {
			t.Error(err)
		}
		b := make([]byte, 4)
		if _, err = io.ReadFull(c, b); err != nil || string(b) != "ping" {
			t.Errorf("read %q, %v", b, err)
		}
		if want := c.RemoteAddr().String(); want != addr {
			t.Errorf("remote address %s, want %s", want, addr)
		}
	})
}

// Half a connection may end while the other goes on.
func TestHalfClose(t *testing.T) {
	g := newGroup(t, 1)
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		b, err := io.ReadAll(c)
		if err == nil {
			_, err = c.Write(bytes.ToUpper(b))
		}
		if err == nil {
			err = c.CloseWrite()
		}
		if err != nil {
			t.Error(err)
		}
		_ = c.Close()
		return false
	}}))
	nc := dial(t, addr)
	_, _ = nc.Write([]byte("all of it"))
	_ = nc.CloseWrite()
	if b, err := io.ReadAll(nc); err != nil || string(b) != "ALL OF IT" {
		t.Fatalf("read %q, %v", b, err)
	}
}

// Both directions move more than the socket's buffers hold, so both sides park.
func TestLargeBothWays(t *testing.T) {
	g := newGroup(t, 1)
	addr := serve(t, g, always(&funcs{ready: echo}))
	nc := dial(t, addr)
	want := make([]byte, 16<<20)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	go func() {
		_, _ = nc.Write(want)
		_ = nc.CloseWrite()
	}()
	got, err := io.ReadAll(nc)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v; want the %d that were written", len(got), err, len(want))
	}
}

func TestManyConnections(t *testing.T) {
	g := newGroup(t, 2)
	addr := serve(t, g, always(&funcs{ready: echo}))
	many := 2000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	many = min(many, int(limit.Cur-200)/4*2) // both ends are ours
	conns := make([]net.Conn, many)
	for i := range conns {
		conns[i] = dial(t, addr)
	}
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			b := make([]byte, 8)
			for round := range 3 {
				for i := w; i < many; i += 20 {
					want := fmt.Sprintf("%04d %03d", i, round)
					_, _ = conns[i].Write([]byte(want))
					if _, err := io.ReadFull(conns[i], b); err != nil || string(b) != want {
						t.Errorf("connection %d: read %q, %v; want %q", i, b, err, want)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	for i, l := range g.Loops() {
		if n := l.load.Load(); n != int64(many/2) {
			t.Errorf("loop %d has %d connections, want %d: half of all", i, n, many/2)
		}
	}
}
