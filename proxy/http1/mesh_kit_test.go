//go:build linux

package http1

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/exchange/enginetest"
	"lintel.dev/lintel/proxy/http1/loop"
	"lintel.dev/lintel/proxy/http1/mux"
)

func anyPeer(*tls.ConnectionState) (exchange.Peer, error) {
	return exchange.Peer{ID: "spiffe://test/peer"}, nil
}

// The conformance kit, what it says to the server and what the transport says to
// its services going over shared connections, byte for byte.
func TestEngineOverSharedConnections(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	t.Run("server", func(t *testing.T) {
		enginetest.Run(t, enginetest.Engine{
			NewServer: func(cfg exchange.ServerConfig, h exchange.Handler, log *slog.Logger) (exchange.Server, error) {
				if cfg.TLS != nil {
					return NewServer(cfg, h, log, Options{})
				}
				cfg.TLS, cfg.PeerID, cfg.H2C = serverTLS, anyPeer, false
				s, err := NewServer(cfg, h, log, Options{})
				return &carriedServer{Server: s, tls: clientTLS}, err
			},
			NewTransport: NewTransport,
			Strict:       true,
		})
	})
	t.Run("transport", func(t *testing.T) {
		enginetest.Run(t, enginetest.Engine{
			NewServer: func(cfg exchange.ServerConfig, h exchange.Handler, log *slog.Logger) (exchange.Server, error) {
				return NewServer(cfg, h, log, Options{})
			},
			NewTransport: func(cfg exchange.TransportConfig) exchange.Transport {
				if cfg.TLS != nil {
					return NewTransport(cfg)
				}
				cfg.TLS, cfg.PeerID = clientTLS, anyPeer
				plain := NewTransport(exchange.TransportConfig{})
				return &carriedTransport{Transport: NewTransport(cfg), plain: plain, tls: serverTLS, to: map[string]*unpacker{}}
			},
			Strict: true,
		})
	})
}

// The soak, its clients and its service at the far ends of shared connections.
func TestSoakOverSharedConnections(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	seed, long := soakFor(t)
	soak(t, Options{}, false, func(cfg exchange.ServerConfig, tcfg exchange.TransportConfig, h exchange.Handler) (*server, exchange.Server, exchange.Transport) {
		cfg.TLS, cfg.PeerID = serverTLS, anyPeer
		tcfg.TLS, tcfg.PeerID = clientTLS, anyPeer
		s, err := NewServer(cfg, h, slog.New(slog.DiscardHandler), Options{})
		if err != nil {
			t.Fatal(err)
		}
		plain := NewTransport(exchange.TransportConfig{})
		return s.(*server), &carriedServer{Server: s, tls: clientTLS},
			&carriedTransport{Transport: NewTransport(tcfg), plain: plain, tls: serverTLS, to: map[string]*unpacker{}}
	}, seed, long/4)
}

// splice copies both ways until both halves have ended.
func splice(l *loop.Loop, a, b net.Conn) {
	one := func(to, from net.Conn) {
		if _, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from}); err == nil {
			err = closeWrite(to)
			if err == nil {
				return
			}
		}
		_ = to.Close()
		_ = from.Close()
	}
	up := l.Go(func() { one(b, a) })
	one(a, b)
	up.Join()
	_ = a.Close()
	_ = b.Close()
}

// relay is a loop.Handler for connections that wait for their first byte.
type relay struct{ ready func(c *loop.Conn) bool }

func (r *relay) Ready(c *loop.Conn) bool { return r.ready(c) }
func (r *relay) Hangup(*loop.Conn)       {}
func (r *relay) Expired(c *loop.Conn)    { _ = c.Close() }

// carriedServer is a server whose listener is behind a shared connection.
type carriedServer struct {
	exchange.Server
	tls *tls.Config

	mu    sync.Mutex
	group *loop.Group // nil: not serving
	down  bool

	passing atomic.Int64 // connections
}

