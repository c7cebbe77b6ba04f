//go:build linux

package loop

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// lockedBuffer is written by loops.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A panic, or runtime.Goexit, in a task costs its connection and nothing else.
func TestPanicsCostOneConnection(t *testing.T) {
	var log lockedBuffer
	g, err := New(Config{Loops: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	h := &funcs{hangup: func(*Conn) { panic("in hangup") }}
	h.ready = func(c *Conn) bool {
		b := make([]byte, 1)
		if _, err := c.Read(b); err != nil {
			_ = c.Close()
			return false
		}
		switch b[0] {
		case 'p':
			panic("in ready")
		case 'g':
			runtime.Goexit()
		case 'c':
			c.Loop().Go(func() { panic("in a task of its own") })
			_, _ = c.Read(b)
			_ = c.Close()
			return false
		case 'a':
			c.Loop().Await(func() { panic("awaited") })
		case 'x':
			c.Loop().Await(runtime.Goexit)
		}
		_, _ = c.Write(b)
		return true
	}
	addr := serve(t, g, always(h))
	well := dial(t, addr)
	for _, how := range "pgcax" {
		ill := dial(t, addr)
		_, _ = ill.Write([]byte{byte(how)})
		if _, err := ill.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%c: read %v, want the end", how, err)
		}
		_, _ = well.Write([]byte("."))
		if _, err := io.ReadFull(well, make([]byte, 1)); err != nil {
			t.Fatalf("%c: the other connection: %v", how, err)
		}
	}
	l := g.Loops()[0]
	l.Post(func() { panic("posted") })
	l.Post(func() { l.After(0, func() { panic("timed") }) })
	for _, want := range []string{"in ready", "Goexit", "in a task of its own", "awaited", "posted", "timed", "task_test.go"} {
		eventually(t, "the log has "+want, func() bool { return strings.Contains(log.String(), want) })
	}
	if n := look(t, l, func() int { return l.tasks + len(l.inUse) }); n != 0 {
		t.Errorf("%d tasks are counted", n)
	}
}

// While one waits for a function elsewhere, others are served.
func TestAwaitFreesTheLoop(t *testing.T) {
	g := newGroup(t, 1)
	addr := serve(t, g, always(&funcs{ready: echo}))
	release, done := make(chan struct{}), make(chan struct{})
	l := g.Loops()[0]
	l.Post(func() {
		l.Go(func() {
			l.Await(func() { <-release })
			close(done)
		})
	})
	nc := dial(t, addr)
	_, _ = nc.Write([]byte("x"))
	if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	close(release)
	within(t, "Await to return", done)
}

func TestAwaitRaisesThePanic(t *testing.T) {
	g := newGroup(t, 1)
	l := g.Loops()[0]
	errMine := errors.New("mine")
	do(t, l, func() {
		defer func() {
			if v := recover(); v != errMine {
				t.Errorf("recovered %v, want the value that was raised", v)
			}
		}()
		l.Await(func() { panic(errMine) })
	})
}

func TestParkAndJoin(t *testing.T) {
	g := newGroup(t, 1)
	l := g.Loops()[0]
	do(t, l, func() {
		me := l.Running()
		me.Unpark() // before Park: it returns at once
		me.Park()

		sum := 0
		tasks := make([]*Task, 10)
		for i := range tasks {
			tasks[i] = l.Go(func() {
				for range i {
					l.Running().Yield()
				}
				sum += i
			})
		}
		for _, task := range tasks {
			task.Join()
		}
		if tasks[0].Join(); sum != 45 {
			t.Errorf("tasks that were joined have done %d, want 45", sum)
		}

		// Unparked by another task, then by an ordinary goroutine.
		woken := false
		l.Go(func() { woken = true; me.Unpark() })
		for !woken {
			me.Park()
		}
		elsewhere := make(chan struct{})
		go func() { close(elsewhere); me.Unpark() }()
		for open := true; open; {
			me.Park()
			select {
			case <-elsewhere:
				open = false
			default:
			}
		}
	})
}

// Unparks from many goroutines lose no wakeup.
func TestUnparkStorm(t *testing.T) {
	g := newGroup(t, 2)
	for _, l := range g.Loops() {
		const many = 20000
		var n count
		do(t, l, func() {
			me := l.Running()
			go func() {
				for range many {
					n.Add(1)
					me.Unpark()
				}
			}()
			for n.Load() < many {
				me.Park()
			}
		})
	}
}

// Tasks run in the order in which they became runnable; Yield goes to the end.
func TestOrder(t *testing.T) {
	g := newGroup(t, 1)
	l := g.Loops()[0]
	var order []string
	do(t, l, func() {
		var all []*Task
		for _, name := range []string{"a", "b", "c"} {
			all = append(all, l.Go(func() {
				order = append(order, name+"1")
				l.Running().Yield()
				order = append(order, name+"2")
			}))
		}
		for _, task := range all {
			task.Join()
		}
	})
	if want := []string{"a1", "b1", "c1", "a2", "b2", "c2"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// A saturated loop on one thread leaves room for ordinary goroutines, and for
// posts and timers.
func TestSaturatedLoopLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	g := newGroup(t, 1)
	l := g.Loops()[0]
	stop, spins := false, 0
	l.Post(func() {
		l.Go(func() {
			for !stop {
				spins++
				l.Running().Yield()
			}
		})
	})
	fired := make(chan struct{})
	l.Post(func() { l.After(5*time.Millisecond, func() { close(fired) }) })
	within(t, "a timer", fired)
	do(t, l, func() { l.Await(func() {}) })
	if look(t, l, func() bool { stop = true; return spins == 0 }) {
		t.Error("the loop was not busy at all")
	}
}
