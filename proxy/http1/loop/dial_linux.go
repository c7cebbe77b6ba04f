package loop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// leastDial is what each of several addresses gets at least of the time there
// is.
const leastDial = 2 * time.Second

// Dial connects to address, a host and port, from a task, which waits. ctx's
// deadline and end are honoured. network is tcp, tcp4 or tcp6. An IP address is
// dialled directly; a name is looked up by net.DefaultResolver and its addresses
// are tried in turn. Errors are *net.OpError. The connection is busy and has no
// handler yet.
func (l *Loop) Dial(ctx context.Context, network, address string) (*Conn, error) {
	l.mustRun("Dial")
	addrs, err := l.resolve(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	deadline, bounded := ctx.Deadline()
	for i, addr := range addrs {
		limit := deadline
		if left := len(addrs) - i; bounded && left > 1 {
			now := time.Now()
			total := deadline.Sub(now)
			limit = now.Add(min(total, max(total/time.Duration(left), leastDial)))
		}
		c, e := l.connect(ctx, addr, limit)
		if e == nil {
			return c, nil
		}
		if err == nil { // as net does it: the first address counts
			err = &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(addr), Err: e}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// resolve finds the addresses behind a name.
func (l *Loop) resolve(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	fits := func(ip netip.Addr) bool { return true }
	switch network {
	case "tcp":
	case "tcp4":
		fits = func(ip netip.Addr) bool { return ip.Unmap().Is4() }
	case "tcp6":
		fits = func(ip netip.Addr) bool { return !ip.Unmap().Is4() }
	default:
		return nil, net.UnknownNetworkError(network)
	}
	if ap, err := netip.ParseAddrPort(address); err == nil {
		if !fits(ap.Addr()) {
			return nil, &net.AddrError{Err: "no suitable address found", Addr: address}
		}
		return []netip.AddrPort{ap}, nil
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var ips []netip.Addr
	var port int
	l.Await(func() {
		if port, err = net.DefaultResolver.LookupPort(ctx, network, service); err != nil {
			return
		}
		if host == "" {
			ips = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
			return
		}
		ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	})
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		if fits(ip) {
			addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		}
	}
	if len(addrs) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return addrs, nil
}

// connect opens a connection to one address.
func (l *Loop) connect(ctx context.Context, to netip.AddrPort, deadline time.Time) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, dialError(err)
	}
	for try := 0; ; try++ {
		c, err := l.connectOnce(ctx, to, deadline)
		// A port of our own range that nobody listens on can, rarely, be connected
		// to itself (as in net); and all ports may be taken for a moment.
		again := err == nil && c.local == c.remote || errors.Is(err, unix.EADDRNOTAVAIL)
		if !again || try == 2 {
			return c, err
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

func (l *Loop) connectOnce(ctx context.Context, to netip.AddrPort, deadline time.Time) (*Conn, error) {
	sa, family := sockaddrFor(to)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err = tune(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	err = unix.Connect(fd, sa)
	if err != nil && err != unix.EINPROGRESS && err != unix.EINTR { //nolint:errorlint // straight from a system call
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	c := l.newConn(fd, netip.AddrPort{}, to)
	l.load.Add(1)
	c.writable = err == nil
	if err = l.register(c); err != nil {
		l.refuse(c)
		return nil, err
	}
	if err = c.connected(ctx, deadline); err != nil {
		_ = c.Close()
		return nil, err
	}
	c.local = socketName(fd)
	return c, nil
}

// connected waits for a connection to be made.
func (c *Conn) connected(ctx context.Context, deadline time.Time) error {
	if !deadline.IsZero() {
		c.writeBy.Store(since(deadline))
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(longAgo) })
	}
	err := c.settled(ctx)
	if !stop() && err == nil { // or the deadline set above would stay
		err = dialError(ctx.Err())
	}
	c.writeBy.Store(0)
	return err
}

// settled waits until the kernel knows.
func (c *Conn) settled(ctx context.Context) error {
	for !c.writable {
		err := c.usable(&c.writeBy)
		switch {
		case err == nil:
			if err = c.await(&c.writer, writeWaits, &c.writeBy); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return dialError(ctx.Err())
		default:
			return err
		}
	}
	errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if errno != 0 {
		return os.NewSyscallError("connect", unix.Errno(errno))
	}
	return nil
}

// dialError is what net says of a context's end.
func dialError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

func sockaddrFor(to netip.AddrPort) (unix.Sockaddr, int) {
	if ip := to.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}, unix.AF_INET
	}
	sa := &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if z := to.Addr().Zone(); z != "" {
		if n, err := strconv.Atoi(z); err == nil {
			sa.ZoneId = uint32(n)
		} else if ifi, err := net.InterfaceByName(z); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	return sa, unix.AF_INET6
}
