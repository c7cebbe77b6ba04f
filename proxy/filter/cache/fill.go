package cache

import (
	"io"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// fill collects a body while the client reads it, and stores the answer once
// the body is known to be whole.
type fill struct {
	body io.ReadCloser

	f    *cache
	v    *visit
	x    *exchange.Exchange
	a    *answer
	user []byte
	want int64 // announced length, -1 unknown
	buf  []byte
	over bool

	flight *store.Flight // of those who wait for it, nil when it leads none
}

// collect stores a without a body at once, else as its body passes.
func (f *cache) collect(x *exchange.Exchange, v *visit, a *answer, user []byte) {
	c := &fill{body: x.Response.Body, f: f, v: v, x: x, a: a, user: user, want: x.Response.Length}
	if c.body == nil {
		if c.want > 0 { // a body was announced and is not there
			c.abandon(true)
		} else {
			c.finish()
		}
		return
	}
	c.flight = v.flight
	v.fill = c
	x.Response.Body = c
}

// Read implements io.Reader.
func (c *fill) Read(p []byte) (int, error) {
	if c.over {
		if c.v.renewing {
			return 0, io.EOF // nobody wants the rest
		}
		return c.body.Read(p)
	}
	if c.flight != nil {
		c.flight.Taken()
	}
	n, err := c.body.Read(p)
	c.add(p[:n])
	switch {
	case err == io.EOF:
		c.finish()
	case err != nil:
		c.abandon(true)
	case c.complete():
		c.finish() // without waiting for the client to take the last of it
	case c.flight != nil && !c.over:
		c.flight.Handed()
	}
	return n, err
}

// Close implements io.Closer. An engine that knows the length need not read on
// to the end mark.
func (c *fill) Close() error {
	if !c.over && c.want >= 0 {
		c.finish()
	}
	c.abandon(true)
	return c.body.Close()
}

// Ready implements what exchange.Ready asks.
func (c *fill) Ready() bool { return exchange.Ready(c.body) }

func (c *fill) add(p []byte) {
	need := len(c.buf) + len(p)
	if c.over || need <= cap(c.buf) {
		if !c.over {
			c.buf = append(c.buf, p...)
		}
		return
	}
	most := c.f.MaxObject
	if c.want >= 0 {
		most = c.want
	}
	if int64(need) > most {
		c.tooLarge()
		return
	}
	size := min(most, max(int64(2*cap(c.buf)), int64(need), 4096))
	if !c.resize(size) {
		c.abandon(false)
		return
	}
	c.buf = append(c.buf, p...)
}

// resize moves what is collected to a buffer of size, both paid for while both
// are there.
func (c *fill) resize(size int64) bool {
	if !c.f.responses.Reserve(size) {
		return false
	}
	old := int64(cap(c.buf))
	c.buf = append(make([]byte, 0, size), c.buf...)
	c.f.responses.Free(old)
	return true
}

// complete reports whether all of the body is here, before its end is read. With
// HTTP/1 nothing comes after an announced length.
func (c *fill) complete() bool {
	return !c.over && c.want >= 0 && int64(len(c.buf)) == c.want && strings.HasPrefix(c.x.Response.Proto, "HTTP/1")
}

// tooLarge gives up on a body, and spares others the wait for such a one.
func (c *fill) tooLarge() {
	if c.v.flight != nil {
		c.f.flights.Part(c.v.flightKey, c.f.now())
	}
	c.abandon(false)
}

// finish stores the answer if all of its body is here and nothing comes after.
func (c *fill) finish() {
	size := int64(len(c.buf))
	if c.over || c.want >= 0 && size != c.want || c.x.Response.Trailer.Len() > 0 {
		c.abandon(true)
		return
	}
	if int64(cap(c.buf))-size > size/8 && !c.resize(size) {
		c.abandon(false)
		return
	}
	c.a.body = c.buf
	c.f.put(c.v, c.user, c.a)
	c.abandon(false)
}

// abandon ends collecting and lets those go who wait for it. Lost says that it
// broke off, so that another may fare better.
func (c *fill) abandon(lost bool) {
	if c.over {
		return
	}
	c.over = true
	c.f.responses.Free(int64(cap(c.buf)))
	c.buf = nil
	c.f.land(c.v, lost)
}
