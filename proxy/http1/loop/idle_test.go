//go:build linux

package loop

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Idle connections hold no coroutine, whatever happened before.
func TestIdleHoldsNoCoroutine(t *testing.T) {
	g := newGroup(t, 1)
	addr := serve(t, g, always(&funcs{ready: echo}))
	l := g.Loops()[0]
	const many = 200
	for range many {
		nc := dial(t, addr)
		_, _ = nc.Write([]byte("x"))
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "200 connections, no task", func() bool {
		return look(t, l, func() bool { return l.load.Load() == many && l.tasks == 0 && len(l.inUse) == 0 })
	})
	if n := look(t, l, func() int { return len(l.spare) }); n > 2 {
		t.Errorf("%d coroutines are kept for connections that came one after another", n)
	}
	if size := unsafe.Sizeof(Conn{}) + unsafe.Sizeof(slot{}); size > 512 {
		t.Errorf("an idle connection takes %d bytes", size)
	}
}

// A burst needs no more coroutines than tasks wait at the same time.
func TestCoroutinesKeptAreBounded(t *testing.T) {
	g := newGroup(t, 1)
	release := make(chan struct{})
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		c.Loop().Await(func() { <-release })
		return echo(c)
	}}))
	l := g.Loops()[0]
	var conns []net.Conn
	for range 3 * keptCoroutines {
		nc := dial(t, addr)
		_, _ = nc.Write([]byte("x"))
		conns = append(conns, nc)
	}
	eventually(t, "all are waiting", func() bool {
		return look(t, l, func() int { return len(l.inUse) }) == len(conns)
	})
	close(release)
	for _, nc := range conns {
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "only some coroutines are kept", func() bool {
		return look(t, l, func() bool { return len(l.inUse) == 0 && len(l.spare) == keptCoroutines })
	})
}

func TestEndWhileIdleRunsReady(t *testing.T) {
	g := newGroup(t, 1)
	ends := make(chan error, 10)
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		_, err := c.Read(make([]byte, 10))
		ends <- err
		_ = c.Close()
		return false
	}}))
	nc := dial(t, addr)
	_ = nc.CloseWrite()
	if err := within(t, "Ready", ends); err != io.EOF {
		t.Errorf("the end reads as %v, want EOF", err)
	}
	nc = dial(t, addr)
	_ = nc.SetLinger(0)
	_ = nc.Close()
	if err := within(t, "Ready", ends); err == nil {
		t.Error("a reset reads as nothing")
	}
}

func TestExpired(t *testing.T) {
	g := newGroup(t, 1)
	l := g.Loops()[0]
	var times count
	h := &funcs{ready: echo}
	h.expired = func(c *Conn) {
		if times.Add(1) < 3 {
			c.IdleUntil(l.Now().Add(20 * time.Millisecond))
			return
		}
		_ = c.Close()
	}
	addr := serve(t, g, func(c *Conn) Handler {
		c.IdleUntil(c.Loop().Now().Add(20 * time.Millisecond))
		return h
	})
	nc := dial(t, addr)
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read %v, want the end", err)
	}
	if n := times.Load(); n != 3 {
		t.Errorf("Expired ran %d times, want 3", n)
	}
}

// An idle deadline that passes while the connection is busy is nothing.
func TestExpiredNotWhileBusy(t *testing.T) {
	g := newGroup(t, 1)
	expired := make(chan struct{}, 1)
	conns := make(chan *Conn, 1)
	h := &funcs{expired: func(c *Conn) { _ = c.Close(); expired <- struct{}{} }}
	addr := serve(t, g, func(c *Conn) Handler {
		conns <- c
		return h
	})
	nc := dial(t, addr)
	c := within(t, "the connection", conns)
	l := c.Loop()
	l.Post(func() {
		c.IdleUntil(l.Now().Add(20 * time.Millisecond))
		if !c.Busy() {
			t.Error("an idle connection cannot be used")
		}
	})
	eventually(t, "the wheel has come by", func() bool {
		return look(t, l, func() bool { return c.state == busy && c.timer.tick == 0 })
	})
	select {
	case <-expired:
		t.Fatal("Expired ran while the connection was busy")
	default:
	}
	do(t, l, func() {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		c.Idle(l.Now().Add(10 * time.Millisecond))
	})
	within(t, "Expired", expired)
	if b, err := io.ReadAll(nc); string(b) != "x" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestHangupWhileBusy(t *testing.T) {
	g := newGroup(t, 1)
	hangups := 0
	var me *Task
	h := &funcs{hangup: func(c *Conn) { hangups++; me.Unpark() }}
	began := make(chan struct{}, 1)
	h.ready = func(c *Conn) bool {
		b := make([]byte, 100)
		if _, err := c.Read(b); err != nil {
			t.Error(err)
		}
		me = c.Loop().Running()
		began <- struct{}{}
		for hangups == 0 {
			me.Park()
		}
		if half, dead := c.Hung(); !half || dead {
			t.Errorf("Hung says %v, %v after the other side ended its half", half, dead)
		}
		if n, err := c.Read(b); n != 0 || err != io.EOF {
			t.Errorf("read %d, %v; want EOF", n, err)
		}
		if _, err := c.Write([]byte("answer")); err != nil {
			t.Error(err)
		}
		_ = c.Close()
		return false
	}
	addr := serve(t, g, always(h))
	nc := dial(t, addr)
	_, _ = nc.Write([]byte("request"))
	within(t, "Ready", began)
	_ = nc.CloseWrite()
	if b, err := io.ReadAll(nc); string(b) != "answer" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
}

// The end that comes together with bytes is seen by the next Read, though the
// first was short.
func TestEndTogetherWithBytes(t *testing.T) {
	g := newGroup(t, 1)
	release := make(chan struct{})
	got := make(chan string, 1)
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		got <- string(b)
		_ = c.Close()
		return false
	}}))
	// The loop is held up, so that it sees both at once.
	g.Loops()[0].Post(func() { <-release })
	nc := dial(t, addr)
	_, _ = nc.Write([]byte("bytes"))
	_ = nc.CloseWrite()
	time.Sleep(10 * time.Millisecond)
	close(release)
	if s := within(t, "the bytes and the end", got); s != "bytes" {
		t.Errorf("read %q", s)
	}
}

