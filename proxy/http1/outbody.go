package http1

import (
	"errors"
	"fmt"
	"io"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/loop"
)

// outBody is an answer's body as it comes from the service. Its end or Close
// gives the connection back.
type outBody struct {
	l          *link
	x          *exchange.Exchange
	buf        *buffer
	upload     *upload
	left       int64
	chunked    bool
	trailer    bool // the chunks are over, their trailer section is not
	untilClose bool
	reusable   bool
	done       bool
	chunks     chunkDecoder
	named      string // the Connection field, if fields go with it
	err        error  // sticky
}

// Read implements io.Reader.
func (b *outBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if b.err = err; err == io.EOF {
		b.finish()
	} else if err != nil {
		b.reusable = false
		if cause := b.x.Ended(); cause != nil {
			err = cause
		}
		b.err = fmt.Errorf("http1: %s: reading the answer: %w", b.l.place.address, err)
		err = b.err
	}
	return n, err
}

// spliceLeast is what must be left of a body for moving it inside the kernel to
// cost less than copying it.
const spliceLeast = streamSize

// splice moves a piece of the body to a client's socket inside the kernel. The
// error is errors.ErrUnsupported where it must be read and written instead, and
// nothing was moved then; io.EOF at the body's end.
func (b *outBody) splice(to *loop.Conn, writing func()) (int, error) {
	from, _ := b.l.nc.(*loop.Conn)
	if from == nil || b.err != nil || b.chunked || b.untilClose || b.left < spliceLeast || len(b.buf.unread()) > 0 {
		return 0, errors.ErrUnsupported
	}
	n, err := loop.Splice(to, from, b.left, writing)
	b.left -= int64(n)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return 0, err
	case err != nil:
		b.reusable = false
		if cause := b.x.Ended(); cause != nil {
			err = cause
		}
		b.err = fmt.Errorf("http1: %s: passing the answer on: %w", b.l.place.address, unexpected(err))
	case b.left == 0:
		b.err = io.EOF
		b.finish()
	}
	return n, b.err
}

func (b *outBody) read(p []byte) (int, error) {
	switch {
	case b.chunked:
		return b.readChunked(p)
	case b.untilClose:
		if n := b.buf.take(p); n > 0 {
			return n, nil
		}
		n, err := b.l.nc.Read(p)
		if err == io.EOF && b.l.tls != nil && b.l.tls.truncated() {
			err = io.ErrUnexpectedEOF // it may have been anybody's doing (RFC 9112 section 9.8)
		}
		return n, err
	case b.left == 0:
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.left)]
	n := b.buf.take(p)
	if n == 0 {
		var err error
		if n, err = b.l.nc.Read(p); n == 0 && err != nil {
			return 0, unexpected(err)
		}
	}
	if b.left -= int64(n); b.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *outBody) readChunked(p []byte) (int, error) {
	for {
		n, over, err := b.decode(p)
		if over && err == nil && n > 0 {
			// The end belongs to the last data if it is here already.
			if more, end, eerr := b.decode(nil); more == 0 && end && eerr == io.EOF {
				return n, io.EOF
			}
		}
		if n > 0 || err != nil {
			return n, err
		}
		if left, in := b.chunks.remaining(); in && left > 0 {
			// Straight from the socket to whoever wants it.
			n, err := b.l.nc.Read(p[:min(int64(len(p)), left)])
			b.chunks.took(n)
			if n == 0 && err != nil {
				return 0, unexpected(err)
			}
			return n, nil
		}
		got, err := b.l.nc.Read(b.buf.room(1 << 10))
		b.buf.w += got
		if got == 0 && err != nil {
			return 0, unexpected(err)
		}
	}
}

// decode takes what has arrived apart, as far as that gives data or the end.
// over: the chunks are over.
func (b *outBody) decode(p []byte) (n int, over bool, err error) {
	if !b.trailer && len(b.buf.unread()) > 0 {
		var used int
		used, n, b.trailer, err = b.chunks.decode(b.buf.unread(), p)
		b.buf.r += used
		if err != nil {
			return n, false, err
		}
	}
	if !b.trailer || n > 0 {
		return n, b.trailer, nil
	}
	b.buf.pin()
	used, done, err := b.chunks.trailers(b.buf.unread(), b.l.t.lim, &b.x.Response.Trailer)
	switch {
	case err != nil:
		return 0, true, err
	case done:
		b.x.Response.Trailer.DropNominated(b.named)
		b.buf.r += used
		return 0, true, io.EOF
	case len(b.buf.unread()) > b.l.t.lim.bytes:
		return 0, true, errTrailerTop
	}
	return 0, true, nil
}

// Ready implements what exchange.Ready asks.
func (b *outBody) Ready() bool {
	if b.err != nil || b.done {
		return true
	}
	if b.chunked {
		// What is there may be no more than a piece of a size line.
		left, in := b.chunks.remaining()
		return in && left > 0 && len(b.buf.unread()) > 0 || len(b.buf.unread()) >= readyChunk
	}
	return len(b.buf.unread()) > 0
}

// readyChunk is how much must have arrived of a chunked body for reading not to
// wait: the last chunk, or a size line and data.
const readyChunk = len("0\r\n\r\n")

// finish is called at the end of the body.
func (b *outBody) finish() {
	if b.done {
		return
	}
	b.done = true
	stopped := b.l.unwatch()
	spoiled := b.upload != nil && !b.upload.complete()
	b.l.giveBack(b.reusable && !stopped && !spoiled && len(b.buf.unread()) == 0)
}

// Close implements io.Closer.
func (b *outBody) Close() error {
	if !b.done {
		b.reusable = false
		b.finish()
		if b.err == nil {
			b.err = io.ErrClosedPipe
		}
	}
	return nil
}