// Shutdown implements exchange.Server. What the server has said last must be
// passed on before the group may end.
func (s *carriedServer) Shutdown(ctx context.Context) (int, error) {
	s.mu.Lock()
	s.down = true
	s.mu.Unlock()
	cut, err := s.Server.Shutdown(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group != nil {
		for end := time.Now().Add(100 * time.Millisecond); s.passing.Load() > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		s.group.Close()
	}
	return cut, err
}

func (s *carriedServer) Serve(l net.Listener) error {
	g, err := s.begin()
	if g == nil {
		if err == nil { // shut down before it came to serve
			err = s.Server.Serve(l)
		}
		return err
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- s.Server.Serve(inner) }()
	var m *mux.Session
	outer := make(chan error, 1)
	go func() {
		outer <- g.Serve(l.(*net.TCPListener), func(*loop.Conn) loop.Handler {
			return &relay{func(c *loop.Conn) bool {
				for try := 0; m == nil || !m.Room(); try++ {
					if try > 0 {
						_ = c.Close()
						return false
					}
					m = packed(c.Loop(), inner.Addr().String(), s.tls)
				}
				s.passing.Add(1)
				defer s.passing.Add(-1)
				splice(c.Loop(), c, m.Open())
				return false
			}}
		})
	}()
	err = <-served
	_ = l.Close()
	<-outer
	return err
}

// begin makes the group that Shutdown closes; none once that was called.
func (s *carriedServer) begin() (*loop.Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, nil
	}
	var err error
	s.group, err = loop.New(loop.Config{Loops: 1})
	return s.group, err
}

// packed dials a session; nil: there is none.
func packed(l *loop.Loop, address string, cfg *tls.Config) *mux.Session {
	raw, err := l.Dial(context.Background(), "tcp", address)
	if err != nil {
		return nil
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{mux.Protocol}
	c := secureClient(raw, newLooping(l, 1), cfg)
	if err := c.handshake(); err != nil {
		_ = raw.Close()
		return nil
	}
	m := mux.New(raw, carrier{c}, mux.Config{})
	m.Start()
	return m
}

// carriedTransport reaches every service through a shared connection.
type carriedTransport struct {
	exchange.Transport
	plain exchange.Transport // for exchanges that no event loop runs
	tls   *tls.Config

	mu sync.Mutex
	to map[string]*unpacker
}

// Reserve implements exchange.Transport.
func (t *carriedTransport) Reserve(x *exchange.Exchange, address string, p exchange.Protocol) (exchange.Upstream, error) {
	if hostOf(x).lane() == 0 || address == enginetest.Nobody {
		return t.plain.Reserve(x, address, p)
	}
	t.mu.Lock()
	u := t.to[address]
	if u == nil {
		u = newUnpacker(address, t.tls)
		t.to[address] = u
	}
	t.mu.Unlock()
	return t.Transport.Reserve(x, u.Addr().String(), p)
}

func (t *carriedTransport) Retire(address string) {
	t.mu.Lock()
	u := t.to[address]
	t.mu.Unlock()
	if u != nil {
		t.Transport.Retire(u.Addr().String())
	}
}

func (t *carriedTransport) Close() {
	t.Transport.Close()
	t.plain.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, u := range t.to {
		_ = u.Listener.Close()
		<-u.served
		u.group.Close()
	}
}

// unpacker takes shared connections apart: a connection to a service for every
// stream.
type unpacker struct {
	net.Listener
	group  *loop.Group
	served chan error
}

func newUnpacker(service string, cfg *tls.Config) *unpacker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	g, err := loop.New(loop.Config{Loops: 1})
	if err != nil {
		panic(err)
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{mux.Protocol}
	h := newLooping(g.Loops()[0], 1)
	u := &unpacker{l, g, make(chan error, 1)}
	go func() {
		u.served <- g.Serve(l.(*net.TCPListener), func(*loop.Conn) loop.Handler {
			return &relay{func(raw *loop.Conn) bool {
				c := (&secure{shared: cfg}).server(raw, h)
				if c.handshake() != nil {
					_ = raw.Close()
					return false
				}
				m := mux.New(raw, carrier{c}, mux.Config{Accept: func(*mux.Stream) mux.Handler {
					return &unpacked{service}
				}})
				return m.Serve()
			}}
		})
	}()
	return u
}

type unpacked struct{ service string }

func (u *unpacked) Ready(st *mux.Stream) bool {
	l := st.Loop()
	c, err := l.Dial(context.Background(), "tcp", u.service)
	if err != nil {
		_ = st.Close()
		return false
	}
	splice(l, st, c)
	return false
}

func (u *unpacked) Hangup(*mux.Stream)     {}
func (u *unpacked) Expired(st *mux.Stream) { _ = st.Close() }
