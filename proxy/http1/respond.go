package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/loop"
)

// chunkGap is the room before a chunk's data for its size line: four digits
// are enough for what fits a stream buffer.
const chunkGap = 6

// smallAnswer fits a head buffer together with its head.
const smallAnswer = 4 << 10

// headRoom is for the head of a small answer.
const headRoom = 2 << 10

// respond writes x.Response. The error says why the client did not get all of
// it.
func (c *conn) respond(x *exchange.Exchange) error {
	res := &x.Response
	c.out.begins()
	if res.Status == http.StatusSwitchingProtocols && res.Tunnel != nil && x.Request.Upgrade != "" {
		return c.switchProtocols(x)
	}
	if res.Status < 200 || res.Status > 999 {
		x.DropResponse()
		x.Answer(http.StatusInternalServerError, "", nil)
	}
	o := c.frame(x)
	_, whole := res.Body.(*exchange.Bytes)
	if o.bodyless || res.Body == nil || whole && !o.chunked || res.Length >= 0 && res.Length <= smallAnswer {
		if c.in.over() { // so nobody reads into the connection's own buffer meanwhile
			if free := c.buf.b[c.buf.w:]; len(free) >= smallAnswer+headRoom {
				return c.deliver(x, o, free)
			}
		}
		b := newBuffer()
		defer b.Free()
		return c.deliver(x, o, b.b)
	}
	p := streams.Get().(*[]byte)
	defer streams.Put(p)
	return c.deliver(x, o, *p)
}

// frame decides how the answer is framed and whether the connection outlives
// it (RFC 9112 sections 6 and 9).
func (c *conn) frame(x *exchange.Exchange) responseOptions {
	res := &x.Response
	o := responseOptions{bodyless: c.out.head || res.Status == http.StatusNoContent || res.Status == http.StatusNotModified}
	if res.Body == nil && res.Length < 0 && !o.bodyless {
		res.Length = 0
	}
	if o.length = res.Length; o.length < 0 && !o.bodyless {
		o.chunked = !c.out.old
		c.out.close = c.out.close || c.out.old // the end of the connection is the end of the body
	}
	if o.length >= 0 && !o.bodyless && !c.out.old && res.Body != nil && res.Header.Has("Trailer") {
		o.length, o.chunked = -1, true // trailers come after chunks only
	}
	switch {
	case x.Fault != nil && x.Fault.Close, c.s.leaving.Load():
		c.out.close = true
	case !c.in.over() && !c.discardable(x):
		// Nobody can tell where the upload will be broken off: what is left of
		// it must never be taken for a request.
		c.out.close = true
	}
	o.close, o.keepAlive = c.out.close, c.out.stays && !c.out.close
	o.date = c.s.date.at(x.Start)
	return o
}

// discardable reports whether what is left of the upload can be thrown away
// without waiting for it.
func (c *conn) discardable(x *exchange.Exchange) bool {
	if _, local := x.Response.Body.(*exchange.Bytes); !local && x.Response.Body != nil {
		return false
	}
	c.in.closed.Store(true) // an upload that still runs reads no more from here on
	return !c.in.busy.Load() && c.in.err == nil && !c.in.expect && c.in.Whole()
}

// deliver writes head and body through p. What the service has sent so far is
// passed on before more is waited for.
func (c *conn) deliver(x *exchange.Exchange, o responseOptions, p []byte) error {
	res := &x.Response
	b, err := appendResponse(p[:0], res, o)
	if err != nil {
		c.out.close = true
		return fmt.Errorf("http1: %w", err)
	}
	switch {
	case o.bodyless || res.Body == nil:
		if err := c.write(b); err != nil {
			return fmt.Errorf("http1: writing: %w", err)
		}
		if !o.bodyless && res.Length > 0 {
			return fmt.Errorf("http1: the answer says %d bytes but has no body: %w", res.Length, io.ErrUnexpectedEOF)
		}
		return nil
	case cap(b) != cap(p):
		// A head larger than the buffer goes by itself.
		if err := c.write(b); err != nil {
			return fmt.Errorf("http1: writing: %w", err)
		}
		b = p[:0]
	}
	s := sender{c: c, x: x, p: p, w: len(b), chunked: o.chunked, left: o.length}
	if whole, ok := res.Body.(*exchange.Bytes); ok && !o.chunked {
		return s.memory(whole)
	}
	return s.stream()
}

// sender passes a body on. p[:w] is not written yet.
type sender struct {
	c       *conn
	x       *exchange.Exchange
	p       []byte
	w       int
	body    int64 // bytes of p[:w] that are body
	chunked bool
	left    int64 // of a known length; -1
}

