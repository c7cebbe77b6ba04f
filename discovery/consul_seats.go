package discovery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	// defaultWatches leaves some of the 200 connections that a Consul agent
	// takes from one address (its limits.http_max_conns_per_client) to others.
	defaultWatches = 160
	// aheadWatches have seats of their own: who may call whom, by which
	// certificates, and the configuration must not wait for services' turns.
	aheadWatches = 8
	spareConns   = 24          // for questions that do not block: signs of life, registration
	turn         = time.Second // how long a query may block while others wait for its seat
)

// errCrowded ends a query that blocks for long, once there are more than seats.
var errCrowded = errors.New("discovery: others wait to ask consul")

// seats bound how many queries block at a time, each of which holds a connection.
// An agent refuses those beyond its limit, signs of life included, and then
// nothing it said could be trusted. While there are more queries than seats they
// take turns, in order: changes are seen later, but all are.
type seats struct {
	free chan struct{}
	log  *slog.Logger

	mu       sync.Mutex
	queries  int
	warned   bool
	blocking map[*context.CancelCauseFunc]struct{} // with all the time they like
}

func newSeats(n int, log *slog.Logger) *seats {
	return &seats{free: make(chan struct{}, n), log: log, blocking: map[*context.CancelCauseFunc]struct{}{}}
}

// enter counts a query until leave is called.
func (s *seats) enter() (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries++
	if s.crowded() {
		if !s.warned {
			s.warned = true
			s.log.Warn("discovery: more is asked of consul than discovery.consul.max_watches; the questions take turns, so changes are seen later. "+
				"Raise limits.http_max_conns_per_client of the agent (200 by default), then max_watches", "max_watches", cap(s.free))
		}
		for cancel := range s.blocking {
			(*cancel)(errCrowded)
		}
		clear(s.blocking)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queries--
	}
}

func (s *seats) crowded() bool { return s.queries > cap(s.free) }

// sit waits for a seat.
func (s *seats) sit(ctx context.Context) (rise func(), err error) {
	select {
	case s.free <- struct{}{}:
		return func() { <-s.free }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stay is how long a query may block that would like to for wait; cancel ends it
// with errCrowded if it gets crowded meanwhile.
func (s *seats) stay(wait time.Duration, cancel context.CancelCauseFunc) (allowed time.Duration, over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crowded() {
		return min(wait, turn), func() {}
	}
	s.blocking[&cancel] = struct{}{}
	return wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.blocking, &cancel)
	}
}
