package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// tunnel is a connection after 101: bytes both ways until both halves end.
type tunnel struct {
	c       *conn
	service io.ReadWriteCloser
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
	var up error
	join := c.host.spawn(func() { _, up = t.pass(t.service, tunnelReader{c}) })
	n, down := t.pass(c.nc, t.service)
	join()
	x.Response.Written += n
	_ = c.raw.Close()
	_ = t.service.Close()
	if err := errors.Join(down, up); err != nil {
		return fmt.Errorf("http1: tunnel: %w", err)
	}
	return nil
}

// pass copies one direction and then ends it; an error ends both.
func (t *tunnel) pass(to io.Writer, from io.Reader) (n int64, err error) {
	p := streams.Get().(*[]byte)
	defer streams.Put(p)
	for err == nil {
		var got int
		got, err = from.Read(*p)
		if got > 0 {
			if _, werr := to.Write((*p)[:got]); werr != nil {
				err = werr
				break
			}
			n += int64(got)
		}
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

// tunnelReader reads first what had been read ahead.
type tunnelReader struct{ c *conn }

func (r tunnelReader) Read(p []byte) (int, error) {
	if n := r.c.buf.take(p); n > 0 {
		return n, nil
	}
	return r.c.nc.Read(p)
}
