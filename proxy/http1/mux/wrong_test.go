//go:build linux

package mux

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func word(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }

func (r *raw) word(k kind, stream, v uint32) {
	r.send(header{kind: k, stream: stream, length: wordSize}, word(v))
}

// What the other side must not do ends the connection, for the reason given.
func TestWrongIsCutOff(t *testing.T) {
	full := strings.Repeat("x", dataMost)
	for name, c := range map[string]struct {
		does func(*raw)
		says string
	}{
		"unknown type":             {func(r *raw) { _, _ = r.Write([]byte{9, 0, 0, 0, 0, 0, 0, 1}) }, "type 9"},
		"too long a frame":         {func(r *raw) { _, _ = r.Write([]byte{1, 0, 0xff, 0xff, 0, 0, 0, 1}) }, "65535 bytes"},
		"even stream":              {func(r *raw) { r.data(2, "x") }, "stream 2"},
		"falling stream":           {func(r *raw) { r.data(5, "x"); r.data(3, "x") }, "stream 3"},
		"stream used again":        {func(r *raw) { r.over(1); r.data(1, "x") }, "stream 1"},
		"data behind the end":      {func(r *raw) { r.send(header{kind: dataFrame, fin: true, stream: 1}, ""); r.data(1, "x") }, "behind the end"},
		"data behind a reset":      {func(r *raw) { r.data(1, "x"); r.word(resetFrame, 1, 0); r.data(1, "x") }, "stream 1"},
		"second reset":             {func(r *raw) { r.data(1, "x"); r.word(resetFrame, 1, 0); r.word(resetFrame, 1, 0) }, "second reset"},
		"unknown reset":            {func(r *raw) { r.data(1, "x"); r.word(resetFrame, 1, 7) }, "code 7"},
		"window of a new stream":   {func(r *raw) { r.word(windowFrame, 1, 1) }, "not begun"},
		"window of nothing":        {func(r *raw) { r.data(1, "x"); r.word(windowFrame, 1, 0) }, "window of 0"},
		"window unasked for":       {func(r *raw) { r.data(1, "x"); r.word(windowFrame, 1, 1) }, "window of 1"},
		"window beyond all bounds": {func(r *raw) { r.data(1, "x"); r.word(windowFrame, 1, 1<<32-1) }, "window of 4294967295"},
		"goaway to who accepts":    {func(r *raw) { r.word(goAwayFrame, 0, 0) }, "GOAWAY"},
		"more than the window": {func(r *raw) {
			for range Window/dataMost + 1 {
				r.data(1, full)
			}
		}, "allowed for"},
		"empty frames": {func(r *raw) {
			for range oddMost + 2 {
				r.data(1, "")
			}
		}, "empty"},
		"many resets": {func(r *raw) {
			for i := range uint32(oddMost + 2) {
				r.data(2*i+1, "x")
				r.word(resetFrame, 2*i+1, 0)
			}
		}, "resets"},
		"too many streams": {func(r *raw) {
			for i := range uint32(2*MaxStreams + 1) {
				r.data(2*i+1, "x")
			}
		}, "more than 256 streams"},
	} {
		t.Run(name, func(t *testing.T) {
			// Its exchanges go on for as long as they like.
			address, ends := accepting(t, Config{Accept: always(ready(func(*Stream) bool { return false }))})
			r := rawTo(t, address)
			c.does(r)
			var wrong *ProtocolError
			if err := within(t, "the end", within(t, "the accepting end", ends).ended); !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it ended by %v, which should say %q", err, c.says)
			}
			for {
				if _, _, ok := r.next(); !ok {
					break // cut off
				}
			}
		})
	}
}

// over makes a stream that is over on both sides.
func (r *raw) over(stream uint32) {
	r.data(stream, "x")
	r.word(resetFrame, stream, 0)
	time.Sleep(20 * time.Millisecond) // either way it is wrong to use it again
}

// rawDialled is a session that has dialled us.
func rawDialled(t *testing.T) (*end, *raw) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := dialling(t, l.Addr().String(), Config{})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return d, rawOn(t, c)
}

