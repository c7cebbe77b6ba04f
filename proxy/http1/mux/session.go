package mux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"lintel.dev/lintel/proxy/http1/loop"
)

const (
	stallLimit = 30 * time.Second // for the other side to take what it is sent, 64 KiB at a time
	lostAfter  = 10 * time.Second // without an acknowledgement: well within a route's usual timeout, so that what waits can be sent elsewhere
	lingerTime = time.Second      // for the other side to see the end
)

var errNoStream = errors.New("mux: no stream was used for a while")

// Wire is what a session goes over: TLS on a connection of the loop.
type Wire interface {
	Read(p []byte) (int, error) // waits; from a task
	// Buffered reports whether something was read from the socket that Read has
	// not given out.
	Buffered() bool
	Seal(p []byte) error            // encrypts p; what becomes of it is kept
	SendNow() (all bool, err error) // sends what is kept as far as that takes no waiting
	Send() error                    // sends what is kept; waits; from a task
	CloseWrite() error              // never waits
	Close() error                   // never waits
}

// Config is what a session is made from. Its functions run on the loop and must
// not wait.
type Config struct {
	// Accept makes this the accepting side: it names the handler of a new stream,
	// nil refuses it. Nil: the dialling side.
	Accept func(*Stream) Handler
	Idle   time.Duration // without a stream for this long, the session ends
	Leaves func()        // nothing can be opened any more, though streams may go on
	Ended  func(error)   // it is over, and why
}

// Session is a connection that carries streams. Drain and Cut are for any
// goroutine, everything else is for its loop.
type Session struct {
	loop          *loop.Loop
	raw           *loop.Conn
	wire          Wire
	cfg           Config
	local, remote netip.AddrPort

	streams map[uint32]*Stream // that are not over
	live    int                // streams whose owner has not closed them
	unsaid  int                // of those, the ones the other side has not heard of
	last    uint32             // the highest stream yet
	turned  bool               // GOAWAY has come
	asked   bool               // GOAWAY was sent ahead of Drain
	taken   uint32             // its stream
	leaving bool               // no new streams
	doubted bool               // nor any use of those that are idle
	shut    bool               // our half has ended
	err     error              // it is over
	stall   time.Duration

	in   incoming
	out  outgoing
	odds oddities
}

// New makes wire, over raw, carry streams. Start or Serve begins.
func New(raw *loop.Conn, wire Wire, cfg Config) *Session {
	s := &Session{loop: raw.Loop(), raw: raw, wire: wire, cfg: cfg, local: raw.LocalAddrPort(), remote: raw.RemoteAddrPort(),
		streams: map[uint32]*Stream{}, stall: stallLimit}
	s.out.flush = s.turnEnd
	raw.SetHandler((*reader)(s))
	raw.LoseAfter(lostAfter)
	return s
}

// Serve begins in a Ready of the connection, which returns what it returns.
func (s *Session) Serve() (idle bool) {
	s.rest()
	return !s.wire.Buffered() || (*reader)(s).Ready(s.raw)
}

// Start begins in the task that has dialled the connection.
func (s *Session) Start() {
	s.rest()
	if s.wire.Buffered() {
		s.loop.Start((*reader)(s))
		return
	}
	s.raw.Idle(s.idleUntil())
}

// Room reports whether a stream can be opened now.
func (s *Session) Room() bool {
	return s.err == nil && !s.leaving && len(s.streams)+s.unsaid < MaxStreams
}

// Open returns a new stream, nil if there is no room for one or the session is
// about to end. The other side hears of it when something is written.
func (s *Session) Open() *Stream {
	if !s.Room() {
		return nil
	}
	if s.last >= lastStream-2*MaxStreams {
		s.drain()
		return nil
	}
	s.unsaid++
	return s.newStream()
}

// Drain lets streams go on but none begin, and ends the session when there are
// none.
func (s *Session) Drain() { s.loop.Post(s.drain) }