// A dialled connection goes idle and comes back; what arrives while it is idle
// makes it unusable and tells its handler.
func TestIdleAndBusy(t *testing.T) {
	g := newGroup(t, 1)
	l := g.Loops()[0]
	peers := make(chan net.Conn, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			peers <- nc
		}
	}()
	open := func(h Handler) (c *Conn, peer net.Conn) {
		do(t, l, func() {
			if c, err = l.Dial(context.Background(), "tcp", ln.Addr().String()); err != nil {
				t.Error(err)
				return
			}
			c.SetHandler(h)
			c.Idle(l.Now().Add(time.Hour))
		})
		peer = within(t, "the accepted side", peers)
		t.Cleanup(func() { _ = peer.Close() })
		return c, peer
	}
	readies := make(chan error, 10)
	h := &funcs{ready: func(c *Conn) bool {
		_, err := c.Read(make([]byte, 100))
		readies <- err
		_ = c.Close()
		return false
	}}

	c, peer := open(h)
	do(t, l, func() {
		if !c.Busy() {
			t.Error("a quiet idle connection cannot be used")
		}
		if c.Busy() {
			t.Error("it can be taken twice")
		}
		_, _ = c.Write([]byte("q"))
	})
	_, _ = io.ReadFull(peer, make([]byte, 1))
	_, _ = peer.Write([]byte("a"))
	do(t, l, func() {
		// As many bytes as asked for: whether there are more is unknown.
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		c.Idle(time.Time{})
		if !c.Busy() {
			t.Error("not idle again after an exchange")
		}
		c.Idle(time.Time{})
	})
	_, _ = peer.Write([]byte("unsolicited"))
	if err := within(t, "Ready for unsolicited bytes", readies); err != nil {
		t.Error(err)
	}
	do(t, l, func() {
		if c.Busy() {
			t.Error("a connection with unsolicited bytes was given out")
		}
	})

	c, peer = open(h)
	_ = peer.Close()
	if err := within(t, "Ready for the end", readies); err != io.EOF {
		t.Errorf("the end reads as %v", err)
	}
	do(t, l, func() {
		if c.Busy() {
			t.Error("an ended connection was given out")
		}
	})

	// The end is there already when it goes idle.
	c, peer = open(h)
	do(t, l, func() { c.Busy() })
	_ = peer.Close()
	eventually(t, "the end is known", func() bool {
		return look(t, l, func() bool { half, _ := c.Hung(); return half })
	})
	do(t, l, func() { c.Idle(time.Time{}) })
	if err := within(t, "Ready for the earlier end", readies); err != io.EOF {
		t.Errorf("the end reads as %v", err)
	}
}

// An event for a slot's former connection says nothing about the present one.
func TestStaleEvent(t *testing.T) {
	g := newGroup(t, 1)
	var readies count
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool { readies.Add(1); return echo(c) }}))
	l := g.Loops()[0]
	old := dial(t, addr)
	_ = old.Close()
	eventually(t, "the first connection is gone", func() bool { return readies.Load() == 1 && l.load.Load() == 0 })
	nc := dial(t, addr)
	eventually(t, "the second is there", func() bool { return l.load.Load() == 1 })
	stale := look(t, l, func() bool {
		s := l.slots[0]
		if s.conn == nil || s.gen == 0 {
			return false
		}
		l.ready = 1
		l.events[0] = unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLHUP, Fd: 0, Pad: int32(s.gen - 1)}
		l.dispatch()
		return s.conn.state == idle && !s.conn.dead && l.tasks == 0
	})
	if !stale {
		t.Error("the slot was not reused, or a stale event was taken for the new connection's")
	}
	_, _ = nc.Write([]byte("x"))
	if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
