package tcp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// errTruncated is a TLS stream whose sender never said that it ends: whoever
// sits in between may have cut it.
var errTruncated = errors.New("tcp: the stream was cut: TCP ended without TLS's close_notify")

// wire is one side: a socket, plain or under TLS.
type wire struct {
	net.Conn // what is read and written: the socket or TLS over it
	raw      *socket
	secure   *tls.Conn // nil: plain
	gone     func()    // called once when it is closed; may be nil
	once     sync.Once
}

// socket is a TCP connection whose writes have no deadline: crypto/tls gives its
// close_notify five seconds to find room, and a slow reader on the other side
// would then see a cut stream instead of a finished one.
type socket struct {
	net.Conn
	secure bool // TLS is spoken on it
}

// Read finds truncation: crypto/tls takes a FIN between two records for an end.
// After a close_notify it reads no more.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.secure && err == io.EOF {
		err = errTruncated
	}
	return n, err
}

func (s *socket) SetWriteDeadline(time.Time) error { return nil }

func plain(c net.Conn) *wire {
	s := &socket{Conn: c}
	return &wire{Conn: s, raw: s}
}

func secured(s *socket, c *tls.Conn) *wire { return &wire{Conn: c, raw: s, secure: c} }

// CloseWrite implements exchange.Wire.
func (w *wire) CloseWrite() error {
	if w.secure != nil {
		return w.secure.CloseWrite()
	}
	if h, ok := w.raw.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the socket. Under TLS both halves have ended by then, so there is
// nothing left to say.
func (w *wire) Close() error {
	err := w.raw.Close()
	w.left()
	return err
}

// Reset implements exchange.Wire.
func (w *wire) Reset() {
	if l, ok := w.raw.Conn.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0) // closed already: then there is nothing to cut
	}
	_ = w.Close()
}

func (w *wire) left() {
	if w.gone != nil {
		w.once.Do(w.gone)
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	return netip.AddrPort{}
}
