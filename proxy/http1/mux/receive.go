package mux

import (
	"encoding/binary"
	"net"

	"lintel.dev/lintel/proxy/http1/loop"
)

// incoming is what a session knows of the frame that is coming in.
type incoming struct {
	head   [headerSize + wordSize]byte // of the header, and of the word behind it
	have   int
	h      header
	left   int     // bytes of DATA's payload still to come
	stream *Stream // whose they are
}

// reader is a session as its connection's handler: it reads while there is
// something to read and holds nothing in between.
type reader Session

// Ready implements loop.Handler.
func (r *reader) Ready(*loop.Conn) bool {
	s := (*Session)(r)
	p := takePiece()
	defer pieces.Put(p)
	for s.err == nil {
		n, err := s.wire.Read(p.b[:])
		if wrong := s.receive(p.b[:n]); wrong != nil {
			err = wrong
		}
		if err != nil {
			s.fail(err)
			return false
		}
		if !s.wire.Buffered() {
			break
		}
	}
	return s.err == nil
}

// Run implements loop.Runner, for what has been read during the handshake.
func (r *reader) Run() {
	s := (*Session)(r)
	if r.Ready(s.raw) {
		s.raw.Idle(s.idleUntil())
	}
}

// Close implements loop.Runner.
func (r *reader) Close() error { return r.raw.Close() }

// Hangup implements loop.Handler: an end is read.
func (r *reader) Hangup(*loop.Conn) {}

// Expired implements loop.Handler.
func (r *reader) Expired(*loop.Conn) {
	s := (*Session)(r)
	switch {
	case s.shut:
		s.fail(net.ErrClosed)
	case s.live > 0:
	case s.accepts():
		s.drain()
	default:
		s.fail(errNoStream)
	}
}

// Closed is called when the connection has been closed.
func (r *reader) Closed(*loop.Conn) { (*Session)(r).fail(net.ErrClosed) }

// receive takes what has come.
func (s *Session) receive(b []byte) error {
	in := &s.in
	for len(b) > 0 && s.err == nil {
		if in.left > 0 {
			n := min(len(b), in.left)
			in.left -= n
			in.stream.deliver(b[:n])
			b = b[n:]
			if in.left == 0 {
				s.received()
			}
			continue
		}
		want := headerSize
		if in.have >= headerSize {
			want += wordSize
		}
		n := copy(in.head[in.have:want], b)
		b = b[n:]
		if in.have += n; in.have < want {
			return nil
		}
		var err error
		switch {
		case want > headerSize:
			in.have = 0
			err = s.told(in.h, binary.BigEndian.Uint32(in.head[headerSize:]))
		default:
			if in.h, err = parseHeader((*[headerSize]byte)(in.head[:])); err == nil && in.h.kind == dataFrame {
				in.have = 0
				err = s.begin(in.h)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// begin is called for DATA's header.
func (s *Session) begin(h header) error {
	st := s.streams[h.stream]
	if st == nil {
		var err error
		if st, err = s.opened(h.stream); err != nil {
			return err
		}
	}
	switch {
	case st.ended:
		return wrong("data behind the end of stream %d", h.stream)
	case h.length > st.allowed:
		return wrong("%d bytes on stream %d where %d were allowed for", h.length, h.stream, st.allowed)
	}
	st.allowed -= h.length
	s.in.left, s.in.stream = h.length, st
	if h.length > 0 {
		return nil
	}
	if !h.fin {
		if err := s.odd(); err != nil {
			return err
		}
	}
	s.received()
	return nil
}

// received is called when a DATA is complete.
func (s *Session) received() {
	st := s.in.stream
	s.in.stream = nil
	if s.in.h.fin {
		st.end(false)
	}
}

// opened makes the stream that the other side has begun.
func (s *Session) opened(id uint32) (*Stream, error) {
	switch {
	case !s.accepts():
		return nil, wrong("data on stream %d, which we have not, or which is over", id)
	case id <= s.last:
		return nil, wrong("stream %d again, or after %d", id, s.last)
	case len(s.streams) >= 2*MaxStreams:
		return nil, wrong("more than %d streams", len(s.streams))
	}
	s.last = id
	st := s.newStream()
	st.id, st.state = id, idle
	s.streams[id] = st
	if !s.leaving && len(s.streams) <= MaxStreams {
		st.handler = s.cfg.Accept(st)
	}
	if st.handler != nil {
		return st, nil
	}
	_ = st.Refuse()
	st.leave()
	return st, s.odd()
}

// told takes in all other frames.
func (s *Session) told(h header, v uint32) error {
	if h.kind == goAwayFrame {
		if s.accepts() || s.turned && s.taken != lastStream {
			return wrong("GOAWAY again, or where it has no streams to refuse")
		}
		s.turned, s.taken = true, v
		if !s.leaving {
			s.leave()
		}
		s.settle()
		return nil
	}
	st := s.streams[h.stream]
	if st == nil {
		if h.stream > s.last {
			return wrong("a frame on stream %d, which has not begun", h.stream)
		}
		return s.odd() // it has crossed the stream's end
	}
	if h.kind == windowFrame {
		if v == 0 || int64(st.credit)+int64(v) > Window {
			return wrong("a window of %d more bytes on stream %d, which has %d", v, h.stream, st.credit)
		}
		st.credit += int(v)
		st.wakeWriter()
		return nil
	}
	switch {
	case v > codeRefused:
		return wrong("a reset with code %d", v)
	case st.reset:
		return wrong("a second reset of stream %d", h.stream)
	}
	st.reset, st.refused = true, v == codeRefused
	st.end(true)
	return s.odd()
}
