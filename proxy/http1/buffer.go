package http1

import (
	"sync"
	"time"
)

// Buffers are lent to connections while they are active; an idle one holds
// none.
const (
	bufferSize = 8 << 10  // heads, and small messages whole
	streamSize = 64 << 10 // large bodies on their way through
	wideSize   = 256 << 10
	// slowTaker is how long it takes somebody to take a piece for whom large
	// ones are wasted memory.
	slowTaker = 250 * time.Millisecond
)

// buffer holds what has been read and not yet used: b[r:w]. What lies below
// base is looked into by the exchange in hand and stays where it is.
type buffer struct {
	b    []byte
	r, w int
	base int
	body outBody // of the answer whose head is in here
}

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, bufferSize)} }}

func newBuffer() *buffer { return buffers.Get().(*buffer) }

// Free implements exchange.Borrowed: nobody looks into it any more.
func (b *buffer) Free() {
	poison(b.b[:b.w])
	b.r, b.w, b.base, b.body = 0, 0, 0, outBody{}
	if len(b.b) == bufferSize {
		buffers.Put(b)
	}
}

func (b *buffer) unread() []byte { return b.b[b.r:b.w] }

// pin keeps all that has been used so far in its place.
func (b *buffer) pin() { b.base = b.r }

// unpin ends the exchange that looked into the buffer.
func (b *buffer) unpin() {
	poison(b.b[:b.r])
	b.base = 0
	if b.r == b.w {
		b.r, b.w = 0, 0
	}
}

// room is space for at least want further bytes. While something is pinned and
// there is too little, the rest moves to new memory; what is looked into stays
// with whoever looks.
func (b *buffer) room(want int) []byte {
	if len(b.b)-b.w >= want {
		return b.b[b.w:]
	}
	n := b.w - b.r
	if len(b.b)-b.base-n >= want {
		copy(b.b[b.base:], b.b[b.r:b.w])
	} else {
		size := max(bufferSize, len(b.b))
		for size < n+want {
			size *= 2
		}
		grown := make([]byte, size)
		copy(grown, b.b[b.r:b.w])
		b.b, b.base = grown, 0
	}
	b.r, b.w = b.base, b.base+n
	return b.b[b.w:]
}

// take gives up to len(p) unread bytes.
func (b *buffer) take(p []byte) int {
	n := copy(p, b.b[b.r:b.w])
	b.r += n
	return n
}

var streams = sync.Pool{New: func() any { p := make([]byte, streamSize); return &p }}

var wides = sync.Pool{New: func() any { p := make([]byte, wideSize); return &p }}

// passage is what a body passes through, piece by piece. A piece costs two
// system calls, packets and acknowledgements (1 MB costs a third less in pieces
// of 256 KB than in those of 64 KB), but most bodies are small, and slow
// clients are many: only one that comes and goes fast is given much memory.
type passage struct {
	own  []byte  // what it has begun with
	wide *[]byte // instead; nil: not
}

// next is the memory for the next piece, after one of n bytes took its taker so
// long.
func (p *passage) next(n int, took time.Duration) []byte {
	switch {
	case took >= slowTaker:
		p.free()
	case p.wide == nil && len(p.own) == streamSize && n >= streamSize/2:
		p.wide = wides.Get().(*[]byte)
	}
	if p.wide != nil {
		return *p.wide
	}
	return p.own
}

func (p *passage) free() {
	if p.wide != nil {
		wides.Put(p.wide)
		p.wide = nil
	}
}