func (s *Session) drain() {
	if s.leaving || s.err != nil {
		return
	}
	s.leave()
	if s.accepts() {
		s.word(goAwayFrame, 0, s.last)
	}
	s.settle()
}

// AskToLeave has the other side open no more streams, on the accepting side, while
// those that it opens before it hears of it are still taken. Drain follows when it
// has had the time.
func (s *Session) AskToLeave() {
	s.loop.Post(func() {
		if s.accepts() && !s.asked && !s.leaving && s.err == nil && !s.shut {
			s.asked = true
			s.word(goAwayFrame, 0, lastStream)
		}
	})
}

// doubt looks whether anything still gets through to the other side, and ends the
// session's use for what is new if not: a fresh connection may find a way.
func (s *Session) doubt() {
	if s.err != nil || s.doubted || !s.raw.Unheard() {
		return
	}
	s.doubted = true
	if !s.leaving {
		s.leave()
	}
	s.settle()
}

// leave takes no new streams from here on.
func (s *Session) leave() {
	s.leaving = true
	if s.cfg.Leaves != nil {
		s.cfg.Leaves()
	}
}

// Cut ends the session now.
func (s *Session) Cut() { _ = s.raw.Close() }

func (s *Session) accepts() bool { return s.cfg.Accept != nil }

// rest is called when the number of streams has changed.
func (s *Session) rest() {
	if s.err == nil && !s.shut {
		until := s.idleUntil()
		s.raw.IdleUntil(until)
		if !until.IsZero() {
			until = until.Add(s.stall) // who stops in the middle of a record is not idle
		}
		_ = s.raw.SetReadDeadline(until)
	}
	s.settle()
}

func (s *Session) idleUntil() time.Time {
	if s.live > 0 || s.cfg.Idle <= 0 {
		return time.Time{}
	}
	return s.loop.Now().Add(s.cfg.Idle)
}

// settle ends a session that is to end when nothing is left to do.
func (s *Session) settle() {
	if !s.leaving || s.live > 0 || s.shut || s.err != nil || s.out.waiting() {
		return
	}
	if !s.accepts() {
		s.fail(net.ErrClosed)
		return
	}
	// Closing on what the other side has still sent would cost it what it was
	// told last.
	s.shut = true
	if err := s.wire.CloseWrite(); err != nil {
		s.fail(err)
		return
	}
	until := s.loop.Now().Add(lingerTime)
	_ = s.raw.SetReadDeadline(until)
	s.raw.IdleUntil(until)
}

// fail ends the session and all its streams.
func (s *Session) fail(err error) {
	if s.err != nil {
		return
	}
	s.err = &LostError{err}
	_ = s.wire.Close()
	s.out.clear()
	s.in.stream = nil
	for st := s.out.writers.head; st != nil; st = st.nextWriter {
		st.wakeWriter() // also those that have no number yet
	}
	for _, st := range s.streams {
		st.lost()
	}
	if !s.leaving {
		s.leave()
	}
	if s.cfg.Ended != nil {
		s.cfg.Ended(err)
	}
}

// LostError is what happens to streams whose session is over.
type LostError struct{ Err error }

func (e *LostError) Error() string {
	return fmt.Sprintf("mux: the shared connection is lost: %v", e.Err)
}

func (e *LostError) Unwrap() error {
	if e.Err == nil {
		return io.EOF
	}
	return e.Err
}

// oddities are what the other side may do, but not often.
type oddities struct {
	since time.Time
	n     int
}

const (
	oddMost = 4096
	oddSpan = time.Second
)

func (s *Session) odd() error {
	if now := s.loop.Now(); now.Sub(s.odds.since) > oddSpan {
		s.odds = oddities{since: now}
	}
	if s.odds.n++; s.odds.n > oddMost {
		return wrong("more than %d resets and empty or late frames within %s", oddMost, oddSpan)
	}
	return nil
}
