package http1

import (
	"errors"
	"net"
	"os"
	"time"
)

// sweepEvery is how often goroutine-driven connections are looked at for
// clients that have left. Event loops are told at once.
const sweepEvery = 500 * time.Millisecond

// serveThreads runs a goroutine for every connection of l.
func (s *server) serveThreads(l net.Listener) error {
	s.sweep()
	pause := time.Duration(0)
	for {
		raw, err := l.Accept()
		if err != nil {
			var ne net.Error
			if s.draining.Load() || errors.Is(err, net.ErrClosed) || !errors.As(err, &ne) || !isTemporary(err) {
				return err
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("http1: accepting a connection", "listener", s.cfg.Name, "error", err, "again_in", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		if !s.admit() {
			_ = raw.Close()
			continue
		}
		c := s.newConn(raw, threads{})
		if !s.keep(c) {
			s.conns.Add(-1)
			_ = raw.Close()
			continue
		}
		go c.run()
	}
}

// run is a connection's goroutine.
func (c *conn) run() {
	for first := true; ; first = false {
		limit := c.s.cfg.IdleTimeout
		if first {
			limit = c.s.cfg.HeaderTimeout
		}
		if !c.arrives(limit) || !c.serve() {
			c.close()
			return
		}
	}
}

// arrives waits for the first byte of something, holding no buffer.
func (c *conn) arrives(limit time.Duration) bool {
	_ = c.raw.SetReadDeadline(time.Now().Add(limit))
	defer func() { _ = c.raw.SetReadDeadline(time.Time{}) }()
	return readable(c.raw)
}

// sweep starts the goroutine that looks for clients that have left; it ends
// when there are no connections any more and the server is shut down.
func (s *server) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweeping || s.draining.Load() { // nobody would end it
		return
	}
	s.sweeping = true
	s.stop = make(chan struct{})
	go func() {
		tick := time.NewTicker(sweepEvery)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				for _, c := range s.snapshot() {
					c.look(now)
				}
			case <-s.stop:
				return
			}
		}
	}()
}

// look cancels the exchange of a client that ended its half long enough ago.
func (c *conn) look(now time.Time) {
	if c.state.Load() != serving || c.tunnelled.Load() || c.in.busy.Load() || !hungUp(c.raw) {
		return
	}
	life := c.life.Load()
	switch {
	case life == nil:
	case c.half.life != life:
		c.half = halfClosed{life, now}
	case now.Sub(c.half.since) >= patience:
		life.Cancel(errLeft)
	}
}

// isTemporary tells running out of descriptors from a listener that is over.
func isTemporary(err error) bool {
	var se *os.SyscallError
	return errors.As(err, &se) && exhausted(se.Err)
}
