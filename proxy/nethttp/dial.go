package nethttp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// slot carries what only dialling knows out of net/http: it travels in the
// dial's context.
type slot struct {
	info   exchange.ConnInfo
	raw    *rawConn
	heads  *headCopy
	retire time.Time // because of the peer's certificate; zero: never
}

type slotKey struct{}

// rawConn counts the bytes written to the wire, which tells whether a request
// that failed was ever sent, and says when it is closed: net/http waits for its
// writer before it reports a failure, and the writer may wait for a client.
type rawConn struct {
	net.Conn
	wrote  atomic.Int64
	once   sync.Once
	closed chan struct{}
}

func (c *rawConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *rawConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wrote.Add(int64(n))
	return n, err
}

func (c *rawConn) CloseWrite() error { return closeWrite(c.Conn) }

func (t *transport) dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: 15 * time.Second}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	raw := &rawConn{Conn: c, closed: make(chan struct{})}
	if s, ok := ctx.Value(slotKey{}).(*slot); ok {
		s.raw = raw
		s.info.Local, s.info.Remote = addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	}
	return raw, nil
}

// dialPlain1 is dialPlain for HTTP/1.
func (t *transport) dialPlain1(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := t.dialPlain(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return copyHeads(ctx, c), nil
}

// tlsError marks what went wrong in a handshake, after TCP was there.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

func (t *transport) dialTLS(p exchange.Protocol) func(context.Context, string, string) (net.Conn, error) {
	var base *tls.Config
	want := "http/1.1"
	if p == exchange.HTTP2 {
		want = "h2"
	}
	if t.cfg.TLS != nil {
		base = t.cfg.TLS.Clone()
		base.NextProtos = []string{want}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := t.dialPlain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		cfg := base
		if cfg.ServerName == "" {
			cfg = base.Clone()
			if host, _, err := net.SplitHostPort(address); err == nil {
				cfg.ServerName = host
			}
		}
		c := tls.Client(raw, cfg)
		if err := t.handshake(ctx, c, want); err != nil {
			_ = raw.Close()
			return nil, &tlsError{err}
		}
		if p != exchange.HTTP2 {
			return copyHeads(ctx, c), nil
		}
		return c, nil
	}
}

func (t *transport) handshake(ctx context.Context, c *tls.Conn, want string) error {
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	state := c.ConnectionState()
	if got := state.NegotiatedProtocol; got != want && (want == "h2" || got != "") {
		return fmt.Errorf("the endpoint chose protocol %q by ALPN where %q was offered; set the service's protocol to what it speaks", got, want)
	}
	s, _ := ctx.Value(slotKey{}).(*slot)
	if s == nil {
		return nil
	}
	s.info.TLS = &state
	if t.cfg.PeerID != nil {
		peer, err := t.cfg.PeerID(&state)
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: slices.Clone(state.PeerCertificates), Err: err}
		}
		s.info.PeerID = peer.ID
		if t.cfg.RetirePeer != nil {
			s.retire = t.cfg.RetirePeer(peer)
		}
	}
	return nil
}

// dial opens one connection to the pool's address.
func (p *pool) dial(ctx context.Context) (*conn, error) {
	t := p.t
	var s slot
	dctx, cancel := context.WithTimeout(context.WithValue(ctx, slotKey{}, &s), t.cfg.ConnectTimeout)
	defer cancel()
	scheme := "http"
	if t.cfg.TLS != nil {
		scheme = "https"
	}
	c := &conn{p: p}
	if t.cfg.Retire != nil {
		c.retire = t.cfg.Retire()
	}
	var engine *http.Transport
	if p.key.protocol == exchange.HTTP2 {
		engine, s.info.Protocol = t.h2, "h2"
	} else {
		engine, s.info.Protocol = t.h1, "http/1.1"
	}
	cc, err := engine.NewClientConn(dctx, scheme, p.key.address)
	if err != nil {
		return nil, dialFault(ctx, p.key.address, t.cfg.ConnectTimeout, err)
	}
	if t.cfg.PeerID != nil && s.info.PeerID == "" {
		_ = cc.Close()
		return nil, dialFault(ctx, p.key.address, t.cfg.ConnectTimeout, &tlsError{errPlainPeer})
	}
	if c.retire.IsZero() || !s.retire.IsZero() && s.retire.Before(c.retire) {
		c.retire = s.retire
	}
	c.cc, c.info, c.raw, c.heads = cc, s.info, s.raw, s.heads
	t.open.Add(1)
	return c, nil
}
