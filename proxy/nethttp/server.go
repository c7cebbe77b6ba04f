package nethttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// The defaults of exchange.ServerConfig.
const (
	defaultHeaderBytes   = 64 << 10
	defaultHeaderCount   = 128
	defaultHeaderTimeout = 10 * time.Second
	defaultIdleTimeout   = 75 * time.Second
	defaultMaxStreams    = 250
	defaultWriteTimeout  = 60 * time.Second
)

// cutGrace is how long Shutdown waits for cut exchanges to notice, so that
// every one of them is finished before it returns.
const cutGrace = 5 * time.Second

// Server is net/http as a server engine.
type Server struct {
	cfg  exchange.ServerConfig
	h    exchange.Handler
	log  *slog.Logger
	http *http.Server
	open atomic.Int64 // exchanges in hand, tunnels included
	xs   sync.Pool

	conns   atomic.Int64 // accepted connections that are not closed yet
	refused atomic.Int64 // connections closed at once because of MaxConns

	mu      sync.Mutex
	tunnels map[*tunnel]struct{}
}

// NewServer returns net/http as a server engine. log gets what net/http itself
// has to say (failed handshakes, mostly) at debug level and panics as errors;
// nil discards it.
func NewServer(cfg exchange.ServerConfig, h exchange.Handler, log *slog.Logger) (*Server, error) {
	if h == nil {
		return nil, errors.New("nethttp: a server needs a handler")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	setDefault(&cfg.HeaderBytes, defaultHeaderBytes)
	setDefault(&cfg.HeaderCount, defaultHeaderCount)
	setDefault(&cfg.HeaderTimeout, defaultHeaderTimeout)
	setDefault(&cfg.IdleTimeout, defaultIdleTimeout)
	setDefault(&cfg.MaxStreams, defaultMaxStreams)
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	if cfg.BodyBytes < 0 || cfg.RequestTimeout < 0 || cfg.MaxConns < 0 {
		return nil, fmt.Errorf("nethttp: listener %q: limits must not be negative (body %d bytes, request timeout %s, %d connections)",
			cfg.Name, cfg.BodyBytes, cfg.RequestTimeout, cfg.MaxConns)
	}
	s := &Server{cfg: cfg, h: h, log: log, tunnels: map[*tunnel]struct{}{},
		xs: sync.Pool{New: func() any { return new(exchange.Exchange) }}}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(cfg.TLS != nil && cfg.H2)
	protocols.SetUnencryptedHTTP2(cfg.TLS == nil && cfg.H2C)
	s.http = &http.Server{
		Handler:           s,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: int(cfg.MaxStreams)},
		MaxHeaderBytes:    cfg.HeaderBytes,
		ReadHeaderTimeout: cfg.HeaderTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       connContext,
		// "OPTIONS *" is forwarded like anything else.
		DisableGeneralOptionsHandler: true,
	}
	if cfg.TLS != nil {
		t, err := serverTLS(cfg.TLS, cfg.H2)
		if err != nil {
			return nil, fmt.Errorf("nethttp: listener %q: %w", cfg.Name, err)
		}
		s.http.TLSConfig = t
	}
	return s, nil
}

func setDefault[T int | uint32 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// serverTLS makes ALPN say what this engine speaks, also in the configurations
// that are chosen per connection and do not say it themselves.
func serverTLS(from *tls.Config, h2 bool) (*tls.Config, error) {
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
			if err != nil || c == nil || len(c.NextProtos) > 0 {
				return c, err
			}
			c = c.Clone()
			c.NextProtos = protos
			return c, nil
		}
	}
	return t, nil
}

// Serve implements exchange.Server.
func (s *Server) Serve(l net.Listener) error {
	l = &acceptor{Listener: l, s: s}
	var err error
	if s.cfg.TLS != nil {
		err = s.http.ServeTLS(l, "", "")
	} else {
		err = s.http.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("nethttp: listener %q: %w", s.cfg.Name, err)
}

// Leaving implements exchange.Server.
func (s *Server) Leaving() { s.http.SetKeepAlivesEnabled(false) }

// Shutdown implements exchange.Server. Answers written meanwhile say
// Connection: close, HTTP/2 clients get GOAWAY. Tunnels are waited for like
// exchanges, which they are.
func (s *Server) Shutdown(ctx context.Context) (int, error) {
	err := s.http.Shutdown(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("nethttp: listener %q: %w", s.cfg.Name, err)
	} else {
		err = nil
	}
	if s.idle(ctx) {
		// Connections that never sent a request are no loss.
		return 0, errors.Join(err, s.http.Close())
	}
	cut := int(s.open.Load())
	_ = s.http.Close()
	s.mu.Lock()
	for t := range s.tunnels {
		t.cut()
	}
	s.mu.Unlock()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutGrace)
	defer cancel()
	s.idle(grace)
	return cut, err
}

// idle waits until no exchange is in hand.
func (s *Server) idle(ctx context.Context) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.open.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s.open.Load() == 0
		}
	}
	return true
}

// Conns reports open connections, and how many were refused because of
// MaxConns since the start.
func (s *Server) Conns() (open, refused int64) { return s.conns.Load(), s.refused.Load() }

// Take serves a connection that another engine has accepted, and counts: one on
// which the client speaks HTTP/2, by ALPN (a *tls.Conn after its handshake) or
// prior knowledge.
func (s *Server) Take(c net.Conn) {
	l := &single{c: c}
	_ = s.http.Serve(l)
	if l.c != nil { // shut down before; Serve says the same of one that was while it accepted this
		_ = c.Close()
	}
}

// single is a listener for one connection.
type single struct{ c net.Conn }

func (l *single) Accept() (net.Conn, error) {
	c := l.c
	if l.c = nil; c == nil {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *single) Close() error { return nil }

func (l *single) Addr() net.Addr { return &net.TCPAddr{} }
