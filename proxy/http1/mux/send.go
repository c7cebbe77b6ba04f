package mux

import (
	"encoding/binary"
	"errors"
	"time"
)

const (
	sendMost  = 64 << 10  // encrypted and sent at once
	queueMost = 256 << 10 // of data that waits; then writers do
	otherMost = 64 << 10  // of other frames besides
)

var errFlooded = errors.New("mux: the other side makes us answer but does not read")

// outgoing is what a session has to send.
type outgoing struct {
	store
	flush   func() // at the end of the turn
	due     bool   // it will be called
	sending bool   // a task sends what the socket did not take at once
	writers writers
	let     int // writers that were let in and have not written yet
	// Counts of bytes since the beginning: what was never sealed was never sent.
	put, sealed uint64
}

func (o *outgoing) waiting() bool { return o.n > 0 || o.sending }

// room reports whether one more frame of data may wait.
func (o *outgoing) room() bool { return o.n+o.let*frameMost < queueMost }

// frame adds a frame.
func (s *Session) frame(h header, p []byte) {
	if s.err != nil || s.shut {
		return
	}
	b := h.bytes()
	s.out.write(b[:])
	s.out.write(p)
	s.out.put += uint64(headerSize + len(p))
	switch {
	case s.out.n > queueMost+frameMost+otherMost:
		s.fail(errFlooded)
	case s.out.sending:
	case s.out.n >= sendMost:
		s.send()
	case !s.out.due:
		s.out.due = true
		s.loop.AtTurnEnd(s.out.flush)
	}
}

// word adds a frame of one number.
func (s *Session) word(k kind, stream, v uint32) {
	var b [wordSize]byte
	binary.BigEndian.PutUint32(b[:], v)
	s.frame(header{kind: k, length: wordSize, stream: stream}, b[:])
}

func (s *Session) turnEnd() {
	s.out.due = false
	s.send()
}

// send sends what there is. It never waits: a task does, if the socket is full.
func (s *Session) send() {
	for s.err == nil && s.out.n > 0 && !s.out.sending {
		all, err := false, s.seal()
		if err == nil {
			all, err = s.wire.SendNow()
		}
		if err != nil {
			s.fail(err)
			return
		}
		if !all {
			s.out.sending = true
			s.loop.Start((*sender)(s))
		}
	}
	s.sent()
}

// seal encrypts some of what there is, a record for each piece.
func (s *Session) seal() error {
	for n := 0; n < sendMost && s.out.n > 0; {
		p := s.out.front()
		if err := s.wire.Seal(p); err != nil {
			return err
		}
		n += len(p)
		s.out.sealed += uint64(len(p))
		s.out.drop(len(p))
	}
	return nil
}

// sent is called when there may be room again.
func (s *Session) sent() {
	if s.err != nil {
		return
	}
	for s.out.writers.head != nil && s.out.room() {
		st := s.out.writers.pop()
		st.let = true
		s.out.let++
		st.wakeWriter()
	}
	s.settle()
}

// sender is a session as a task that waits for its socket.
type sender Session

// Run implements loop.Runner.
func (w *sender) Run() {
	s := (*Session)(w)
	for s.err == nil {
		_ = s.raw.SetWriteDeadline(s.loop.Now().Add(s.stall))
		err := s.wire.Send()
		if err == nil && s.out.n == 0 {
			break
		}
		if err == nil {
			err = s.seal()
		}
		if err != nil {
			s.fail(err)
			return
		}
		s.sent()
	}
	_ = s.raw.SetWriteDeadline(time.Time{})
	s.out.sending = false
	s.sent()
}

// Close implements loop.Runner.
func (w *sender) Close() error { return w.raw.Close() }

// writers wait for room, in the order they came.
type writers struct{ head, tail *Stream }

func (q *writers) push(st *Stream) {
	st.queued, st.nextWriter = true, nil
	if q.tail == nil {
		q.head = st
	} else {
		q.tail.nextWriter = st
	}
	q.tail = st
}

func (q *writers) pop() *Stream {
	st := q.head
	if q.head = st.nextWriter; q.head == nil {
		q.tail = nil
	}
	st.queued, st.nextWriter = false, nil
	return st
}

func (q *writers) remove(st *Stream) {
	var before *Stream
	for at := q.head; at != nil; before, at = at, at.nextWriter {
		if at != st {
			continue
		}
		if before == nil {
			q.head = st.nextWriter
		} else {
			before.nextWriter = st.nextWriter
		}
		if q.tail == st {
			q.tail = before
		}
		st.queued, st.nextWriter = false, nil
		return
	}
}
