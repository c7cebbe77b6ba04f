package nethttp

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"lintel.dev/lintel/proxy/exchange"
)

// acceptor counts connections. Beyond MaxConns a new one is accepted and
// closed at once instead of left waiting in the kernel's queue: its client
// learns immediately, tries elsewhere, and the overload shows in a counter,
// where a queue behind idle keep-alive connections would only look like
// latency.
type acceptor struct {
	net.Listener
	s *Server
}

func (a *acceptor) Accept() (net.Conn, error) {
	for {
		c, err := a.Listener.Accept()
		if err != nil {
			return nil, err
		}
		n := a.s.conns.Add(1)
		if limit := a.s.cfg.MaxConns; limit > 0 && n > int64(limit) {
			a.s.conns.Add(-1)
			a.s.refused.Add(1)
			_ = c.Close()
			continue
		}
		return &clientConn{Conn: c, s: a.s}, nil
	}
}

type clientConn struct {
	net.Conn
	s    *Server
	once sync.Once
}

func (c *clientConn) Close() error {
	c.once.Do(func() { c.s.conns.Add(-1) })
	return c.Conn.Close()
}

// CloseWrite ends our half of the stream; tunnels need it.
func (c *clientConn) CloseWrite() error { return closeWrite(c.Conn) }

// connState is what is found out once per client connection.
type connState struct {
	local, remote netip.AddrPort

	once sync.Once
	peer exchange.Peer
	err  error
}

type connKey struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, &connState{local: addrPort(c.LocalAddr()), remote: addrPort(c.RemoteAddr())})
}

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	case nil:
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

// verify names the peer, once per connection: a certificate does not change
// while it lasts.
func (c *connState) verify(state *tls.ConnectionState, who func(*tls.ConnectionState) (exchange.Peer, error)) (exchange.Peer, error) {
	c.once.Do(func() {
		if state == nil {
			c.err = errPlainPeer
			return
		}
		c.peer, c.err = who(state)
	})
	return c.peer, c.err
}

func connOf(r *http.Request) *connState {
	if c, ok := r.Context().Value(connKey{}).(*connState); ok {
		return c
	}
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	return &connState{remote: remote}
}