func (s *sender) flush() error {
	if s.w == 0 {
		return nil
	}
	if err := s.c.write(s.p[:s.w]); err != nil {
		return fmt.Errorf("http1: writing: %w", err)
	}
	s.x.Response.Written += s.body
	s.w, s.body = 0, 0
	return nil
}

func (s *sender) stream() error {
	body := s.x.Response.Body
	way := passage{own: s.p}
	defer way.free()
	for {
		if n := s.w; n > 0 && (!exchange.Ready(body) || len(s.p)-n < 1<<10) {
			began := s.c.host.now()
			if err := s.flush(); err != nil {
				return err
			}
			if !s.chunked {
				s.p = way.next(n, s.c.host.now().Sub(began))
			}
		}
		if n, err := s.splice(); n > 0 && err == nil {
			continue
		} else if err == io.EOF {
			return s.end()
		} else if !errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("http1: the answer broke off after %d bytes: %w", s.x.Response.Written, err)
		}
		at, end := s.w, len(s.p)
		if s.chunked {
			at, end = at+chunkGap, min(end-2, at+chunkGap+0xffff)
		} else if s.left >= 0 {
			end = int(min(int64(end), int64(at)+s.left))
		}
		n, err := body.Read(s.p[at:end])
		if n > 0 {
			s.add(n)
		}
		switch {
		case err == io.EOF, err == nil && s.left == 0:
			return s.end()
		case err != nil:
			sent := s.x.Response.Written + s.body
			_ = s.flush()
			return fmt.Errorf("http1: the answer broke off after %d bytes: %w", sent, err)
		}
	}
}

// splice moves a piece of a large body from socket to socket, once nothing is
// left to be written before it.
func (s *sender) splice() (int, error) {
	to, _ := s.c.nc.(*loop.Conn)
	body, _ := s.x.Response.Body.(*outBody)
	if s.w > 0 || s.chunked || s.left < spliceLeast || to == nil || body == nil {
		return 0, errors.ErrUnsupported
	}
	n, err := body.splice(to, s.c.limitWrite)
	s.left -= int64(n)
	s.x.Response.Written += int64(n)
	return n, err
}

// add takes n bytes that were read behind p[:w].
func (s *sender) add(n int) {
	s.body += int64(n)
	if !s.chunked {
		s.w += n
		if s.left > 0 {
			s.left -= int64(n)
		}
		return
	}
	size := len(appendChunkHeader(s.p[s.w:s.w], n))
	if size < chunkGap {
		copy(s.p[s.w+size:], s.p[s.w+chunkGap:s.w+chunkGap+n])
	}
	s.w += size + n
	s.p[s.w], s.p[s.w+1] = '\r', '\n'
	s.w += 2
}

func (s *sender) end() error {
	if s.left > 0 {
		_ = s.flush()
		return fmt.Errorf("http1: the answer ended %d bytes early: %w", s.left, io.ErrUnexpectedEOF)
	}
	if !s.chunked {
		return s.flush()
	}
	last := appendLastChunk(s.p[:s.w], &s.x.Response.Trailer)
	if len(last) <= len(s.p) {
		s.w = len(last)
		return s.flush()
	}
	written := s.body
	if err := s.c.write(last); err != nil {
		return fmt.Errorf("http1: writing: %w", err)
	}
	s.x.Response.Written += written
	return nil
}

// memory writes a body that is in memory, copying only what fits the head's
// write.
func (s *sender) memory(whole *exchange.Bytes) error {
	if n := whole.Len(); int64(n) > s.left {
		return fmt.Errorf("http1: the answer has %d bytes where it says %d", n, s.left)
	}
	if s.w > 0 {
		n, _ := whole.Read(s.p[s.w:])
		s.add(n)
		if err := s.flush(); err != nil {
			return err
		}
	}
	n, err := whole.WriteTo(pieces{s.c})
	s.x.Response.Written += n
	s.left -= n
	if err != nil {
		return fmt.Errorf("http1: writing: %w", err)
	}
	return s.end()
}

// pieces writes much at once so that the bound on the client's time is on each
// piece and not on the whole.
type pieces struct{ c *conn }

func (w pieces) Write(p []byte) (n int, err error) {
	for len(p) > n && err == nil {
		end := min(n+4*streamSize, len(p))
		if err = w.c.write(p[n:end]); err == nil {
			n = end
		}
	}
	return n, err
}
