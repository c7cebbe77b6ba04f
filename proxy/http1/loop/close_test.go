//go:build linux

package loop

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCloseFromElsewhere(t *testing.T) {
	g := newGroup(t, 1)
	c, nc := accepted(t, g)
	errs := make(chan error, 2)
	c.Loop().Post(func() {
		c.Loop().Go(func() { _, err := c.Read(make([]byte, 10)); errs <- err })
		c.Loop().Go(func() { _, err := c.Write(make([]byte, 64<<20)); errs <- err })
	})
	eventually(t, "both wait", func() bool { return c.waits.Load() == readWaits|writeWaits })
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := within(t, "both to end", errs); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v, want net.ErrClosed", err)
	}
	if err := c.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SetDeadline: %v, want net.ErrClosed", err)
	}
	_, _ = io.Copy(io.Discard, nc) // ends: the descriptor is closed
	if n := look(t, c.Loop(), func() int64 { return c.Loop().load.Load() }); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
}

// A closed descriptor's number is soon somebody else's: it is closed once.
func TestDescriptorIsClosedOnce(t *testing.T) {
	g := newGroup(t, 1)
	c, _ := accepted(t, g)
	fd := c.fd
	for range 4 {
		go c.Close()
	}
	eventually(t, "it is closed", func() bool { return look(t, c.Loop(), func() bool { return c.state == gone }) })
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	_ = c.Close()
	do(t, c.Loop(), func() {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if err := c.CloseWrite(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("CloseWrite: %v", err)
		}
	})
	for _, fd := range p {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			t.Errorf("descriptor %d was closed by somebody else: %v", fd, err)
		}
	}
	t.Logf("the connection's number was %d, the pipe's %v", fd, p)
}

// Everything at once is in flight when the group is closed.
func TestGroupClose(t *testing.T) {
	g := newGroup(t, 2)
	silent := unanswered(t)
	release := make(chan struct{})
	var ended count
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		defer ended.Add(1)
		l := c.Loop()
		b := make([]byte, 1)
		if _, err := c.Read(b); err != nil {
			_ = c.Close()
			return false
		}
		switch b[0] {
		case 'r':
			_, err := c.Read(b)
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("read: %v, want net.ErrClosed", err)
			}
		case 'w':
			_, err := c.Write(make([]byte, 64<<20))
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("write: %v, want net.ErrClosed", err)
			}
		case 'a':
			l.Await(func() { <-release })
		case 'p':
			for {
				l.Running().Park()
			}
		case 'j':
			l.Go(func() {
				defer ended.Add(1)
				for {
					l.Running().Park()
				}
			}).Join()
		case 'y':
			for !c.closed.Load() {
				l.Running().Yield()
			}
		case 'd':
			_, err := l.Dial(context.Background(), "tcp", silent)
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("dial: %v, want net.ErrClosed", err)
			}
		}
		return false
	}}))
	const kinds = "rwapjyd"
	const each = 10
	for range each {
		for _, k := range kinds {
			_, _ = dial(t, addr).Write([]byte{byte(k)})
		}
		dial(t, addr) // idle
	}
	eventually(t, "all tasks are there", func() bool {
		n := 0
		for _, l := range g.Loops() {
			n += look(t, l, func() int { return len(l.inUse) })
		}
		return n == each*(len(kinds)+1)
	})
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	g.Close()
	if n := ended.Load(); n != each*(int64(len(kinds))+1) {
		t.Errorf("%d tasks have ended, want %d", n, each*(len(kinds)+1))
	}
	for _, l := range g.Loops() {
		if l.Post(func() {}) {
			t.Error("a closed loop takes posts")
		}
		if n := l.load.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	}
	g.Close()
}

func TestCloseWithNothingGoingOn(t *testing.T) {
	g, err := New(Config{Loops: 3})
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
}
