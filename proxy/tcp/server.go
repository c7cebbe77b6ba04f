package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Config is what a server is given.
type Config struct {
	Name    string                                            // the listener's
	Service string                                            // what its connections are for
	TLS     *tls.Config                                       // nil: plaintext. Its VerifyConnection decides who may connect
	PeerID  func(*tls.ConnectionState) (exchange.Peer, error) // with TLS

	// Connect opens the other side. over is called when the stream has ended.
	Connect func(ctx context.Context, st *exchange.Stream) (w exchange.Wire, over func(), fault *exchange.Fault)
	// Recheck starts a round over all running streams, at every interval: what it
	// returns says of each why it must end now, nil when it may go on. It may be
	// nil, and so may what it returns.
	Recheck  func() func(*exchange.Stream) *exchange.Fault
	Interval time.Duration // 500 ms

	Idle      func() time.Duration // longest silence, asked for each stream; 0 is unlimited
	Handshake time.Duration        // TLS must be done within; 10 s
	MaxConns  int                  // further clients wait in the kernel's queue; 0 is unlimited
	Ended     func(*exchange.Stream)
	Log       *slog.Logger
}

// Server accepts opaque streams and carries each to the other side that its
// config opens. It implements exchange.Server.
type Server struct {
	cfg     Config
	In, Out atomic.Int64 // bytes from clients and to them, of all streams so far
	room    chan struct{}
	ctx     context.Context // ends when streams are cut
	cancel  context.CancelFunc
	stopped chan struct{}
	work    sync.WaitGroup

	mu      sync.Mutex
	down    bool
	doors   []net.Listener
	streams map[*running]struct{}
}

// running is a stream with what it takes to cut it.
type running struct {
	exchange.Stream
	mu      sync.Mutex
	cut     *exchange.Fault // why we cut it
	client  exchange.Wire
	raw     net.Conn
	service exchange.Wire // nil: not connected
	cancel  context.CancelFunc
}

// NewServer returns a server that does not accept yet.
func NewServer(cfg Config) *Server {
	if cfg.Interval <= 0 {
		cfg.Interval = 500 * time.Millisecond
	}
	if cfg.Handshake <= 0 {
		cfg.Handshake = 10 * time.Second
	}
	s := &Server{cfg: cfg, stopped: make(chan struct{}), streams: map[*running]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if cfg.MaxConns > 0 {
		s.room = make(chan struct{}, cfg.MaxConns)
	}
	return s
}

// Serve implements exchange.Server.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		_ = l.Close()
		return net.ErrClosed
	}
	s.doors = append(s.doors, l)
	if len(s.doors) == 1 && s.cfg.Recheck != nil {
		s.work.Go(s.watch)
	}
	s.mu.Unlock()
	for {
		if s.room != nil {
			select {
			case s.room <- struct{}{}:
			case <-s.stopped:
				return net.ErrClosed
			}
		}
		c, err := l.Accept()
		if err != nil {
			s.vacate()
			if !transient(err) {
				return err
			}
			select { // out of descriptors: give others time to end
			case <-time.After(20 * time.Millisecond):
				continue
			case <-s.stopped:
				return net.ErrClosed
			}
		}
		if !s.begin(c) {
			_ = c.Close()
			s.vacate()
		}
	}
}

func transient(err error) bool {
	var n interface{ Temporary() bool } // deprecated for want of a definition; accept's meaning of it is clear
	return errors.As(err, &n) && n.Temporary()
}

func (s *Server) vacate() {
	if s.room != nil {
		<-s.room
	}
}

func (s *Server) begin(c net.Conn) bool {
	r := &running{raw: c}
	r.Listener, r.Service, r.Start, r.Remote = s.cfg.Name, s.cfg.Service, time.Now(), addrPort(c.RemoteAddr())
	ctx, cancel := context.WithCancel(s.ctx)
	r.cancel = cancel
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		cancel()
		return false
	}
	s.streams[r] = struct{}{}
	s.work.Go(func() {
		defer s.vacate()
		defer cancel()
		s.carry(ctx, r)
		s.mu.Lock()
		delete(s.streams, r)
		s.mu.Unlock()
		if s.cfg.Ended != nil {
			s.cfg.Ended(&r.Stream)
		}
	})
	return true
}

// Leaving implements exchange.Server: an opaque stream cannot be told to go.
func (s *Server) Leaving() {}

// Shutdown implements exchange.Server.
func (s *Server) Shutdown(ctx context.Context) (cut int, err error) {
	s.mu.Lock()
	if !s.down {
		s.down = true
		close(s.stopped)
		for _, l := range s.doors {
			_ = l.Close()
		}
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { s.work.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		for _, r := range s.all() {
			r.end(drainFault())
			cut++
		}
		err = ctx.Err()
		if cut == 0 {
			err = nil
		}
		<-ended
	}
	s.cancel()
	return cut, err
}

func (s *Server) all() []*running {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*running, 0, len(s.streams))
	for r := range s.streams {
		out = append(out, r)
	}
	return out
}

// watch cuts streams that may not go on.
func (s *Server) watch() {
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-s.stopped:
			// Draining streams lose their permission like others.
			s.mu.Lock()
			left := len(s.streams)
			s.mu.Unlock()
			if left == 0 {
				return
			}
			<-tick.C
		case <-tick.C:
		}
		allowed := s.cfg.Recheck()
		if allowed == nil {
			continue
		}
		for _, r := range s.all() {
			if !r.connected() {
				continue // its handshake checks it, or has just done so
			}
			if f := allowed(&r.Stream); f != nil {
				r.end(f)
			}
		}
	}
}
