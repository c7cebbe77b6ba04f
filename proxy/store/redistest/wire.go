package redistest

import (
	"net"
	"sync"
	"testing"
)

// Wire is a TCP connection between us and a server that can be held up.
type Wire struct {
	l    net.Listener
	to   string
	mu   sync.Mutex
	free *sync.Cond
	held bool
	done bool
	open map[net.Conn]bool
	work sync.WaitGroup
}

// NewWire forwards to an address until the test ends.
func NewWire(t testing.TB, to string) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{l: l, to: to, open: map[net.Conn]bool{}}
	w.free = sync.NewCond(&w.mu)
	w.work.Go(w.accept)
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		w.done = true
		for c := range w.open {
			_ = c.Close()
		}
		w.free.Broadcast()
		w.mu.Unlock()
		w.work.Wait()
	})
	return w
}

// Addr is its near end.
func (w *Wire) Addr() string { return w.l.Addr().String() }

// Hold lets nothing through, in either direction, and closes nothing: what a
// server that hangs, or a network that swallows packets, looks like.
func (w *Wire) Hold() { w.set(true) }

// Release lets everything through again, what was held up first.
func (w *Wire) Release() { w.set(false) }

func (w *Wire) set(held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = held
	w.free.Broadcast()
}

func (w *Wire) accept() {
	for {
		near, err := w.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.open[near], w.open[far] = true, true
		w.mu.Unlock()
		w.work.Go(func() { w.copy(far, near) })
		w.work.Go(func() { w.copy(near, far) })
	}
}

func (w *Wire) copy(to, from net.Conn) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
		w.mu.Lock()
		delete(w.open, from)
		w.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		for w.held && !w.done {
			w.free.Wait()
		}
		w.mu.Unlock()
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
