package loop

import (
	"errors"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slot is how epoll's events find their connection. Its generation tells a late
// event from one for the slot's next connection.
type slot struct {
	conn *Conn
	gen  uint32
}

// tick takes the time.
func (l *Loop) tick() {
	l.clock = time.Now()
	l.ns = int64(l.clock.Sub(epoch))
}

// Now is the time at which the current turn began. On the loop only.
func (l *Loop) Now() time.Time { return l.clock }

// sleep waits in Go's poller for an event, a post or the next timer. The
// callback looks before it waits, so there is no need to before.
func (l *Loop) sleep() {
	var until int64
	if tick, any := l.wheel.next(); any {
		until = max(tick<<tickBits, 1)
	}
	if l.closing && l.ns < l.giveUp && (until == 0 || l.giveUp < until) {
		until = l.giveUp
	}
	// An earlier deadline may stay: the loop wakes up once for nothing.
	if l.armed < 0 || until != 0 && (l.armed == 0 || until < l.armed) {
		var t time.Time
		if until != 0 {
			t = epoch.Add(time.Duration(until))
		}
		if err := l.poll.SetReadDeadline(t); err != nil {
			l.log.Error("loop: setting the poller's deadline", "error", err)
		}
		l.armed = until
	}
	l.asleep.Store(true)
	if l.pending.Load() { // whoever posted before may not have seen that we sleep
		l.asleep.Store(false)
		l.ready = l.epollWait()
		return
	}
	err := l.raw.Read(l.look)
	l.asleep.Store(false)
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			l.log.Error("loop: waiting for events", "error", err)
			time.Sleep(time.Millisecond) // never seen; do not spin
		}
		l.armed = -1
		l.ready = l.epollWait()
	}
}

// epollWait asks, without waiting.
func (l *Loop) epollWait() int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epfd), uintptr(unsafe.Pointer(&l.events[0])), eventBatch, 0, 0, 0)
	if errno != 0 {
		return 0 // EINTR
	}
	return int(n)
}

// register takes a descriptor up.
func (l *Loop) register(c *Conn) error {
	if l.closing {
		return net.ErrClosed
	}
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		c.slot = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[c.slot]
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(c.slot), Pad: int32(s.gen)}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, c.fd, &ev); err != nil {
		l.free = append(l.free, c.slot)
		return os.NewSyscallError("epoll_ctl", err)
	}
	s.conn = c
	return nil
}

// forget gives a connection's slot back.
func (l *Loop) forget(c *Conn) {
	s := &l.slots[c.slot]
	s.conn = nil
	s.gen++
	l.free = append(l.free, c.slot)
	l.load.Add(-1)
}

// dispatch tells connections what happened to them.
func (l *Loop) dispatch() {
	for i := range l.events[:l.ready] {
		ev := &l.events[i]
		if ev.Fd < 0 {
			if a := l.acceptors[^ev.Fd]; a != nil {
				a.run()
			}
			continue
		}
		if s := &l.slots[ev.Fd]; s.conn != nil && s.gen == uint32(ev.Pad) {
			s.conn.happened(ev.Events)
		}
	}
}
