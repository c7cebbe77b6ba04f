package http1

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"time"
)

// secure makes TLS connections of clients.
type secure struct{ cfg *tls.Config }

// newSecure makes ALPN say what is spoken here, also in the configurations that
// are chosen per connection.
func newSecure(from *tls.Config, h2 bool) (*secure, error) {
	if len(from.Certificates) == 0 && from.GetCertificate == nil && from.GetConfigForClient == nil {
		return nil, errors.New("the TLS config has no certificate: set Certificates, GetCertificate or GetConfigForClient")
	}
	protos := []string{"http/1.1"}
	if h2 {
		protos = []string{"h2", "http/1.1"}
	}
	t := from.Clone()
	t.NextProtos = protos
	if choose := from.GetConfigForClient; choose != nil {
		t.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := choose(hello)
			if err != nil || c == nil || slices.Equal(c.NextProtos, protos) {
				return c, err
			}
			c = c.Clone()
			c.NextProtos = protos
			return c, nil
		}
	}
	return &secure{t}, nil
}

func (s *secure) server(raw net.Conn, h host) *secureConn {
	c := &secureConn{wire: records{raw: raw, turn: h.mutex()}}
	c.Conn = tls.Server(&c.wire, s.cfg)
	return c
}

func secureClient(raw net.Conn, h host, cfg *tls.Config) *secureConn {
	c := &secureConn{wire: records{raw: raw, turn: h.mutex()}}
	c.Conn = tls.Client(&c.wire, cfg)
	return c
}

// secureConn is a TLS connection that can be used by the tasks of an event
// loop: crypto/tls holds a lock while it writes, and a task must not wait with
// a lock held, so what it writes is kept and sent after it has returned.
type secureConn struct {
	*tls.Conn
	wire records
	more bool // TLS may hold plaintext that did not fit the last read
}

func (c *secureConn) handshake() error {
	err := c.Conn.Handshake()
	if ferr := c.wire.flush(); err == nil {
		err = ferr
	}
	c.wire.shaken = true
	return err
}

// truncated reports whether the end that Read came upon was the socket's and
// not one that the other side has announced, which crypto/tls does not tell.
func (c *secureConn) truncated() bool { return c.wire.ended }

// Read implements net.Conn.
func (c *secureConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.more = n == len(p)
	return n, err
}

// Write implements net.Conn.
func (c *secureConn) Write(p []byte) (n int, err error) {
	for len(p) > n && err == nil {
		var m int
		m, err = c.Conn.Write(p[n:min(n+tlsPiece, len(p))])
		if ferr := c.wire.flush(); err == nil {
			err = ferr
		}
		n += m
	}
	return n, err
}

// CloseWrite ends our half, as tunnels need it.
func (c *secureConn) CloseWrite() error {
	err := c.Conn.CloseWrite()
	// crypto/tls has left a write deadline in the past, for it believes the
	// alert to be on its way.
	_ = c.wire.raw.SetWriteDeadline(time.Now().Add(tlsFarewell))
	if ferr := c.wire.flush(); err == nil {
		err = ferr
	}
	if err == nil {
		err = closeWrite(c.wire.raw)
	}
	return err
}

// buffered reports whether something has been read from the socket that nobody
// has been given yet.
func (c *secureConn) buffered() bool { return c.more || c.wire.unread() }
