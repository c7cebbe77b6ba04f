package compress

import (
	"context"
	"io"
	"sync"

	"lintel.dev/lintel/proxy/exchange"
)

const (
	pieceSize = 32 << 10 // what is read of the service's body at once
	heavy     = 4 << 10  // more than this is compressed off the event loop
	wholeSize = 256 << 10
)

var pieces = sync.Pool{New: func() any { b := make([]byte, pieceSize); return &b }}

// body compresses another as it is read. What the service has sent is passed on
// before more is waited for, so that events arrive when they happen; only an
// answer whose length was known is not a stream, and is compressed without
// regard to when its parts come.
type body struct {
	src    io.ReadCloser
	x      *exchange.Exchange
	f      *Filter
	c      *coding
	enc    encoder // nil once it is given back
	in     *[]byte
	out    []byte // compressed
	at     int    // what of it was read
	held   int    // bytes the encoder may still keep to itself
	stream bool
	err    error // what reading src ended with, once out is empty

	// The step in hand, for run.
	n     int
	end   bool // src is at its end
	flush bool
	run   func(context.Context) error // in a slot
}

func newBody(x *exchange.Exchange, f *Filter, c *coding) *body {
	b := &body{src: x.Response.Body, x: x, f: f, c: c, stream: x.Response.Length < 0}
	b.enc = c.take(b)
	b.in = pieces.Get().(*[]byte)
	b.run = func(ctx context.Context) error { return b.f.slots.do(ctx, b.step) }
	return b
}

// Write takes what the encoder makes.
func (b *body) Write(p []byte) (int, error) {
	b.out = append(b.out, p...)
	return len(p), nil
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for b.at == len(b.out) {
		if b.err != nil {
			b.release()
			return 0, b.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		b.out, b.at = b.out[:0], 0
		b.more()
	}
	n := copy(p, b.out[b.at:])
	b.at += n
	return n, nil
}

// more reads a piece of src and has it compressed.
func (b *body) more() {
	n, err := b.src.Read(*b.in)
	b.n, b.end = n, err == io.EOF
	if err != nil && !b.end {
		b.err = err // what is compressed so far must not look complete
		return
	}
	b.held += n
	b.flush = b.stream && !b.end && !exchange.Ready(b.src)
	if b.held <= heavy {
		err = b.step()
	} else {
		err = b.x.Await(b.run)
	}
	switch {
	case err != nil:
		b.err = err
	case b.end:
		b.err = io.EOF
	}
	if b.flush {
		b.held = 0
	}
}

// step runs the encoder; it may be anywhere.
func (b *body) step() error {
	if b.n > 0 {
		if _, err := b.enc.Write((*b.in)[:b.n]); err != nil {
			return err
		}
	}
	switch {
	case b.end:
		return b.enc.Close()
	case b.flush:
		return b.enc.Flush()
	}
	return nil
}

// Ready implements what exchange.Ready asks.
func (b *body) Ready() bool { return b.at < len(b.out) || b.err != nil }

// Close implements io.Closer.
func (b *body) Close() error {
	if b.err == nil || b.err == io.EOF {
		b.err = io.ErrClosedPipe
	}
	b.out, b.at = nil, 0
	b.release()
	return b.src.Close()
}

// release gives back what is pooled, once.
func (b *body) release() {
	if b.enc != nil {
		b.c.giveBack(b.enc)
		pieces.Put(b.in)
		b.enc, b.in = nil, nil
	}
}

// whole compresses an answer that is in memory; not if it would grow.
func (f *Filter) whole(x *exchange.Exchange, c *coding, b *exchange.Bytes) bool {
	size := b.Len()
	out := sink{b: make([]byte, 0, size/2+64)}
	enc := c.take(&out)
	defer c.giveBack(enc)
	work := func() error {
		if _, err := b.WriteTo(enc); err != nil {
			return err
		}
		return enc.Close()
	}
	var err error
	if size <= heavy {
		err = work()
	} else {
		err = x.Await(func(ctx context.Context) error { return f.slots.do(ctx, work) })
	}
	if err != nil || len(out.b) >= size {
		b.Rewind()
		return false
	}
	x.Response.Body, x.Response.Length = exchange.NewBody(out.b), int64(len(out.b))
	return true
}

type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}
