package http1

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"lintel.dev/lintel/proxy/http1/mux"
)

// secure makes TLS connections of clients.
type secure struct {
	cfg    *tls.Config
	shared *tls.Config // on event loops, where one connection may carry many
}

// newSecure makes ALPN say what is spoken here, also in the configurations that
// are chosen per connection and do not say it themselves. mesh: other Lintels may
// come.
func newSecure(from *tls.Config, h2, mesh bool) (*secure, error) {
	if len(from.Certificates) == 0 && from.GetCertificate == nil && from.GetConfigForClient == nil {
		return nil, errors.New("the TLS config has no certificate: set Certificates, GetCertificate or GetConfigForClient")
	}
	protos := []string{"http/1.1"}
	if h2 {
		protos = []string{"h2", "http/1.1"}
	}
	s := &secure{cfg: speaking(from, protos)}
	if s.shared = s.cfg; mesh {
		s.shared = speaking(from, append([]string{mux.Protocol}, protos...))
		s.shared.DynamicRecordSizingDisabled = true // nobody waits for the beginning of a page
	}
	return s, nil
}

// speaking is from with ALPN saying protos, also in the configurations that are
// chosen per connection and do not say it themselves (as an ACME challenge does).
func speaking(from *tls.Config, protos []string) *tls.Config {
	t := from.Clone()
	t.NextProtos = protos
	if choose := from.GetConfigForClient; choose != nil {
		t.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := choose(hello)
			if err != nil || c == nil || len(c.NextProtos) > 0 {
				return c, err
			}
			c = c.Clone()
			c.NextProtos = protos
			return c, nil
		}
	}
	return t
}

func (s *secure) server(raw net.Conn, h host) *secureConn {
	c := &secureConn{wire: records{raw: raw, turn: h.mutex()}}
	cfg := s.cfg
	if h.lane() > 0 {
		cfg = s.shared
	}
	c.Conn = tls.Server(&c.wire, cfg)
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
	wire  records
	more  bool  // TLS may hold plaintext that did not fit the last read
	later error // what came behind the data of the last read
	ahead int   // bytes of next that have been read ahead
	next  [1]byte
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

// Read implements net.Conn. crypto/tls gives out one record at a time, and a
// large body passed on in pieces of 16 KB costs a system call for each: further
// records are read as long as they are here whole.
func (c *secureConn) Read(p []byte) (int, error) {
	var n int
	var err error
	rest := false // TLS may hold more of the record that p begins with
	switch {
	case len(p) == 0:
		return 0, nil
	case c.ahead > 0:
		p[0], c.ahead = c.next[0], 0
		n, rest = 1, true
	case c.later != nil:
		return 0, c.later
	default:
		n, err = c.Conn.Read(p)
	}
	for err == nil && c.later == nil && n < len(p) && (rest || c.wire.whole()) {
		var m int
		// A record may be one that carries no data. Nobody must wait for the one
		// behind it while there is data to hand out.
		c.wire.noWait = true
		m, c.later = c.Conn.Read(p[n:])
		c.wire.noWait = false
		n, rest = n+m, false
		if c.later == errNoRecord { //nolint:errorlint // ours, unwrapped
			c.later = nil
			break
		}
	}
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
func (c *secureConn) buffered() bool {
	if c.more && c.ahead == 0 && c.later == nil {
		// A body's last piece fits exactly what it is read into, and crypto/tls
		// does not tell what it holds.
		c.wire.noWait = true
		c.ahead, c.later = c.Conn.Read(c.next[:])
		c.wire.noWait = false
		if c.later == errNoRecord { //nolint:errorlint // ours, unwrapped
			c.later, c.more = nil, false
		}
	}
	return c.ahead > 0 || c.later != nil || c.wire.unread()
}
