//go:build linux

package loop

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// spliceAll moves everything.
func spliceAll(t *testing.T, dst, src *Conn) (sum int64) {
	for {
		n, err := Splice(dst, src, 1<<40, nil)
		if sum += int64(n); err == io.EOF {
			return sum
		}
		if err != nil || n == 0 {
			t.Errorf("moved %d bytes, then %d, %v", sum, n, err)
			return sum
		}
	}
}

// A tunnel of two splices passes bytes both ways, unchanged, and passes on the
// end of each half.
func TestSpliceTunnel(t *testing.T) {
	g := newGroup(t, 1)
	backend := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		_, _ = io.Copy(c, c)
		_ = c.CloseWrite()
		_ = c.Close()
		return false
	}}))
	var moved [2]int64
	over := make(chan struct{}, 1)
	front := serve(t, g, always(&funcs{ready: func(c *Conn) bool {
		defer func() { over <- struct{}{} }()
		defer c.Close()
		l := c.Loop()
		up, err := l.Dial(context.Background(), "tcp", backend)
		if err != nil {
			t.Error(err)
			return false
		}
		defer up.Close()
		there := l.Go(func() {
			moved[0] = spliceAll(t, up, c)
			_ = up.CloseWrite()
		})
		moved[1] = spliceAll(t, c, up)
		there.Join()
		return false
	}}))
	want := make([]byte, 20<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range want {
		want[i] = byte(rnd.Uint32())
	}
	nc := dial(t, front)
	go func() {
		_, _ = nc.Write(want)
		_ = nc.CloseWrite()
	}()
	got, err := io.ReadAll(nc)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
		t.Fatalf("%d bytes came back, %v; want the %d that were sent", len(got), err, len(want))
	}
	within(t, "the tunnel to end", over)
	if moved != [2]int64{int64(len(want)), int64(len(want))} {
		t.Errorf("moved %d", moved)
	}
	// One suffices where no receiver makes the other direction wait.
	if n := look(t, g.Loops()[0], func() int { return len(g.Loops()[0].pipes) }); n < 1 || n > 2 {
		t.Errorf("%d pipes are kept, want the 1 or 2 that were used", n)
	}
}

// What there is, a deadline, and a Close while it waits, for which no pipe is held.
func TestSpliceLimits(t *testing.T) {
	g := newGroup(t, 2)
	from, fromPeer := accepted(t, g)
	var to *Conn
	var toPeer net.Conn
	var other *Conn
	for to == nil || other == nil {
		c, peer := accepted(t, g)
		if c.Loop() == from.Loop() {
			to, toPeer = c, peer
		} else {
			other = c
		}
	}
	errs := make(chan error, 1)
	do(t, from.Loop(), func() {
		if _, err := Splice(other, from, 1<<40, nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("between loops: %v", err)
		}
		_, _ = fromPeer.Write([]byte("0123456789"))
		if n, err := Splice(to, from, 1<<40, nil); n != 10 || err != nil {
			t.Errorf("moved %d, %v; want 10", n, err)
		}
		_ = from.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := Splice(to, from, 1<<40, nil); n != 0 || !isTimeout(err) {
			t.Errorf("moved %d, %v; want a timeout", n, err)
		}
		_ = from.SetReadDeadline(time.Time{})
	})
	from.Loop().Post(func() {
		from.Loop().Go(func() {
			_, err := Splice(to, from, 1<<40, nil)
			errs <- err
		})
	})
	eventually(t, "it waits", func() bool { return from.waits.Load() != 0 })
	if n := look(t, from.Loop(), func() int { return len(from.Loop().pipes) }); n != 1 {
		t.Errorf("%d pipes are kept while it waits, want the one that was used", n)
	}
	_ = from.Close()
	if err := within(t, "Splice to end", errs); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
	_ = to.Close()
	if b, _ := io.ReadAll(toPeer); string(b) != "0123456789" {
		t.Errorf("the other side got %q", b)
	}
}
