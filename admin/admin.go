package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where the API listens.
type Config struct {
	Address          string   // host:port of the whole API; "" or "off" switches it off
	Probes           string   // host:port of /livez, /readyz and /metrics alone; "" or "off" switches it off
	AllowNonLoopback bool     // let Address be reachable from elsewhere: it can drain and reload, and has no login
	Hosts            []string // further names the API may be called by

	Listen func(ctx context.Context, address string) (net.Listener, error) // how to listen; nil: by TCP
}

// Limits of both servers. The API answers small questions.
const (
	headTimeout  = 5 * time.Second
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second // pprof adds the seconds asked for
	idleTimeout  = 60 * time.Second
	headBytes    = 32 << 10
	maxConns     = 256
	bodyBytes    = 64 << 10
)

// Server is the API and, if asked for, the probes.
type Server struct {
	cfg      Config
	src      Sources
	log      *slog.Logger
	api      *endpoint
	probes   *endpoint
	draining atomic.Bool
	drain    sync.Once
	reload   sync.Mutex
}

// endpoint is one listening address.
type endpoint struct {
	http     *http.Server
	listener net.Listener
	done     chan struct{}
}

// New checks cfg. Nothing listens before Start.
func New(cfg Config, src Sources, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, src: src, log: log}
	if on(cfg.Address) {
		if err := s.checkBind(); err != nil {
			return nil, err
		}
		s.api = s.endpoint(s.guard(s.apiRoutes()))
	}
	if on(cfg.Probes) {
		s.probes = s.endpoint(s.probeRoutes())
	}
	return s, nil
}

func on(address string) bool { return address != "" && address != "off" }

// checkBind refuses an address that others can reach, unless that is wanted.
// A name other than localhost counts as reachable: it may resolve to anything.
func (s *Server) checkBind() error {
	host, _, err := net.SplitHostPort(s.cfg.Address)
	if err != nil {
		return fmt.Errorf("admin: address %q is not host:port: %w", s.cfg.Address, err)
	}
	if s.cfg.AllowNonLoopback || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("admin: address %q is not on loopback; use 127.0.0.1 or [::1], "+
			"publish only the probes, or allow it explicitly", s.cfg.Address)
	}
	return nil
}

func (s *Server) endpoint(h http.Handler) *endpoint {
	return &endpoint{done: make(chan struct{}), http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}}
}

// Start listens on the configured addresses and serves in the background. When
// one of them fails none is left open.
func (s *Server) Start(ctx context.Context) error {
	for _, e := range []struct {
		*endpoint
		address string
	}{{s.api, s.cfg.Address}, {s.probes, s.cfg.Probes}} {
		if e.endpoint == nil {
			continue
		}
		l, err := s.listen(ctx, e.address)
		if err != nil {
			if s.api != nil && s.api.listener != nil {
				s.api.http.Close()
				<-s.api.done
			}
			return fmt.Errorf("admin: %w", err)
		}
		e.listener = newCapped(l, maxConns)
		go func() {
			defer close(e.done)
			if err := e.http.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("admin stopped serving", "address", e.address, "error", err)
			}
		}()
	}
	return nil
}

func (s *Server) listen(ctx context.Context, address string) (net.Listener, error) {
	if s.cfg.Listen != nil {
		return s.cfg.Listen(ctx, address)
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// Addr is where the API listens, nil when it does not.
func (s *Server) Addr() net.Addr { return s.api.addr() }

// ProbesAddr is where the probes listen, nil when they do not.
func (s *Server) ProbesAddr() net.Addr { return s.probes.addr() }

func (e *endpoint) addr() net.Addr {
	if e == nil || e.listener == nil {
		return nil
	}
	return e.listener.Addr()
}

// SetDraining makes /readyz answer 503 from now on. A process does it when its
// drain begins by other means than POST /drain, a SIGTERM for one.
func (s *Server) SetDraining() { s.draining.Store(true) }

// Shutdown lets answers in progress finish until ctx ends, then cuts them. It
// belongs at the very end, so that probes see the drain.
func (s *Server) Shutdown(ctx context.Context) error {
	var failed error
	for _, e := range []*endpoint{s.api, s.probes} {
		if e == nil || e.listener == nil {
			continue
		}
		if err := e.http.Shutdown(ctx); err != nil {
			e.http.Close()
			failed = errors.Join(failed, fmt.Errorf("admin: %s: %w", e.listener.Addr(), err))
		}
		<-e.done
	}
	return failed
}
