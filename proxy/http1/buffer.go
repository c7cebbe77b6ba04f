package http1

import "sync"

// Buffers are lent to connections while they are active; an idle one holds
// none.
const (
	bufferSize = 8 << 10  // heads, and small messages whole
	streamSize = 64 << 10 // large bodies on their way through
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
