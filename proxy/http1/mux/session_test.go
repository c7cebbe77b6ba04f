//go:build linux

package mux

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/http1/loop"
)

// All that many streams write in a turn goes out in one piece.
func TestOneTurnIsSentAtOnce(t *testing.T) {
	d, ends := pair(t, always(ready(echo)))
	var streams []*Stream
	do(t, d.loop, func() {
		for range 50 {
			st := d.Open()
			if _, err := st.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
			streams = append(streams, st)
		}
		if n := d.wire.sends.Load(); n != 0 {
			t.Errorf("sent %d times before the end of the turn", n)
		}
	})
	do(t, d.loop, func() {
		for _, st := range streams {
			var b [5]byte
			if _, err := io.ReadFull(st, b[:]); err != nil || string(b[:]) != "hello" {
				t.Errorf("%q, %v", b, err)
			}
		}
	})
	if n := d.wire.sends.Load(); n != 1 {
		t.Errorf("50 streams of a turn were sent in %d pieces", n)
	}
	a := within(t, "the other end", ends)
	if n := a.wire.sends.Load(); n > 10 {
		t.Errorf("50 answers were sent in %d pieces", n)
	}
}

// Much more than a window, both ways at once, on several streams, then both ends.
func TestLargeBothWaysAtOnce(t *testing.T) {
	body := make([]byte, 1<<20+12345)
	_, _ = rand.Read(body)
	d, ends := pair(t, always(ready(func(st *Stream) bool {
		l := st.s.loop
		sent := l.Go(func() {
			if _, err := st.Write(body); err != nil {
				t.Error(err)
			}
			_ = st.CloseWrite()
		})
		got, err := io.ReadAll(st)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		sent.Join()
		_ = st.Close()
		return false
	})))
	do(t, d.loop, func() {
		var all []*loop.Task
		for range 5 {
			st := d.Open()
			all = append(all, d.loop.Go(func() {
				sent := d.loop.Go(func() {
					if _, err := st.Write(body); err != nil {
						t.Error(err)
					}
					_ = st.CloseWrite()
				})
				got, err := io.ReadAll(st)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				sent.Join()
				_ = st.Close()
			}))
		}
		for _, task := range all {
			task.Join()
		}
	})
	a := within(t, "the other end", ends)
	for _, e := range []*end{d, a} {
		eventually(t, "all streams are over", func() bool {
			return look(t, e.loop, func() bool { return len(e.streams) == 0 && e.live == 0 && e.unsaid == 0 })
		})
	}
}

func TestHalfClose(t *testing.T) {
	d, _ := pair(t, always(ready(func(st *Stream) bool {
		all, err := io.ReadAll(st) // until the other side's half ends
		if half, dead := st.Hung(); err != nil || !half || dead {
			t.Errorf("%v, half %v, dead %v", err, half, dead)
		}
		_, _ = st.Write(append([]byte("got "), all...))
		_ = st.Close()
		return false
	})))
	do(t, d.loop, func() {
		st := d.Open()
		_, _ = st.Write([]byte("this"))
		if err := st.CloseWrite(); err != nil {
			t.Error(err)
		}
		if _, err := st.Write([]byte("more")); err == nil {
			t.Error("written behind the end")
		}
		if all, err := io.ReadAll(st); string(all) != "got this" || err != nil {
			t.Errorf("%q, %v", all, err)
		}
	})
}