func TestWrongFromWhoAccepts(t *testing.T) {
	for name, c := range map[string]struct {
		does func(*raw)
		says string
	}{
		"a stream of its own": {func(r *raw) { r.data(3, "x") }, "stream 3"},
		"goaway twice":        {func(r *raw) { r.word(goAwayFrame, 0, 1); r.word(goAwayFrame, 0, 1) }, "GOAWAY again"},
	} {
		t.Run(name, func(t *testing.T) {
			d, r := rawDialled(t)
			do(t, d.loop, func() { _, _ = d.Open().Write([]byte("x")) })
			c.does(r)
			var wrong *ProtocolError
			if err := within(t, "the end", d.ended); !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it ended by %v, which should say %q", err, c.says)
			}
		})
	}
}

// A stream too many is refused, and nothing else happens.
func TestTooManyStreamsAreRefused(t *testing.T) {
	address, _ := accepting(t, Config{Accept: always(ready(func(*Stream) bool { return false }))})
	r := rawTo(t, address)
	for i := range uint32(MaxStreams + 1) {
		r.data(2*i+1, "x")
	}
	if p := r.want(resetFrame, 2*MaxStreams+1); string(p) != word(codeRefused) {
		t.Errorf("the stream too many was reset with %x", p)
	}
	r.word(resetFrame, 2*MaxStreams+1, 0) // it owes its own end
	r.data(1, "more")
	r.word(resetFrame, 1, 0)
}

// What a dialling side has sent and the other has refused may be sent again.
func TestRefusedStreamsSaySo(t *testing.T) {
	d, r := rawDialled(t)
	for _, after := range []string{"", "an answer"} {
		do(t, d.loop, func() {
			st := d.Open()
			defer st.Close()
			_, _ = st.Write([]byte("x"))
			d.loop.Await(func() {
				if after != "" {
					r.data(st.id, after)
				}
				r.word(resetFrame, st.id, codeRefused)
			})
			if after != "" {
				b := make([]byte, 20)
				if n, err := st.Read(b); string(b[:n]) != after || err != nil {
					t.Errorf("%q, %v before the end", b[:n], err)
				}
			}
			if _, err := st.Read(make([]byte, 1)); !errors.Is(err, ErrRefused) {
				t.Errorf("reading says %v", err)
			}
			if _, err := st.Write([]byte("x")); !errors.Is(err, ErrRefused) {
				t.Errorf("writing says %v", err)
			}
		})
	}
}

// What waits for a side that takes nothing is bounded, and the writers wait.
func TestNothingIsTaken(t *testing.T) {
	d, r := rawDialled(t)
	errs := make(chan error, MaxStreams)
	do(t, d.loop, func() {
		for range MaxStreams {
			st := d.Open()
			_ = st.SetWriteDeadline(d.loop.Now().Add(300 * time.Millisecond))
			d.loop.Go(func() {
				_, err := st.Write(make([]byte, Window))
				if err == nil { // it was among the first
					_, err = st.Write([]byte("x"))
				}
				errs <- err
			})
		}
	})
	most := 0
	for len(errs) < MaxStreams {
		most = max(most, look(t, d.loop, func() int { return d.out.n }))
		time.Sleep(time.Millisecond)
	}
	if most > queueMost+frameMost {
		t.Errorf("%d bytes wait", most)
	}
	if most < queueMost/2 {
		t.Errorf("only %d bytes wait: this checks nothing", most)
	}
	for range MaxStreams {
		if err := <-errs; !isTimeout(err) {
			t.Errorf("a writer says %v", err)
		}
	}
	if n := look(t, d.loop, func() int { return d.out.let }); n != 0 || look(t, d.loop, func() bool { return d.out.writers.head != nil }) {
		t.Errorf("%d writers are still let in, or wait", n)
	}
	_ = r.Close()
	within(t, "the end", d.ended)
}

// A side that takes nothing for too long is given up, even if nobody else minds.
func TestStallEndsTheSession(t *testing.T) {
	d, _ := rawDialled(t)
	do(t, d.loop, func() {
		d.stall = 50 * time.Millisecond
		for range MaxStreams {
			st := d.Open()
			d.loop.Go(func() { _, _ = st.Write(make([]byte, Window)) })
		}
	})
	if err := within(t, "the end", d.ended); !isTimeout(err) {
		t.Errorf("it ended by %v", err)
	}
}

