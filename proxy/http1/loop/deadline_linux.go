package loop

import (
	"net"
	"sync/atomic"
	"time"
)

// since is t counted from epoch, 0 for the zero time, which is none.
func since(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	if t.Round(0) == t { // a wall clock's time: what it is from now
		return max(int64(time.Since(epoch)+time.Until(t)), 1)
	}
	return max(int64(t.Sub(epoch)), 1)
}

// SetDeadline implements net.Conn. From any goroutine, like the other two. It
// interrupts who is waiting. Setting one is a store: the wheel is only touched
// when somebody waits.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if nc := c.outside.Load(); nc != nil {
		return (*nc).SetReadDeadline(t)
	}
	return c.setDeadline(&c.readBy, readWaits, t)
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if nc := c.outside.Load(); nc != nil {
		return (*nc).SetWriteDeadline(t)
	}
	return c.setDeadline(&c.writeBy, writeWaits, t)
}

func (c *Conn) setDeadline(which *atomic.Int64, waits uint32, t time.Time) error {
	if c.closed.Load() {
		return c.failed("set", net.ErrClosed)
	}
	which.Store(since(t))
	if c.waits.Load()&waits != 0 {
		c.loop.post(item{conn: c})
	}
	return nil
}

// check wakes who waits if its deadline has passed.
func (c *Conn) check(deadline int64, t **Task) {
	switch {
	case deadline == 0:
	case deadline <= c.loop.ns:
		c.wake(t)
	default:
		c.timer.link(deadline)
	}
}
