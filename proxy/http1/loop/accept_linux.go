package loop

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// How long to wait when the process is out of descriptors.
	acceptPause    = 5 * time.Millisecond
	acceptPauseMax = 250 * time.Millisecond
	// acceptBatch is how many connections are accepted before others have a turn.
	acceptBatch = 64
	// closedCheck is how often Serve looks whether its listener was closed:
	// package net offers no way to be told without accepting.
	closedCheck = 100 * time.Millisecond
)

// acceptor accepts a listener's connections on one loop, for all. The descriptor
// stays the listener's: it is only used inside its RawConn's Control, which
// keeps it from being closed meanwhile, and closing it takes it from epoll.
type acceptor struct {
	group    *Group
	loop     *Loop
	listener *net.TCPListener
	raw      syscall.RawConn
	drain    func(fd uintptr)
	accepted func(*Conn) Handler
	local    netip.AddrPort
	pause    time.Duration
	retry    *Timer
	errno    unix.Errno
	full     bool // the batch was used up
	early    bool // those that came before the listener was tuned may be among them
	done     chan error
}

// Serve accepts connections until listener is closed, then returns nil. Each
// goes to the loop that has the fewest, where accepted names its handler (nil
// refuses it). It is idle then, until bytes come; accepted may call IdleUntil.
//
// Descriptors are accepted by a loop, so that Go's poller never hears of them.
func (g *Group) Serve(listener *net.TCPListener, accepted func(*Conn) Handler) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	l := g.loops[int(g.turn.Add(1))%len(g.loops)]
	a := &acceptor{group: g, loop: l, listener: listener, raw: raw, accepted: accepted, local: addrPortOf(listener.Addr()), done: make(chan error, 1), early: true}
	a.drain, a.retry = a.acceptAll, l.NewTimer(a.run)
	if !l.Post(a.begin) {
		return a.failed(net.ErrClosed)
	}
	check := time.NewTicker(closedCheck)
	defer check.Stop()
	for {
		select {
		case err = <-a.done:
		case <-l.done:
			err = a.failed(net.ErrClosed)
		case <-check.C:
			if err = raw.Control(func(uintptr) {}); err == nil {
				continue
			}
		}
		l.Post(a.end)
		if errors.Is(err, net.ErrClosed) && raw.Control(func(uintptr) {}) != nil {
			return nil // it is the listener that was closed
		}
		return err
	}
}

func (a *acceptor) failed(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: a.listener.Addr(), Err: err}
}

// begin has epoll report connections, on the loop.
func (a *acceptor) begin() {
	l := a.loop
	place := slices.Index(l.acceptors, nil)
	if place < 0 {
		place = len(l.acceptors)
		l.acceptors = append(l.acceptors, nil)
	}
	var failed error
	err := a.raw.Control(func(fd uintptr) {
		if failed = tune(int(fd)); failed != nil { // connections inherit it
			return
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(^place)}
		failed = os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, int(fd), &ev))
	})
	if err = cmp.Or(err, failed); err != nil {
		a.done <- err
		return
	}
	l.acceptors[place] = a
}

// end is begin's reverse.
func (a *acceptor) end() {
	a.retry.Stop()
	if i := slices.Index(a.loop.acceptors, a); i >= 0 {
		a.loop.acceptors[i] = nil
		_ = a.raw.Control(func(fd uintptr) { _ = unix.EpollCtl(a.loop.epfd, unix.EPOLL_CTL_DEL, int(fd), nil) })
	}
}

// run accepts what there is.
func (a *acceptor) run() {
	if a.loop.closing || slices.Index(a.loop.acceptors, a) < 0 {
		return
	}
	a.errno, a.full = 0, false
	if a.raw.Control(a.drain) != nil {
		return // closed
	}
	switch {
	case a.errno == 0:
		a.pause = 0
		if a.full {
			a.loop.Post(a.run)
		}
	case !exhausted(a.errno):
		a.done <- a.failed(os.NewSyscallError("accept4", a.errno))
		a.end()
	default:
		if a.pause == 0 {
			a.group.log.Error("loop: cannot accept connections for now", "listener", a.listener.Addr().String(), "error", a.errno)
		}
		a.pause = min(max(2*a.pause, acceptPause), acceptPauseMax)
		a.retry.Reset(a.pause)
	}
}

func (a *acceptor) acceptAll(fd uintptr) {
	for n := 0; n < acceptBatch; {
		var from unix.RawSockaddrAny
		size := uint32(unix.SizeofSockaddrAny)
		nfd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			n++
			if a.early {
				_ = tune(int(nfd))
			}
			a.hand(int(nfd), sockaddr(&from))
		case unix.EAGAIN:
			a.early = false
			return
		case unix.EINTR, unix.ECONNABORTED:
		default:
			a.errno = errno
			return
		}
	}
	a.full = true
}

// hand gives a descriptor to the loop with the fewest connections.
func (a *acceptor) hand(fd int, remote netip.AddrPort) {
	l := a.group.least()
	if l == a.loop {
		l.adopt(fd, a.local, remote, a.accepted)
		return
	}
	if !l.Post(func() { l.adopt(fd, a.local, remote, a.accepted) }) {
		_ = unix.Close(fd)
	}
}

// exhausted reports whether an accept failed for want of something that comes
// back.
func exhausted(e unix.Errno) bool {
	switch e {
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		return true
	}
	// Linux passes pending network errors of the new connection on: accept(2).
	switch e {
	case unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH, unix.EOPNOTSUPP, unix.ENETUNREACH, unix.EPERM:
		return true
	}
	return false
}

// adopt begins a connection that was accepted.
func (l *Loop) adopt(fd int, local, remote netip.AddrPort, accepted func(*Conn) Handler) {
	if local.Addr().IsUnspecified() {
		local = socketName(fd)
	}
	c := l.newConn(fd, local, remote)
	c.readable, c.writable = false, true // epoll reports what is there already
	if err := l.register(c); err != nil {
		l.refuse(c)
		return
	}
	l.guarded("function for accepted connections", func() { c.handler = accepted(c) })
	if c.handler == nil {
		_ = c.Close()
		return
	}
	c.goIdle()
}

// refuse closes a descriptor that could not be registered.
func (l *Loop) refuse(c *Conn) {
	c.state = gone
	c.closed.Store(true)
	l.load.Add(-1)
	_ = unix.Close(c.fd)
}

// tune is what every socket gets: no delay, and keep-alive probes as net has
// them.
func tune(fd int) error {
	for _, o := range [...]struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

func addrPortOf(a net.Addr) netip.AddrPort {
	ta, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := ta.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// socketName is a socket's own address.
func socketName(fd int) netip.AddrPort {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	if _, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return netip.AddrPort{}
	}
	return sockaddr(&sa)
}

// sockaddr reads what the kernel has written.
func sockaddr(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkOrder(&in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		ip := netip.AddrFrom16(in.Addr).Unmap()
		if in.Scope_id != 0 {
			ip = ip.WithZone(zone(in.Scope_id))
		}
		return netip.AddrPortFrom(ip, networkOrder(&in.Port))
	}
	return netip.AddrPort{}
}

func networkOrder(port *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(port))[:])
}

func zone(index uint32) string { return strconv.FormatUint(uint64(index), 10) }
