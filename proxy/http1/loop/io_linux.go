package loop

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// sendMost is handed to the kernel at once: copying it holds up the loop.
	sendMost = 256 << 10
)

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if nc := c.outside.Load(); nc != nil {
		return (*nc).Read(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	l := c.loop
	l.fair()
	for {
		if err := c.usable(&c.readBy); err != nil {
			return 0, c.failed("read", err)
		}
		if !c.readable {
			if err := c.await(&c.reader, readWaits, &c.readBy); err != nil {
				return 0, c.failed("read", err)
			}
			continue
		}
		n, errno := recv(c.fd, p, 0)
		switch errno {
		case 0:
			// Bytes that come later are a new event. So is an end that comes later;
			// one that epoll has already reported is not.
			c.readable = n == len(p) || c.half || c.dead
			l.spend(n)
			if n == 0 {
				c.half = true
				return 0, io.EOF
			}
			return n, nil
		case unix.EAGAIN:
			c.readable = false
		case unix.EINTR:
		default:
			return 0, c.failed("read", errno)
		}
	}
}

// Write implements net.Conn: all of p, or an error.
func (c *Conn) Write(p []byte) (int, error) {
	if nc := c.outside.Load(); nc != nil {
		return (*nc).Write(p)
	}
	sent := 0
	for sent < len(p) {
		piece := p[sent:min(len(p), sent+sendMost)]
		n, err := c.send(piece)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// WriteNow sends what the socket takes at once of p, and never waits: n is less
// than len(p) when it is full. On the loop, task or not.
func (c *Conn) WriteNow(p []byte) (n int, err error) {
	for len(p) > n {
		if err := c.usable(&c.writeBy); err != nil {
			return n, c.failed("write", err)
		}
		if !c.writable || c.writer != nil {
			return n, nil
		}
		k, errno := send(c.fd, p[n:])
		switch errno {
		case 0:
			c.writable = k == len(p)-n
			n += k
		case unix.EAGAIN:
			c.writable = false
		case unix.EINTR:
		default:
			return n, c.failed("write", errno)
		}
	}
	return n, nil
}

// send sends something of p, waiting until there is room.
func (c *Conn) send(p []byte) (int, error) {
	l := c.loop
	l.fair()
	want := len(p)
	for {
		if err := c.usable(&c.writeBy); err != nil {
			return 0, c.failed("write", err)
		}
		if !c.writable {
			if err := c.await(&c.writer, writeWaits, &c.writeBy); err != nil {
				return 0, c.failed("write", err)
			}
			continue
		}
		n, errno := send(c.fd, p)
		switch errno {
		case 0:
			// The kernel took less because it is full, and will say when it is not.
			c.writable = n == want
			l.spend(n)
			return n, nil
		case unix.EAGAIN:
			c.writable = false
		case unix.EINTR:
		default:
			return 0, c.failed("write", errno)
		}
	}
}

// usable is why a read or write must not be tried.
func (c *Conn) usable(deadline *atomic.Int64) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	if d := deadline.Load(); d != 0 && d <= c.loop.ns {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// await suspends the running task until who is woken: by an event, the deadline
// or Close.
func (c *Conn) await(who **Task, waits uint32, deadline *atomic.Int64) error {
	t := c.loop.running
	switch {
	case t == nil:
		return errNoTask
	case *who != nil:
		return errInUse
	}
	*who = t
	// From here on whoever closes it or sets a deadline tells the loop; what they
	// did before is seen below.
	c.waits.Or(waits)
	if err := c.usable(deadline); err == nil {
		if d := deadline.Load(); d != 0 {
			c.timer.link(d)
		}
		t.suspend()
	}
	if *who == t {
		*who = nil
	}
	c.waits.And(^waits)
	return nil
}

// The system calls below return at once, so Go's scheduler is not told.

func recv(fd int, p []byte, flags uintptr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags|unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func send(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}
