package loop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	errInUse  = errors.New("another task is waiting in the same call")
	errNoTask = errors.New("this would wait, which only a task can")
)

// The states of a connection.
const (
	busy  uint8 = iota
	idle        // nobody uses it: what arrives starts Ready
	gone        // its descriptor is closed
	moved       // its descriptor is somebody else's
)

// Bits of Conn.waits.
const (
	readWaits uint32 = 1 << iota
	writeWaits
)

// Conn is a TCP connection on a loop. Close and the deadlines are for any
// goroutine; everything else is for tasks of its loop, at most one reading and
// one writing at a time, until Detach: from then on it is an ordinary net.Conn.
type Conn struct {
	loop    *Loop
	handler Handler
	fd      int
	slot    uint32
	state   uint8
	// What epoll has said. After a short read or write the socket is known to be
	// drained or full without asking.
	readable, writable bool
	half, dead         bool  // the other side has ended its half; it is over
	reader, writer     *Task // waiting
	idleUntil          int64
	timer              Timer
	local, remote      netip.AddrPort

	// What other goroutines touch.
	readBy, writeBy atomic.Int64 // deadlines since epoch; 0: none
	waits           atomic.Uint32
	closed          atomic.Bool
	outside         atomic.Pointer[net.Conn] // what it was detached to
}

func (l *Loop) newConn(fd int, local, remote netip.AddrPort) *Conn {
	c := &Conn{loop: l, fd: fd, local: local, remote: remote}
	c.timer.loop, c.timer.conn = l, c
	return c
}

// Loop is where the connection lives.
func (c *Conn) Loop() *Loop { return c.loop }

// SetHandler says who is told of what happens to the connection.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// Hung reports whether the other side is known to have ended its half, and
// whether the connection is dead, even if there are bytes left to read.
func (c *Conn) Hung() (half, dead bool) { return c.half || c.dead, c.dead }

// happened takes in an epoll event.
func (c *Conn) happened(e uint32) {
	hung := false
	if e&(unix.EPOLLHUP|unix.EPOLLERR) != 0 && !c.dead {
		c.dead, hung = true, true
	}
	if e&unix.EPOLLRDHUP != 0 && !c.half {
		c.half, hung = true, true
	}
	if e&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.writable = true
		c.wake(&c.writer)
	}
	if e&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
		return
	}
	c.readable = true
	switch {
	case c.closed.Load():
	case c.state == idle:
		c.state = busy
		c.loop.Start((*readyConn)(c))
	default:
		c.wake(&c.reader)
		// Also if somebody reads: there may be bytes before the end, and who gets
		// all of those asked for reads no further.
		if hung && c.handler != nil {
			c.loop.guarded("hangup", func() { c.handler.Hangup(c) })
		}
	}
}

func (c *Conn) wake(t **Task) {
	if *t != nil {
		c.loop.runq.push(*t)
		*t = nil
	}
}

// readyConn is a Conn as what is run when it becomes ready.
type readyConn Conn

// Close implements Runner.
func (r *readyConn) Close() error { return (*Conn)(r).Close() }

// Run implements Runner.
func (r *readyConn) Run() {
	c := (*Conn)(r)
	for c.handler.Ready(c) && c.state == busy && !c.closed.Load() {
		if !c.pendingInput() {
			c.goIdle()
			return
		}
		c.loop.running.Yield()
	}
}

// pendingInput reports whether there is something to read. It only asks the
// kernel if the last read did not tell.
func (c *Conn) pendingInput() bool {
	if c.readable {
		var b [1]byte
		_, errno := recv(c.fd, b[:], unix.MSG_PEEK)
		c.readable = errno != unix.EAGAIN
	}
	return c.readable
}

// Quiet asks the kernel whether nothing has arrived, not even an end: epoll may
// not have told yet. While the connection is busy and nobody reads.
func (c *Conn) Quiet() bool {
	c.readable = true
	return !c.pendingInput()
}

func (c *Conn) goIdle() {
	c.state = idle
	if c.idleUntil != 0 {
		c.timer.link(c.idleUntil)
	}
}

// IdleUntil sets the deadline of the connection's idle times, this one or those
// to come; the zero time is none. On the loop.
func (c *Conn) IdleUntil(t time.Time) {
	c.idleUntil = since(t)
	if c.state == idle && c.idleUntil != 0 {
		c.timer.link(c.idleUntil)
	}
}

// Idle says that nobody uses the connection now; at once if there is something
// to read, later when something arrives, its Ready runs. For connections that
// were dialled and whose Ready has not been called: that one returns true.
func (c *Conn) Idle(until time.Time) {
	c.IdleUntil(until)
	if c.state != busy || c.closed.Load() {
		return
	}
	if c.pendingInput() {
		c.loop.Start((*readyConn)(c))
		return
	}
	c.goIdle()
}

// Busy takes an idle connection into use again. It reports false if that is too
// late: it was closed, has ended, or something unasked for has arrived, as far
// as epoll had said when this turn began. On the loop.
func (c *Conn) Busy() bool {
	if c.state != idle || c.closed.Load() {
		return false
	}
	c.state = busy
	return true
}

// Close closes the connection; whoever waits in it gets net.ErrClosed. The
// descriptor itself is closed by the loop, in the same turn or the next one.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		if nc := c.outside.Load(); nc != nil {
			return (*nc).Close()
		}
		return c.failed("close", net.ErrClosed)
	}
	if nc := c.outside.Load(); nc != nil {
		return (*nc).Close()
	}
	c.loop.post(item{conn: c})
	return nil
}

// review does what the connection's flags and deadlines ask for now.
func (c *Conn) review() {
	if c.state == gone || c.state == moved {
		return
	}
	l := c.loop
	if c.closed.Load() {
		c.state = gone
		l.wheel.remove(&c.timer)
		l.forget(c)
		_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(c.fd), 0, 0)
		c.wake(&c.reader)
		c.wake(&c.writer)
		if h, ok := c.handler.(closedHandler); ok {
			l.guarded("handler's Closed", func() { h.Closed(c) })
		}
		return
	}
	if c.reader != nil {
		c.check(c.readBy.Load(), &c.reader)
	}
	if c.writer != nil {
		c.check(c.writeBy.Load(), &c.writer)
	}
	if c.state == idle && c.idleUntil != 0 {
		if c.idleUntil > l.ns {
			c.timer.link(c.idleUntil)
		} else if c.idleUntil = 0; c.handler != nil {
			l.guarded("handler's Expired", func() { c.handler.Expired(c) })
		}
	}
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// LocalAddrPort is LocalAddr without an allocation.
func (c *Conn) LocalAddrPort() netip.AddrPort { return c.local }

// RemoteAddrPort is RemoteAddr without an allocation.
func (c *Conn) RemoteAddrPort() netip.AddrPort { return c.remote }

// failed makes an error like those of net.
func (c *Conn) failed(op string, err error) error {
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // straight from a system call
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// CloseWrite ends our half.
func (c *Conn) CloseWrite() error {
	if nc := c.outside.Load(); nc != nil {
		if tc, ok := (*nc).(interface{ CloseWrite() error }); ok {
			return tc.CloseWrite()
		}
		return errors.ErrUnsupported
	}
	if c.closed.Load() {
		return c.failed("shutdown", net.ErrClosed)
	}
	if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
		return c.failed("shutdown", err)
	}
	return nil
}

var _ net.Conn = (*Conn)(nil)
