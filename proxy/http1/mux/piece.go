package mux

import "sync"

// piece is memory for bytes that wait: b[r:w].
type piece struct {
	next *piece
	r, w int
	b    [frameMost]byte
}

var pieces = sync.Pool{New: func() any { return new(piece) }}

func takePiece() *piece {
	p := pieces.Get().(*piece)
	p.next, p.r, p.w = nil, 0, 0
	return p
}

// store is bytes in the order they came, in as many pieces as they need: none
// if there are none.
type store struct {
	head, tail *piece
	n          int
}

func (s *store) write(p []byte) {
	s.n += len(p)
	for len(p) > 0 {
		if s.tail == nil || s.tail.w == len(s.tail.b) {
			t := takePiece()
			if s.tail == nil {
				s.head = t
			} else {
				s.tail.next = t
			}
			s.tail = t
		}
		n := copy(s.tail.b[s.tail.w:], p)
		s.tail.w += n
		p = p[n:]
	}
}

func (s *store) read(p []byte) (n int) {
	for n < len(p) && s.n > 0 {
		k := copy(p[n:], s.front())
		n += k
		s.drop(k)
	}
	return n
}

// front is the first bytes that lie together.
func (s *store) front() []byte { return s.head.b[s.head.r:s.head.w] }

// drop removes n bytes of front.
func (s *store) drop(n int) {
	p := s.head
	p.r += n
	s.n -= n
	if p.r < p.w {
		return
	}
	if s.head = p.next; s.head == nil {
		s.tail = nil
	}
	pieces.Put(p)
}

func (s *store) clear() {
	for s.n > 0 {
		s.drop(len(s.front()))
	}
}
