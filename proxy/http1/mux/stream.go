package mux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"lintel.dev/lintel/proxy/http1/loop"
)

// ErrRefused says that nothing of what was written since the stream was idle was
// looked at, or even sent: it may be sent again elsewhere, whatever it is.
var ErrRefused = errors.New("mux: nothing was sent, or the other side has refused it")

var (
	errReset  = fmt.Errorf("mux: the other side has closed the stream: %w", syscall.EPIPE)
	errEnded  = fmt.Errorf("mux: writing behind the end: %w", syscall.EPIPE)
	errNoTask = errors.New("mux: this would wait, which only a task can")
	errInUse  = errors.New("mux: another task is waiting in the same call")
)

// Handler is what a stream's owner does with it; compare loop.Handler.
type Handler interface {
	// Ready runs as a task when an idle stream has something to read. It reports
	// whether the stream shall be idle again; if not it has closed it, or given it
	// to somebody.
	Ready(*Stream) (idle bool)
	// Hangup runs on the loop when the other side has ended its half, and again
	// when it has left, while the stream is busy.
	Hangup(*Stream)
	// Expired runs on the loop when the deadline of an idle stream has passed. It
	// closes the stream or sets another deadline.
	Expired(*Stream)
}

// The states of a stream.
const (
	busy uint8 = iota
	idle
	gone // its owner has closed it
)

// Stream is a connection beside others. As with loop.Conn, Close, Refuse and the
// deadlines are for any goroutine, everything else is for tasks of its loop, at
// most one reading and one writing at a time.
type Stream struct {
	s       *Session
	id      uint32 // 0: nothing was written yet
	state   uint8
	handler Handler

	in      store
	want    []byte // of the reader that waits
	got     int    // bytes of want that have come
	allowed int    // bytes the other side may still send
	read    int    // bytes it has not been told of yet that it may send again
	ended   bool   // its half
	reset   bool   // it has left
	refused bool   // without having looked

	credit     int    // bytes we may still send
	wrote      bool   // since it was idle
	from       uint64 // what Session.out.put was when it first did
	finished   bool   // our half
	left       bool   // we have left, and discard what still comes
	queued     bool   // among those who wait for room to write
	let        bool   // and may write now
	nextWriter *Stream

	reader, writer *loop.Task // waiting
	clock          clock

	// What other goroutines touch.
	readBy, writeBy atomic.Int64 // deadlines since epoch; 0: none
	waits           atomic.Uint32
	closed          atomic.Uint32 // 1 and the code of RESET
}

func (s *Session) newStream() *Stream {
	st := &Stream{s: s, allowed: Window, credit: Window}
	st.clock.review = st.review
	if s.live++; s.live == 1 {
		s.rest()
	}
	return st
}

// Loop is where the stream lives.
func (st *Stream) Loop() *loop.Loop { return st.s.loop }

// SetHandler says who is told of what happens to the stream.
func (st *Stream) SetHandler(h Handler) { st.handler = h }

// Hung reports whether the other side has ended its half, and whether it has
// left, even if there are bytes left to read.
func (st *Stream) Hung() (half, dead bool) {
	dead = st.reset || st.s.err != nil
	return st.ended || dead, dead
}

// deliver takes data that has come.
func (st *Stream) deliver(b []byte) {
	if st.left {
		return
	}
	if st.reader != nil && st.in.n == 0 {
		n := copy(st.want[st.got:], b)
		st.got += n
		b = b[n:]
	}
	st.in.write(b)
	st.stir()
}

// stir has somebody look who waits for what comes.
func (st *Stream) stir() {
	switch {
	case st.state == idle && st.closed.Load() == 0:
		st.state = busy
		st.s.loop.Start(st)
	case st.reader != nil:
		st.reader.Wake()
	}
}

// end takes in that the other side's half is over, left too if it reads no more.
func (st *Stream) end(left bool) {
	st.ended = true
	if st.over() {
		return
	}
	if left {
		st.wakeWriter()
	}
	st.hungUp()
}

// lost ends a stream whose session is over.
func (st *Stream) lost() {
	if st.s.turned && st.id > st.s.taken {
		st.refused = true
	}
	st.wakeWriter()
	st.hungUp()
}

func (st *Stream) hungUp() {
	told := st.state == busy
	st.stir()
	if told && st.handler != nil {
		st.handler.Hangup(st)
	}
}

// over forgets a stream that both sides have ended, though its owner may still
// have it.
func (st *Stream) over() bool {
	if !st.ended || !st.finished {
		return false
	}
	delete(st.s.streams, st.id)
	return st.state == gone
}

// CloseWrite ends our half.
func (st *Stream) CloseWrite() error {
	switch {
	case st.closed.Load() != 0:
		return net.ErrClosed
	case st.s.err != nil:
		return st.s.err
	case !st.finished:
		st.finish()
	}
	return nil
}

func (st *Stream) finish() {
	st.say()
	st.finished = true
	st.s.frame(header{kind: dataFrame, fin: true, stream: st.id}, nil)
	st.over()
}

// Close closes the stream; whoever waits in it gets net.ErrClosed. The other side
// may read what was written, then it finds the end.
func (st *Stream) Close() error { return st.close(codeClosed) }

// Refuse is Close, and says that nothing was looked at of what the other side has
// sent since it was answered last.
func (st *Stream) Refuse() error { return st.close(codeRefused) }

func (st *Stream) close(code uint32) error {
	if !st.closed.CompareAndSwap(0, 1+code) {
		return net.ErrClosed
	}
	st.s.loop.Post(st.clock.review)
	return nil
}

// leave does what Close asks for, on the loop.
func (st *Stream) leave() {
	if st.state == gone {
		return
	}
	s := st.s
	code := st.closed.Load() - 1
	st.state, st.left = gone, true
	st.clock.stop()
	st.in.clear()
	switch {
	case st.id == 0:
		s.unsaid--
	case s.err != nil || st.ended && st.finished:
	case st.ended && code == codeClosed:
		st.finish()
	default:
		st.finished = true
		s.word(resetFrame, st.id, code)
		st.over()
	}
	st.stir()
	st.wakeWriter()
	if s.live--; s.live == 0 {
		s.rest()
	}
}

// Doubt says that what was waited for on the stream has not come in time. From any
// goroutine.
func (st *Stream) Doubt() { st.s.loop.Post(st.s.doubt) }

// LocalAddr implements net.Conn.
func (st *Stream) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(st.s.local) }

// RemoteAddr implements net.Conn.
func (st *Stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(st.s.remote) }

// LocalAddrPort is LocalAddr without an allocation.
func (st *Stream) LocalAddrPort() netip.AddrPort { return st.s.local }

// RemoteAddrPort is RemoteAddr without an allocation.
func (st *Stream) RemoteAddrPort() netip.AddrPort { return st.s.remote }

// usable is why a read or write must not be tried.
func (st *Stream) usable(deadline *atomic.Int64) error {
	if st.closed.Load() != 0 {
		return net.ErrClosed
	}
	if d := deadline.Load(); d != 0 && d <= since(st.s.loop.Now()) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

var _ net.Conn = (*Stream)(nil)
