package http1

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	tlsPiece    = 64 << 10         // plaintext that is encrypted at once
	tlsPending  = 256 << 10        // what may wait for a socket that takes nothing
	tlsReadSize = 16<<10 + 512     // a full record with its frame
	tlsReadMore = 4 * tlsReadSize  // for who sends one after another
	tlsSmall    = 4 << 10          // most answers, encrypted
	tlsLarge    = tlsPiece + 4<<10 // a piece, also in the small records crypto/tls begins with
	tlsHeader   = 5                // a record's (RFC 8446 section 5.1)
	tlsGoodbye  = 100 * time.Millisecond
	tlsFarewell = 5 * time.Second // the same where the other half goes on
)

var errPendingFull = errors.New("http1: the other side makes TLS answer but does not read")

// errNoRecord is what Read says instead of waiting. To crypto/tls it is an error
// that passes.
var errNoRecord net.Error = noRecord{}

type noRecord struct{}

func (noRecord) Error() string   { return "http1: no further TLS record has arrived" }
func (noRecord) Timeout() bool   { return true }
func (noRecord) Temporary() bool { return true }

// records is the socket as crypto/tls sees it. It gives out one record at a
// time, so that whatever has been read and not yet been decrypted is here,
// where it can be seen, and keeps what TLS writes until flush.
type records struct {
	raw net.Conn

	in     []byte // read from the socket; in[used:] not given out yet
	used   int
	record int // bytes still to be given out of the record that has begun
	memory *[]byte
	flood  bool // the last read took all there was room for
	noWait bool // only whole records that are here are given out
	shaken bool // the handshake is over
	ended  bool // the socket's end was read, which TLS may not have announced

	turn sync.Locker // held while flushing

	mu     sync.Mutex
	out    *[]byte // nil: nothing waits to be sent
	sent   int     // bytes of out that sendNow has sent
	busy   bool    // somebody flushes
	direct bool    // handed over: writes go out at once
}

// Read implements net.Conn.
func (r *records) Read(p []byte) (int, error) {
	if r.noWait && r.record == 0 && !r.whole() {
		return 0, errNoRecord
	}
	for {
		if left := r.in[r.used:]; len(left) > 0 {
			if r.record == 0 {
				if len(left) < tlsHeader {
					if err := r.fill(); err != nil {
						return 0, err
					}
					continue
				}
				r.record = tlsHeader + int(left[3])<<8 + int(left[4])
			}
			n := copy(p, left[:min(len(left), r.record)])
			r.used += n
			r.record -= n
			if r.used == len(r.in) {
				r.empty()
			}
			return n, nil
		}
		// In a handshake TLS waits for the other side: what it has said must be
		// on its way. Later it only answers key updates while it reads. That can
		// wait for the next flush (RFC 8446 section 4.6.3), and must: a reader
		// that wrote could be held up by a client that only talks.
		if !r.shaken {
			if err := r.flush(); err != nil {
				return 0, err
			}
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
}

// whole reports whether a record is here from its first byte to its last.
func (r *records) whole() bool {
	left := r.in[r.used:]
	return r.record == 0 && len(left) >= tlsHeader && len(left) >= tlsHeader+int(left[3])<<8+int(left[4])
}

// fill reads more behind what is there.
func (r *records) fill() error {
	if left := r.in[r.used:]; r.memory == nil || r.used > 0 {
		old, from := r.memory, recordPools[0]
		if r.flood {
			from = recordPools[1]
		}
		if old == nil || r.flood && len(*old) == tlsReadSize {
			r.memory = from.Get().(*[]byte)
		}
		r.in, r.used = (*r.memory)[:copy(*r.memory, left)], 0
		if old != nil && old != r.memory {
			giveRecords(old)
		}
	}
	room := (*r.memory)[len(r.in):]
	n, err := r.raw.Read(room)
	r.in = (*r.memory)[:len(r.in)+n]
	if r.flood = n == len(room); n > 0 {
		return nil
	}
	r.ended = r.ended || err == io.EOF
	if len(r.in) == 0 {
		r.empty()
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// empty gives the memory back: an idle connection holds none.
func (r *records) empty() {
	if r.memory != nil {
		giveRecords(r.memory)
	}
	r.memory, r.in, r.used = nil, nil, 0
}

func (r *records) unread() bool { return len(r.in) > r.used }

// Write implements net.Conn for crypto/tls, which holds a lock meanwhile.
func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	if r.direct {
		r.mu.Unlock()
		return r.raw.Write(p)
	}
	defer r.mu.Unlock()
	if r.out == nil {
		r.out = takeSealed(len(p))
	}
	switch n := len(*r.out); {
	case n > tlsPending:
		return 0, errPendingFull
	case n+len(p) > tlsSmall && cap(*r.out) == tlsSmall:
		small := r.out
		r.out = takeSealed(n + len(p))
		*r.out = append(*r.out, *small...)
		giveSealed(small)
	}
	*r.out = append(*r.out, p...)
	return len(p), nil
}

// flush sends what TLS has written; it returns when that has gone out.
func (r *records) flush() error {
	r.turn.Lock()
	defer r.turn.Unlock()
	r.mu.Lock()
	for r.out != nil {
		out, sent := r.out, r.sent
		r.out, r.sent, r.busy = nil, 0, true
		r.mu.Unlock()
		_, err := r.raw.Write((*out)[sent:])
		giveSealed(out)
		r.mu.Lock()
		if r.busy = false; err != nil {
			r.mu.Unlock()
			return err
		}
	}
	r.mu.Unlock()
	return nil
}

// sendNow sends what TLS has written as far as the socket takes it without
// anybody waiting, and reports whether that was all.
func (r *records) sendNow() (all bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	raw, ok := r.raw.(interface{ WriteNow([]byte) (int, error) })
	switch {
	case r.busy || !ok:
		return false, nil
	case r.out == nil:
		return true, nil
	}
	n, err := raw.WriteNow((*r.out)[r.sent:])
	if r.sent += n; err == nil && r.sent < len(*r.out) {
		return false, nil
	}
	giveSealed(r.out)
	r.out, r.sent = nil, 0
	return true, err
}

// release lets the connection be used like any other, over raw.
func (r *records) release(raw net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw, r.direct = raw, true
}

// Close implements net.Conn. The alert that says so is sent if that takes no
// waiting.
func (r *records) Close() error {
	r.mu.Lock()
	silent := r.busy || r.direct || r.out == nil
	r.mu.Unlock()
	if !silent {
		_ = r.raw.SetWriteDeadline(time.Now().Add(tlsGoodbye))
		_ = r.flush()
	}
	return r.raw.Close()
}

// LocalAddr implements net.Conn.
func (r *records) LocalAddr() net.Addr { return r.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (r *records) RemoteAddr() net.Addr { return r.raw.RemoteAddr() }

// SetDeadline implements net.Conn.
func (r *records) SetDeadline(t time.Time) error { return r.raw.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (r *records) SetReadDeadline(t time.Time) error { return r.raw.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (r *records) SetWriteDeadline(t time.Time) error { return r.raw.SetWriteDeadline(t) }