// Whoever does not read stops his own stream and no other, and never gets more
// than a window.
func TestSlowReaderStopsNobodyElse(t *testing.T) {
	var held *Stream
	d, ends := pair(t, func(st *Stream) Handler {
		if held == nil {
			held = st
			return ready(func(*Stream) bool { return false }) // busy for ever, reading nothing
		}
		return ready(echo)
	})
	var stuck *Stream
	wrote := make(chan error, 1)
	do(t, d.loop, func() {
		stuck = d.Open()
		d.loop.Go(func() {
			_, err := stuck.Write(make([]byte, 4*Window))
			wrote <- err
		})
	})
	a := within(t, "the other end", ends)
	eventually(t, "a window is full", func() bool { return look(t, a.loop, func() bool { return held.in.n == Window }) })
	do(t, d.loop, func() {
		st := d.Open()
		b := make([]byte, 100)
		for range 1000 {
			if _, err := st.Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(st, b); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n := look(t, a.loop, func() int { return held.in.n }); n != Window {
		t.Errorf("the slow reader was given %d bytes", n)
	}
	_ = stuck.SetWriteDeadline(time.Unix(1, 0))
	if err := within(t, "the writer", wrote); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("its deadline says %v", err)
	}
}

// Small requests are answered while a large answer is on its way, on a socket
// that is slow enough to be full all the time.
func TestLargeAnswerStarvesNobody(t *testing.T) {
	const large = 64 << 20
	d, _ := pair(t, always(ready(func(st *Stream) bool {
		var b [1]byte
		if _, err := st.Read(b[:]); err != nil {
			_ = st.Close()
			return false
		}
		n := 1
		if b[0] == 'L' {
			n = large
		}
		_, err := st.Write(make([]byte, n))
		return err == nil
	})))
	over := make(chan struct{})
	do(t, d.loop, func() {
		st := d.Open()
		_, _ = st.Write([]byte("L"))
		d.loop.Go(func() {
			defer close(over)
			n, err := io.Copy(io.Discard, io.LimitReader(st, large))
			if n != large || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	})
	answered, most := 0, time.Duration(0)
	do(t, d.loop, func() {
		st := d.Open()
		b := make([]byte, 1)
		for running := true; running; {
			began := time.Now()
			if _, err := st.Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := st.Read(b); err != nil {
				t.Fatal(err)
			}
			answered++
			most = max(most, time.Since(began))
			select {
			case <-over:
				running = false
			default:
			}
		}
	})
	t.Logf("%d answers, the slowest after %s", answered, most)
	if answered < 20 {
		t.Errorf("only %d small answers beside one of %d MB", answered, large>>20)
	}
}

// When the session dies, so do its streams; but what was never sent says so.
func TestSessionDies(t *testing.T) {
	d, ends := pair(t, always(ready(echo)))
	var waiting *Stream
	errs := make(chan error, 1)
	hung := make(chan struct{})
	do(t, d.loop, func() {
		waiting = d.Open()
		waiting.SetHandler(&funcs{hangup: func(*Stream) { close(hung) }})
		_, _ = waiting.Write([]byte("x"))
		_, _ = waiting.Read(make([]byte, 1))
		d.loop.Go(func() {
			_, err := waiting.Read(make([]byte, 1))
			errs <- err
		})
	})
	a := within(t, "the other end", ends)
	idle := make(chan struct{})
	do(t, d.loop, func() {
		st := d.Open()
		st.SetHandler(ready(func(st *Stream) bool { close(idle); _ = st.Close(); return false }))
		_, _ = st.Write([]byte("x"))
		_, _ = st.Read(make([]byte, 1))
		st.Idle(time.Time{})
	})
	a.Cut()
	var lost *LostError
	if err := within(t, "the reader", errs); !errors.As(err, &lost) || !errors.Is(err, io.EOF) {
		t.Errorf("reading says %v", err)
	}
	within(t, "Hangup", hung)
	within(t, "the idle stream's Ready", idle)
	within(t, "the end", d.ended)
	do(t, d.loop, func() {
		if half, dead := waiting.Hung(); !half || !dead {
			t.Error("it is not known to be dead")
		}
		if _, err := waiting.Write([]byte("x")); !errors.As(err, &lost) {
			t.Errorf("writing says %v", err)
		}
		if d.Open() != nil {
			t.Error("a dead session opens streams")
		}
	})
}

func TestWhatWasNeverSentIsRefused(t *testing.T) {
	d, _ := pair(t, always(ready(echo)))
	do(t, d.loop, func() {
		used, fresh := d.Open(), d.Open()
		_, _ = used.Write([]byte("x"))
		_, _ = used.Read(make([]byte, 1))
		used.Idle(time.Time{})
		if !used.Busy() {
			t.Error("an idle stream cannot be used")
		}
		_, _ = used.Write([]byte("in this turn"))
		_, _ = fresh.Write([]byte("in this turn"))
		d.fail(io.EOF) // before it ends
		for _, st := range []*Stream{used, fresh} {
			if _, err := st.Read(make([]byte, 1)); !errors.Is(err, ErrRefused) {
				t.Errorf("what was never sent fails with %v", err)
			}
		}
	})
}

// Nobody runs and no memory is lent while nothing is on its way.
func TestIdleHoldsNothing(t *testing.T) {
	d, ends := pair(t, always(ready(echo)))
	var woken atomic.Int64
	before := 0
	for range MaxStreams {
		do(t, d.loop, func() {
			st := d.Open()
			st.SetHandler(ready(func(*Stream) bool { woken.Add(1); return false }))
			if _, err := st.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			_, _ = st.Read(make([]byte, 1))
			st.Idle(time.Time{})
		})
		if before == 0 {
			before = runtime.NumGoroutine()
		}
	}
	a := within(t, "the other end", ends)
	eventually(t, "no goroutine for any of 128 idle streams", func() bool { return runtime.NumGoroutine() <= before })
	for _, e := range []*end{d, a} {
		holds := look(t, e.loop, func() bool {
			holds := e.out.head != nil || e.out.waiting() || e.in.stream != nil || len(e.streams) != MaxStreams
			for _, st := range e.streams {
				holds = holds || st.in.head != nil || st.state != idle || st.want != nil
			}
			return holds
		})
		if holds {
			t.Error("something is held")
		}
	}
	if n := woken.Load(); n > 0 {
		t.Errorf("%d idle streams were woken", n)
	}
}

// A session without streams ends after a while, in good order.
func TestUnusedSessionEnds(t *testing.T) {
	address, ends := accepting(t, Config{Accept: always(ready(echo)), Idle: time.Minute})
	d := dialling(t, address, Config{Idle: 20 * time.Millisecond})
	do(t, d.loop, func() {
		st := d.Open()
		_, _ = st.Write([]byte("x"))
		_, _ = st.Read(make([]byte, 1))
		_ = st.Close()
	})
	if err := within(t, "the end", d.ended); !errors.Is(err, errNoStream) {
		t.Errorf("it ended by %v", err)
	}
	within(t, "the other side's end", within(t, "the other end", ends).ended)

	address, ends = accepting(t, Config{Accept: always(ready(echo)), Idle: 20 * time.Millisecond})
	d = dialling(t, address, Config{Idle: time.Minute})
	do(t, d.loop, func() {
		st := d.Open()
		_, _ = st.Write([]byte("x"))
		_, _ = st.Read(make([]byte, 1))
		_ = st.Close()
	})
	within(t, "the end", d.ended)
	if err := within(t, "the other side's end", within(t, "the other end", ends).ended); err != io.EOF {
		t.Errorf("the accepting side ended by %v: it should have waited for ours", err)
	}
	if !d.left.Load() {
		t.Error("the dialling side was not told before")
	}
}

// Drain lets what has begun go on, refuses what has not, and then ends.
func TestDrain(t *testing.T) {
	d, ends := pair(t, always(ready(echo)))
	var old, fresh *Stream
	do(t, d.loop, func() {
		old, fresh = d.Open(), d.Open()
		_, _ = old.Write([]byte("x"))
		_, _ = old.Read(make([]byte, 1))
	})
	a := within(t, "the other end", ends)
	a.Drain()
	eventually(t, "the dialling side knows", d.left.Load)
	do(t, d.loop, func() {
		if d.Open() != nil {
			t.Error("a new stream")
		}
		if _, err := fresh.Write([]byte("x")); !errors.Is(err, ErrRefused) {
			t.Errorf("a stream that the other side has not heard of says %v", err)
		}
		_ = fresh.Close()
		if _, err := old.Write([]byte("y")); err != nil {
			t.Error(err)
		}
		var b [1]byte
		if _, err := old.Read(b[:]); err != nil || b[0] != 'y' {
			t.Errorf("%q, %v", b, err)
		}
		_ = old.Close()
	})
	within(t, "the end", d.ended)
	within(t, "the other side's end", a.ended)
}

// Both sides know how many streams there are: the dialling one opens as many as
// are let in, again and again, and none is refused.
func TestAsManyStreamsAsAllowed(t *testing.T) {
	d, _ := pair(t, always(ready(echo)))
	do(t, d.loop, func() {
		for range 20 {
			var all []*Stream
			for {
				st := d.Open()
				if st == nil {
					break
				}
				all = append(all, st)
			}
			if len(all) == 0 {
				d.loop.Running().Yield() // until the other side has ended them, too
				d.loop.Await(func() { time.Sleep(time.Millisecond) })
				continue
			}
			for _, st := range all {
				_, _ = st.Write([]byte("x"))
			}
			for _, st := range all {
				if _, err := st.Read(make([]byte, 1)); err != nil {
					t.Errorf("of %d streams one says %v", len(all), err)
				}
				_ = st.Close()
			}
		}
	})
}

func TestStreamDeadlines(t *testing.T) {
	d, _ := pair(t, always(ready(func(*Stream) bool { return false })))
	expired := make(chan struct{})
	do(t, d.loop, func() {
		st := d.Open()
		_, _ = st.Write([]byte("x"))
		_ = st.SetReadDeadline(d.loop.Now().Add(10 * time.Millisecond))
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading says %v", err)
		}
		_ = st.SetReadDeadline(d.loop.Now().Add(time.Hour))
		go func() { _ = st.SetDeadline(time.Unix(1, 0)) }()
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading says %v", err)
		}
		_ = st.SetDeadline(time.Time{})
		go func() { _ = st.Close() }()
		if _, err := st.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading says %v", err)
		}
		other := d.Open()
		_, _ = other.Write([]byte("x"))
		other.SetHandler(&funcs{expired: func(st *Stream) { _ = st.Close(); close(expired) }})
		other.Idle(d.loop.Now().Add(10 * time.Millisecond))
	})
	within(t, "Expired", expired)
}

// A panic costs its stream and nothing else.
func TestPanicCostsItsStream(t *testing.T) {
	d, _ := pair(t, always(ready(func(st *Stream) bool {
		var b [1]byte
		_, err := st.Read(b[:])
		if b[0] == 'p' {
			panic("asked to")
		}
		_, _ = st.Write(b[:])
		return err == nil
	})))
	do(t, d.loop, func() {
		bad, good := d.Open(), d.Open()
		_, _ = bad.Write([]byte("p"))
		if _, err := bad.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("reading says %v", err)
		}
		_, _ = good.Write([]byte("g"))
		if _, err := good.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	})
}
