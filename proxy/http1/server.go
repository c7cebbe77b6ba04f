package http1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
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
	defaultWriteTimeout  = 60 * time.Second
)

// hearing is how long clients have to hear that they are to go, from an answer or,
// where their connections carry others, a word on these.
const hearing = 200 * time.Millisecond

// cutGrace is how long Shutdown waits for exchanges it has cut to be finished.
const cutGrace = 2 * time.Second

// Options are what a server engine is given besides its configuration.
type Options struct {
	// HTTP2 is handed connections whose client speaks HTTP/2, by ALPN or prior
	// knowledge. Nil: it is not offered.
	HTTP2 func(net.Conn)
	// Threads has every connection run on a goroutine of its own even where
	// there are event loops.
	Threads bool
}

type server struct {
	cfg  exchange.ServerConfig
	opt  Options
	h    exchange.Handler
	log  *slog.Logger
	lim  limits
	tls  *secure // nil: plaintext
	xs   sync.Pool
	date dateCache

	leaving  atomic.Bool  // answers say Connection: close
	draining atomic.Bool  // nothing new is taken
	open     atomic.Int64 // exchanges in hand
	conns    atomic.Int64
	refused  atomic.Int64 // connections beyond MaxConns

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	closing   bool // they are
	all       map[*conn]struct{}
	onLoops   int // listeners served by event loops
	sweeping  bool
	stop      chan struct{} // ends the sweep
}

// NewServer returns the HTTP/1.1 engine as a server.
func NewServer(cfg exchange.ServerConfig, h exchange.Handler, log *slog.Logger, opt Options) (exchange.Server, error) {
	setDefault(&cfg.HeaderBytes, defaultHeaderBytes)
	setDefault(&cfg.HeaderCount, defaultHeaderCount)
	setDefault(&cfg.HeaderTimeout, defaultHeaderTimeout)
	setDefault(&cfg.IdleTimeout, defaultIdleTimeout)
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	if cfg.BodyBytes < 0 || cfg.RequestTimeout < 0 || cfg.MaxConns < 0 {
		return nil, fmt.Errorf("http1: listener %q: limits must not be negative (body %d bytes, request timeout %s, %d connections)",
			cfg.Name, cfg.BodyBytes, cfg.RequestTimeout, cfg.MaxConns)
	}
	s := &server{cfg: cfg, opt: opt, h: h, log: log, lim: limits{bytes: cfg.HeaderBytes, count: cfg.HeaderCount},
		listeners: map[net.Listener]struct{}{}, all: map[*conn]struct{}{},
		xs: sync.Pool{New: newExchange}}
	if cfg.TLS != nil {
		var err error
		if s.tls, err = newSecure(cfg.TLS, cfg.H2 && opt.HTTP2 != nil, cfg.PeerID != nil); err != nil {
			return nil, fmt.Errorf("http1: listener %q: %w", cfg.Name, err)
		}
	}
	return s, nil
}

// newExchange makes one whose own strings are as short-lived as its views.
func newExchange() any {
	x := new(exchange.Exchange)
	x.Request.Header.Recycle()
	x.Response.Header.Recycle()
	return x
}

func setDefault[T int | int64 | uint32 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Serve implements exchange.Server.
func (s *server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		_ = l.Close()
		return nil
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	var err error
	if served, onLoops := s.serveLoops(l); onLoops {
		err = served
	} else {
		err = s.serveThreads(l)
	}
	if err == nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("http1: listener %q: %w", s.cfg.Name, err)
}

// admit counts a new connection. Beyond MaxConns it is closed at once instead
// of left waiting in the kernel's queue: its client learns immediately and tries
// elsewhere.
func (s *server) admit() bool {
	n := s.conns.Add(1)
	if limit := s.cfg.MaxConns; limit > 0 && n > int64(limit) {
		s.conns.Add(-1)
		s.refused.Add(1)
		return false
	}
	return true
}

func (s *server) keep(c *conn) (fine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.all[c] = struct{}{}
	return true
}

func (s *server) forget(c *conn) {
	s.mu.Lock()
	_, known := s.all[c]
	delete(s.all, c)
	s.mu.Unlock()
	if known && c.stream == nil { // whose connection counts itself
		s.conns.Add(-1)
	}
}

func (s *server) snapshot() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.all))
	for c := range s.all {
		all = append(all, c)
	}
	return all
}

// Leaving implements exchange.Server.
func (s *server) Leaving() {
	s.leaving.Store(true)
	for _, c := range s.snapshot() {
		if m := c.session.Load(); m != nil {
			m.AskToLeave()
		}
	}
}

// Shutdown implements exchange.Server. Answers written meanwhile say
// Connection: close; idle connections are closed; tunnels are waited for like
// exchanges, which they are.
func (s *server) Shutdown(ctx context.Context) (int, error) {
	s.Leaving()
	s.mu.Lock()
	s.closing = true
	listeners := slices.Collect(maps.Keys(s.listeners))
	s.mu.Unlock()
	// Not under the lock: closing waits for an accept in progress, which may be
	// waiting for it.
	var err error
	for _, l := range listeners {
		if e := l.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, fmt.Errorf("http1: listener %q: %w", s.cfg.Name, e))
		}
	}
	if s.conns.Load() > 0 {
		// A request may be on its way on a connection that is closed for being idle, or
		// on a stream that is refused, with a body that nobody can send again. So none
		// is until whoever sends one now and then has heard that it is to go.
		select {
		case <-time.After(hearing):
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	s.draining.Store(true)
	s.mu.Unlock()
	for _, c := range s.snapshot() {
		c.goAway()
	}
	cut, quiet := 0, s.idle(ctx)
	if !quiet {
		cut = int(s.open.Load())
	}
	for _, c := range s.snapshot() {
		// A stream may be between two exchanges, or read a request's head: closed
		// now, its peer could not tell that nothing was looked at. It refuses or
		// answers by itself.
		if c.session.Load() == nil && !(quiet && c.stream != nil) {
			c.cut()
		}
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutGrace)
	defer cancel()
	s.idle(grace)
	s.sessionsEnd(grace)
	s.mu.Lock()
	if s.sweeping {
		s.sweeping = false
		close(s.stop)
	}
	s.mu.Unlock()
	s.stopLoops()
	return cut, err
}

// idle waits until no exchange is in hand.
func (s *server) idle(ctx context.Context) bool {
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

// Conns reports open connections, each once whatever it carries, and how many were refused because of
// MaxConns since the start.
func (s *server) Conns() (open, refused int64) { return s.conns.Load(), s.refused.Load() }
