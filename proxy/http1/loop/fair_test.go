//go:build linux

package loop

import (
	"io"
	"testing"
)

// observe runs next to f and returns the most that n grew between two turns of
// a task that only yields.
func observe(l *Loop, n *int, f func()) (most int) {
	done := false
	l.Go(func() { f(); done = true })
	for last := *n; !done; {
		l.Running().Yield()
		most = max(most, *n-last)
		last = *n
	}
	return most
}

// Sockets that are always ready hold nobody up for longer than a share.
func TestFairness(t *testing.T) {
	g := newGroup(t, 1)
	c, nc := accepted(t, g)
	const total = 64 << 20
	go func() { _, _ = nc.Write(make([]byte, total)) }()
	do(t, c.Loop(), func() {
		got := 0
		most := observe(c.Loop(), &got, func() {
			b := make([]byte, 4096)
			for got < total {
				n, err := c.Read(b)
				if err != nil {
					t.Error(err)
					return
				}
				got += n
			}
		})
		if got != total || most > share+4096 {
			t.Errorf("read %d bytes, %d of them in one turn; want %d and at most %d", got, most, total, share+4096)
		}
	})
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	do(t, c.Loop(), func() {
		sent := 0
		most := observe(c.Loop(), &sent, func() {
			for sent < total {
				n, err := c.Write(make([]byte, 4096))
				if err != nil {
					t.Error(err)
					return
				}
				sent += n
			}
		})
		if sent != total || most > share+4096 {
			t.Errorf("sent %d bytes, %d of them in one turn; want %d and at most %d", sent, most, total, share+4096)
		}
	})
}

// Who has moved 64 KB lets others run before its next call: that is what a small
// request beside a large body waits for.
func TestOneLargePieceATurn(t *testing.T) {
	g := newGroup(t, 1)
	c, nc := accepted(t, g)
	go func() {
		b := make([]byte, 1<<20)
		for {
			if _, err := nc.Write(b); err != nil {
				return
			}
		}
	}()
	l := c.Loop()
	do(t, l, func() {
		turns, over := 0, false
		l.Go(func() {
			for ; !over; turns++ {
				l.Running().Yield()
			}
		})
		for turns == 0 { // its first does not count
			l.Running().Yield()
		}
		b := make([]byte, 64<<10)
		for whole := 0; whole < 20; {
			n, err := c.Read(b)
			if err != nil {
				t.Error(err)
				break
			}
			if n < len(b) {
				continue // the next one waits in any case
			}
			whole++
			before := turns
			if _, err = c.Read(b[:1]); err != nil || turns == before {
				t.Errorf("after %d bytes nobody else had a turn (%v)", n, err)
				break
			}
		}
		over = true
	})
	_ = c.Close()
}

// Many small calls count as well.
func TestFairnessOfSmallCalls(t *testing.T) {
	g := newGroup(t, 1)
	c, nc := accepted(t, g)
	const total = 20000
	go func() { _, _ = nc.Write(make([]byte, total)) }()
	do(t, c.Loop(), func() {
		calls := 0
		most := observe(c.Loop(), &calls, func() {
			b := make([]byte, 1)
			for ; calls < total; calls++ {
				if _, err := c.Read(b); err != nil {
					t.Error(err)
					return
				}
			}
		})
		if limit := share/callCost + 1; calls != total || most > limit {
			t.Errorf("%d calls, %d in one turn; want %d and at most %d", calls, most, total, limit)
		}
	})
}

// A small request beside a flood gets its answer though the flood never ends.
func TestSmallBesideFlood(t *testing.T) {
	g := newGroup(t, 1)
	addr := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		for echo(c) {
		}
		return false
	}}))
	for range 3 {
		flood := dial(t, addr)
		go func() {
			b := make([]byte, 256<<10)
			for {
				if _, err := flood.Write(b); err != nil {
					return
				}
			}
		}()
		go func() { _, _ = io.Copy(io.Discard, flood) }()
	}
	small := dial(t, addr)
	for range 200 {
		_, _ = small.Write([]byte("x"))
		if _, err := io.ReadFull(small, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}
