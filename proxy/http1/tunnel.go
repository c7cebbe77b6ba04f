package http1

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/loop"
)

// tunnel is a connection after 101: bytes both ways until both halves end.
type tunnel struct {
	c       *conn
	service io.ReadWriteCloser
	idle    *exchange.Idle
}

// Wake implements exchange.Waker: the exchange was cut.
func (t *tunnel) Wake() {
	_ = t.c.raw.Close()
	t.c.host.elsewhere(func() { _ = t.service.Close() })
}

// switchProtocols writes the 101 and copies until the tunnel is over.
func (c *conn) switchProtocols(x *exchange.Exchange) error {
	t := &tunnel{c: c, service: x.Response.Tunnel}
	c.out.close = true
	c.tunnelled.Store(true)
	defer c.tunnelled.Store(false)
	if x.Response.Header.Get("Upgrade") == "" {
		x.Response.Header.Set("Upgrade", x.Request.Upgrade)
	}
	b := newBuffer()
	defer b.Free()
	head, err := appendResponse(b.b[:0], &x.Response, responseOptions{length: -1, bodyless: true, date: c.s.date.at(x.Start)})
	if err == nil {
		err = c.write(head)
	}
	if err != nil {
		_ = t.service.Close()
		return fmt.Errorf("http1: writing: %w", err)
	}
	_ = c.raw.SetDeadline(time.Time{})
	life := x.Life()
	life.Watch(t)
	defer life.Unwatch(t)
	t.idle = exchange.NewIdle(x.Response.TunnelIdle, t.Wake)
	var up error
	join := c.host.spawn(func() { _, up = t.pass(t.service, tunnelReader{c}) })
	n, down := t.pass(c.nc, t.service)
	join()
	x.Response.Written += n
	_ = c.raw.Close()
	_ = t.service.Close()
	if t.idle.Stop() {
		c.s.log.Debug("tunnel closed: nothing passed for too long", "listener", c.s.cfg.Name, "remote", c.info.Remote.String(),
			"limit", x.Response.TunnelIdle)
		return nil
	}
	if err := errors.Join(down, up); err != nil {
		return fmt.Errorf("http1: tunnel: %w", err)
	}
	return nil
}

// pass moves one direction and then ends it; an error ends both.
func (t *tunnel) pass(to io.Writer, from io.Reader) (n int64, err error) {
	m := mover{to: to, from: from}
	defer m.free()
	for err == nil {
		var got int
		got, err = m.move()
		n += int64(got)
		t.idle.Touch()
	}
	if err == io.EOF {
		err = closeWrite(to)
	}
	if errors.Is(err, net.ErrClosed) {
		err = nil // the other direction has ended both
	}
	if err != nil {
		_ = t.c.raw.Close()
		_ = t.service.Close()
	}
	return n, err
}

// mover moves one direction, piece by piece: inside the kernel where both sides
// are sockets of one loop. That costs less the more there is, no more for small
// pieces, and needs no memory while nothing comes.
type mover struct {
	to     io.Writer
	from   io.Reader
	p      *[]byte // to copy through; nil: not needed so far
	cannot bool    // be done inside the kernel
}

func (m *mover) move() (n int, err error) {
	if dst, src := socket(m.to, false), socket(m.from, true); dst != nil && src != nil && !m.cannot {
		m.free()
		if n, err = loop.Splice(dst, src, math.MaxInt64, nil); !errors.Is(err, errors.ErrUnsupported) {
			return n, err
		}
		m.cannot = true
	}
	if m.p == nil {
		m.p = streams.Get().(*[]byte)
	}
	n, err = m.from.Read(*m.p)
	if n > 0 {
		if _, werr := m.to.Write((*m.p)[:n]); werr != nil {
			return 0, werr
		}
	}
	return n, err
}

func (m *mover) free() {
	if m.p != nil {
		streams.Put(m.p)
		m.p = nil
	}
}

// socket is a side of a tunnel that is nothing but a loop's socket, with nothing
// read ahead if it is for reading.
func socket(side any, reading bool) *loop.Conn {
	var ahead *buffer
	switch v := side.(type) {
	case tunnelReader:
		side, ahead = v.c.nc, v.c.buf
	case *linkTunnel:
		side, ahead = v.l.nc, v.buf
	}
	if reading && ahead != nil && len(ahead.unread()) > 0 {
		return nil
	}
	c, _ := side.(*loop.Conn)
	return c
}

// tunnelReader reads first what had been read ahead.
type tunnelReader struct{ c *conn }

func (r tunnelReader) Read(p []byte) (int, error) {
	if n := r.c.buf.take(p); n > 0 {
		return n, nil
	}
	return r.c.nc.Read(p)
}
