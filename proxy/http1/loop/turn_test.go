//go:build linux

package loop

import (
	"io"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What is asked for at the end of a turn runs once, after all of its tasks.
func TestTurnEndComesAfterItsTasks(t *testing.T) {
	l := newGroup(t, 1).Loops()[0]
	var order []string
	did := func(what string) func() { return func() { order = append(order, what) } }
	done := make(chan struct{})
	l.Post(func() {
		l.AtTurnEnd(did("end"))
		l.AtTurnEnd(func() { panic("it costs nothing else") })
		l.AtTurnEnd(func() { l.AtTurnEnd(did("end of the end")) })
		l.Go(did("one"))
		l.Go(func() {
			did("two")()
			l.Running().Yield()
			did("next turn")()
			close(done)
		})
	})
	within(t, "the tasks", done)
	if want := []string{"one", "two", "end", "end of the end", "next turn"}; !slices.Equal(order, want) {
		t.Errorf("the order is %q, want %q", order, want)
	}
}

// runner counts how it is run and closed.
type runner struct {
	run    func()
	closed int
}

func (r *runner) Run()         { r.run() }
func (r *runner) Close() error { r.closed++; return nil }

func TestStartedTasksAreUsedAgain(t *testing.T) {
	l := newGroup(t, 1).Loops()[0]
	seen := map[*Task]bool{}
	r := &runner{run: func() { seen[l.Running()] = true }}
	do(t, l, func() {
		for range 100 {
			l.Start(r)
			l.Running().Yield()
			l.Running().Yield()
		}
	})
	if n := look(t, l, func() int { return len(seen) }); n != 1 {
		t.Errorf("%d tasks for what ran one after another", n)
	}
}

// A panic closes what the task runs for, and also when it is in a task that it
// started.
func TestPanicClosesTheRunner(t *testing.T) {
	l := newGroup(t, 1).Loops()[0]
	own, others := &runner{run: func() { panic("own") }}, &runner{}
	others.run = func() { l.Go(func() { panic("in a task beside") }) }
	l.Post(func() { l.Start(own); l.Start(others) })
	eventually(t, "both are closed", func() bool {
		return look(t, l, func() bool { return own.closed == 1 && others.closed == 1 && l.tasks == 0 })
	})
}

func TestWakeEndsPark(t *testing.T) {
	l := newGroup(t, 1).Loops()[0]
	do(t, l, func() {
		woken, me := false, l.Running()
		l.Go(func() { woken = true; me.Wake(); me.Wake() })
		for !woken {
			me.Park()
		}
		me.Wake()
		me.Park() // of the permit just given
	})
}

// WriteNow takes what the socket takes, says so, and never waits.
func TestWriteNowDoesNotWait(t *testing.T) {
	g := newGroup(t, 1)
	l := g.Loops()[0]
	conns := make(chan *Conn, 1)
	addr := serve(t, g, func(c *Conn) Handler { conns <- c; return &funcs{} })
	nc := dial(t, addr)
	c := within(t, "the connection", conns)
	_ = look(t, l, func() error { return unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10) })
	p := make([]byte, 8<<20)
	type result struct {
		n   int
		err error
	}
	write := func() result { n, err := c.WriteNow(p); return result{n, err} }
	first := look(t, l, write) // not even a task
	if first.err != nil || first.n <= 0 || first.n >= len(p) {
		t.Fatalf("%d of %d bytes, %v", first.n, len(p), first.err)
	}
	sent := first.n // and on until the other side's memory is full, too
	eventually(t, "it takes nothing", func() bool {
		r := look(t, l, write)
		sent += r.n
		return r.n == 0 && r.err == nil
	})
	if _, err := io.ReadFull(nc, make([]byte, sent)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func() bool { return look(t, l, write).n > 0 })
	_ = c.Close()
	if closed := look(t, l, write); closed.err == nil || closed.n != 0 {
		t.Errorf("a closed socket took %d bytes, %v", closed.n, closed.err)
	}
}

// closing also wants to know of the end.
type closing struct {
	funcs
	closed count
}

func (h *closing) Closed(*Conn) { h.closed.Add(1) }

func TestHandlersAreToldOfTheEnd(t *testing.T) {
	g := newGroup(t, 1)
	var h closing
	conns := make(chan *Conn, 1)
	addr := serve(t, g, func(c *Conn) Handler { conns <- c; return &h })
	dial(t, addr)
	c := within(t, "the connection", conns)
	_ = c.Close()
	_ = c.Close()
	eventually(t, "it is told", func() bool { return h.closed.Load() == 1 })
	dial(t, addr)
	within(t, "the connection", conns)
	g.Close()
	if n := h.closed.Load(); n != 2 {
		t.Errorf("told %d times of two connections", n)
	}
}
