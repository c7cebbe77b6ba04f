package loop

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var errNotBusy = errors.New("the connection is idle or closed")

// Detach takes the connection off the loop and returns it as one of Go's own, on
// the runtime's poller; deadlines stay. The Conn's methods go on working, from any
// goroutine but not from tasks, since now they block: whoever was made on top of
// it (a tls.Conn) needs to know nothing. From a task, while no other uses it.
func (c *Conn) Detach() (net.Conn, error) {
	switch {
	case c.state != busy || c.closed.Load():
		return nil, c.failed("detach", errNotBusy)
	case c.reader != nil || c.writer != nil:
		return nil, c.failed("detach", errInUse)
	}
	// FileConn duplicates the descriptor, and epoll forgets one only when its last
	// duplicate is closed, so it is removed expressly.
	if err := unix.EpollCtl(c.loop.epfd, unix.EPOLL_CTL_DEL, c.fd, nil); err != nil {
		return nil, c.failed("detach", err)
	}
	c.state = moved
	c.loop.wheel.remove(&c.timer)
	c.loop.forget(c)
	f := os.NewFile(uintptr(c.fd), "tcp")
	nc, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		c.closed.Store(true)
		return nil, c.failed("detach", err)
	}
	if d := c.readBy.Load(); d != 0 {
		_ = nc.SetReadDeadline(epoch.Add(time.Duration(d)))
	}
	if d := c.writeBy.Load(); d != 0 {
		_ = nc.SetWriteDeadline(epoch.Add(time.Duration(d)))
	}
	c.outside.Store(&nc)
	if c.closed.Load() { // meanwhile, by somebody who saw no outside yet
		_ = nc.Close()
	}
	return nc, nil
}
