//go:build linux

package loop

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &ne) && ne.Timeout()
}

// accepted waits for a connection whose only reader is the test.
func accepted(t *testing.T, g *Group) (*Conn, *net.TCPConn) {
	t.Helper()
	conns := make(chan *Conn, 1)
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		conns <- c
		return false
	}}))
	nc := dial(t, addr)
	_, _ = nc.Write([]byte("first"))
	c := within(t, "the connection", conns)
	do(t, c.Loop(), func() { _, _ = c.Read(make([]byte, 10)) })
	return c, nc
}

func TestReadDeadline(t *testing.T) {
	g := newGroup(t, 1)
	c, nc := accepted(t, g)
	do(t, c.Loop(), func() {
		b := make([]byte, 10)
		start := time.Now()
		_ = c.SetReadDeadline(start.Add(30 * time.Millisecond))
		if _, err := c.Read(b); !isTimeout(err) {
			t.Errorf("read: %v, want a timeout", err)
		}
		if d := time.Since(start); d < 30*time.Millisecond {
			t.Errorf("timed out after %s, before its time", d)
		}
		if _, err := c.Read(b); !isTimeout(err) {
			t.Errorf("a second read: %v, want a timeout", err)
		}
		_ = c.SetReadDeadline(time.Time{})
		_, _ = nc.Write([]byte("late"))
		if n, err := c.Read(b); err != nil || string(b[:n]) != "late" {
			t.Errorf("read %q, %v after the deadline was taken back", b[:n], err)
		}
		// A wall clock's time does as well.
		_ = c.SetDeadline(time.Now().Round(0).Add(10 * time.Millisecond))
		if _, err := c.Read(b); !isTimeout(err) {
			t.Errorf("read: %v, want a timeout", err)
		}
		_ = c.SetDeadline(time.Unix(1, 0))
		if _, err := c.Write(b); !isTimeout(err) {
			t.Errorf("write: %v, want a timeout", err)
		}
	})
}

// Deadlines set from elsewhere reach who waits already, sooner or later than
// before.
func TestDeadlineFromElsewhere(t *testing.T) {
	g := newGroup(t, 1)
	c, nc := accepted(t, g)
	errs := make(chan error, 1)
	read := func() {
		c.Loop().Post(func() {
			c.Loop().Go(func() {
				_, err := c.Read(make([]byte, 10))
				errs <- err
			})
		})
		eventually(t, "somebody reads", func() bool { return c.waits.Load()&readWaits != 0 })
	}
	for _, at := range []time.Time{time.Unix(1, 0), time.Now().Add(50 * time.Millisecond)} {
		_ = c.SetReadDeadline(time.Now().Add(time.Hour))
		read()
		_ = c.SetReadDeadline(at)
		if err := within(t, "the read to end", errs); !isTimeout(err) {
			t.Errorf("read: %v, want a timeout", err)
		}
	}
	// One that is taken back in time does nothing, though the wheel comes by.
	_ = c.SetReadDeadline(time.Time{})
	read()
	c.Loop().Post(func() {
		_ = c.SetReadDeadline(c.Loop().Now().Add(20 * time.Millisecond))
		c.review()
		_ = c.SetReadDeadline(time.Time{})
	})
	eventually(t, "the wheel has come by", func() bool {
		return look(t, c.Loop(), func() bool { return c.timer.tick == 0 })
	})
	_, _ = nc.Write([]byte("x"))
	if err := within(t, "the read to end", errs); err != nil {
		t.Errorf("read: %v, though its deadline was taken back", err)
	}
}

func TestWriteDeadline(t *testing.T) {
	g := newGroup(t, 1)
	c, _ := accepted(t, g)
	do(t, c.Loop(), func() {
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := c.Write(make([]byte, 64<<20))
		if !isTimeout(err) || n == 0 || n == 64<<20 {
			t.Errorf("wrote %d, %v; want some of it and a timeout", n, err)
		}
	})
}

// Both ends of one connection park with deadlines of their own.
func TestReaderAndWriterAtOnce(t *testing.T) {
	g := newGroup(t, 1)
	c, _ := accepted(t, g)
	l := c.Loop()
	do(t, l, func() {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		var werr error
		w := l.Go(func() { _, werr = c.Write(make([]byte, 64<<20)) })
		if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("read: %v, want a timeout", err)
		}
		if w.ended {
			t.Error("the writer has ended with the reader")
		}
		for c.writer == nil { // it fills the socket, yielding on the way
			l.Running().Yield()
		}
		// A second reader or writer is a mistake that is told.
		if _, err := c.Write([]byte("x")); !errors.Is(err, errInUse) {
			t.Errorf("second writer: %v, want %v", err, errInUse)
		}
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		w.Join()
		if !isTimeout(werr) {
			t.Errorf("write: %v, want a timeout", werr)
		}
	})
}