// When the session dies, nobody goes on waiting for room to write, also not on
// streams that the other side has not heard of.
func TestSessionDiesBeneathWriters(t *testing.T) {
	d, r := rawDialled(t)
	errs := make(chan error, MaxStreams)
	do(t, d.loop, func() {
		for range MaxStreams {
			st := d.Open()
			d.loop.Go(func() {
				_, err := st.Write(make([]byte, Window))
				if err == nil {
					_, err = st.Write([]byte("x"))
				}
				errs <- err
			})
		}
	})
	eventually(t, "writers wait on streams that have no number", func() bool {
		return look(t, d.loop, func() bool { return d.unsaid > 0 && d.out.writers.head != nil && d.out.sending })
	})
	_ = r.Close()
	within(t, "the end", d.ended)
	refused := 0
	for range MaxStreams {
		var lost *LostError
		switch err := within(t, "a writer", errs); {
		case errors.Is(err, ErrRefused):
			refused++
		case !errors.As(err, &lost):
			t.Errorf("a writer says %v", err)
		}
	}
	if refused == 0 {
		t.Error("nobody could tell that nothing was sent")
	}
}

// Who stops in the middle of a record keeps an unused session no longer than it
// may be unused.
func TestHalfARecordEndsWithTheSession(t *testing.T) {
	address, ends := accepting(t, Config{Accept: always(ready(echo)), Idle: 20 * time.Millisecond})
	r := rawTo(t, address)
	r.data(1, "x")
	a := within(t, "the accepting end", ends)
	r.want(dataFrame, 1)
	look(t, a.loop, func() int {
		a.stall, a.wire.least = 50*time.Millisecond, 1<<10
		return 0
	})
	r.word(resetFrame, 1, 0) // and no more: the wire waits for the rest
	look(t, a.loop, func() int {
		for _, st := range a.streams {
			_ = st.Close()
		}
		return 0
	})
	if err := within(t, "the end", a.ended); !isTimeout(err) {
		t.Errorf("it ended by %v", err)
	}
}

// A path that swallows everything costs the session in seconds, not in the
// quarter of an hour that the kernel would take; and before, when somebody has
// waited in vain, only what is in use goes on.
func TestPathThatSwallowsEverything(t *testing.T) {
	d, r := rawDialled(t)
	var st, other *Stream
	do(t, d.loop, func() {
		st, other = d.Open(), d.Open()
		for _, st := range []*Stream{st, other} {
			_, _ = st.Write([]byte("x"))
		}
		other.SetHandler(ready(func(st *Stream) bool { _ = st.Close(); return false }))
		other.Idle(time.Time{})
	})
	r.want(dataFrame, 3)
	st.Doubt()
	if !look(t, d.loop, d.Room) {
		t.Fatal("a path that is fine is doubted")
	}
	swallow(t, r.Conn)
	do(t, d.loop, func() { _, _ = st.Write([]byte("unheard")) })
	eventually(t, "it is sent again", func() bool { return look(t, d.loop, d.raw.Unheard) })
	if d.left.Load() {
		t.Error("it leaves though nobody has complained")
	}
	st.Doubt()
	do(t, d.loop, func() {
		if d.Open() != nil || other.Busy() {
			t.Error("a session that leads nowhere is still used")
		}
		d.raw.LoseAfter(100 * time.Millisecond)
	})
	if err := within(t, "the end", d.ended); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("it ended by %v", err)
	}
}

// swallow has the kernel drop all that arrives for c, acknowledging nothing.
func swallow(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}

// A side that is told of the end and does not end its own is not waited for.
func TestLingeringIsBounded(t *testing.T) {
	address, ends := accepting(t, Config{Accept: always(ready(echo))})
	r := rawTo(t, address)
	r.data(1, "x")
	r.want(dataFrame, 1)
	r.word(resetFrame, 1, 0)
	a := within(t, "the accepting end", ends)
	a.Drain()
	if p := r.want(goAwayFrame, 0); string(p) != word(1) {
		t.Errorf("GOAWAY says %x", p)
	}
	for {
		h, _, ok := r.next()
		if !ok {
			break
		}
		if h.kind != dataFrame || !h.fin || h.stream != 1 {
			t.Errorf("%+v behind GOAWAY", h)
		}
	}
	within(t, "the end, though we have not ended", a.ended)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
