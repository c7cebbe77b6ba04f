package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// LoseAfter has the kernel give the connection up when something that was sent
// is not acknowledged for d. Without it that takes a quarter of an hour on a
// path that swallows everything: too long for a connection that many share.
func (c *Conn) LoseAfter(d time.Duration) {
	if c.state != gone && c.state != moved {
		_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}
}

// Unheard reports whether the kernel is sending again what the other side's has
// not acknowledged in time: the path may be broken. A peer that is merely slow to
// answer acknowledges.
func (c *Conn) Unheard() bool {
	if c.state == gone || c.state == moved {
		return false
	}
	info, err := unix.GetsockoptTCPInfo(c.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.Unacked > 0 && info.Retransmits > 0
}
