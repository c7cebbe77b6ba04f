package http1

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	tlsPiece    = 64 << 10     // plaintext that is encrypted at once
	tlsPending  = 256 << 10    // what may wait for a socket that takes nothing
	tlsReadSize = 16<<10 + 512 // a full record with its frame
	tlsHeader   = 5            // a record's (RFC 8446 section 5.1)
	tlsGoodbye  = 100 * time.Millisecond
	tlsFarewell = 5 * time.Second // the same where the other half goes on
)

var errPendingFull = errors.New("http1: the other side makes TLS answer but does not read")

// records is the socket as crypto/tls sees it. It gives out one record at a
// time, so that whatever has been read and not yet been decrypted is here,
// where it can be seen, and keeps what TLS writes until flush.
type records struct {
	raw net.Conn

	in     []byte // read from the socket; in[used:] not given out yet
	used   int
	record int // bytes still to be given out of the record that has begun
	memory *[]byte
	shaken bool // the handshake is over
	ended  bool // the socket's end was read, which TLS may not have announced

	turn sync.Locker // held while flushing

	mu     sync.Mutex
	out    []byte
	spare  []byte
	busy   bool // somebody flushes
	direct bool // handed over: writes go out at once
}

// Read implements net.Conn.
func (r *records) Read(p []byte) (int, error) {
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

// fill reads more behind what is there.
func (r *records) fill() error {
	if r.memory == nil {
		r.memory = records16.Get().(*[]byte)
		r.in, r.used = (*r.memory)[:0], 0
	}
	if r.used > 0 {
		n := copy((*r.memory)[:], r.in[r.used:])
		r.in, r.used = (*r.memory)[:n], 0
	}
	n, err := r.raw.Read((*r.memory)[len(r.in):])
	r.in = (*r.memory)[:len(r.in)+n]
	if n > 0 {
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
		records16.Put(r.memory)
	}
	r.memory, r.in, r.used = nil, nil, 0
}

var records16 = sync.Pool{New: func() any { p := make([]byte, tlsReadSize); return &p }}

func (r *records) unread() bool { return len(r.in) > r.used }

// Write implements net.Conn for crypto/tls, which holds a lock meanwhile.
func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	if r.direct {
		r.mu.Unlock()
		return r.raw.Write(p)
	}
	defer r.mu.Unlock()
	if len(r.out) > tlsPending {
		return 0, errPendingFull
	}
	if r.out == nil {
		r.out, r.spare = r.spare[:0], nil
	}
	r.out = append(r.out, p...)
	return len(p), nil
}

// flush sends what TLS has written; it returns when that has gone out.
func (r *records) flush() error {
	r.turn.Lock()
	defer r.turn.Unlock()
	for {
		r.mu.Lock()
		out := r.out
		r.out, r.busy = nil, len(out) > 0
		r.mu.Unlock()
		if len(out) == 0 {
			return nil
		}
		_, err := r.raw.Write(out)
		r.mu.Lock()
		r.busy = false
		if cap(out) <= tlsPiece {
			r.spare = out[:0]
		}
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
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
	silent := r.busy || r.direct || len(r.out) == 0
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
