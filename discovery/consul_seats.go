package discovery

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
// take turns, in order: changes are seen later, but all are. Those of which it is
// known that their answer has changed go first.
type seats struct {
	size int
	log  *slog.Logger
	// follow finds out who has news, as long as turns are taken. May be nil.
	follow func(context.Context)

	mu        sync.Mutex
	queries   map[*asker]struct{}
	taken     int
	waiting   []*asker
	warned    bool
	blocking  map[*context.CancelCauseFunc]struct{} // with all the time they like
	following context.CancelFunc                    // nil: nobody needs to
}

// asker is one query among those who take turns. Its fields are the seats'.
type asker struct {
	names  []string      // of services in whose checks its answer may show
	urgent bool          // its answer has changed
	turn   chan struct{} // closed when it may sit; nil when it does not wait
}

func newSeats(n int, log *slog.Logger) *seats {
	return &seats{size: n, log: log, queries: map[*asker]struct{}{}, blocking: map[*context.CancelCauseFunc]struct{}{}}
}

// enter counts a query until it leaves.
func (s *seats) enter() *asker {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := new(asker)
	s.queries[a] = struct{}{}
	if !s.crowded() {
		return a
	}
	if !s.warned {
		s.warned = true
		s.log.Warn("discovery: more is asked of consul than discovery.consul.max_watches; the questions take turns, so changes are seen later. "+
			"Raise limits.http_max_conns_per_client of the agent (200 by default), then max_watches", "max_watches", s.size)
	}
	for cancel := range s.blocking {
		(*cancel)(errCrowded)
	}
	clear(s.blocking)
	if s.follow != nil && s.following == nil {
		var ctx context.Context
		ctx, s.following = context.WithCancel(context.Background())
		go s.follow(ctx)
	}
	return a
}

func (s *seats) leave(a *asker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.queries, a)
	if s.following != nil && !s.crowded() {
		s.following()
		s.following = nil
	}
}

func (s *seats) crowded() bool { return len(s.queries) > s.size }

// sit waits for a seat.
func (s *seats) sit(ctx context.Context, a *asker) (rise func(), err error) {
	s.mu.Lock()
	if s.taken < s.size {
		s.taken++
		a.urgent = false
		s.mu.Unlock()
		return s.rise, nil
	}
	turn := make(chan struct{})
	a.turn = turn
	s.waiting = append(s.waiting, a)
	if a.urgent {
		s.urgentFirst()
	}
	s.mu.Unlock()
	select {
	case <-turn:
		return s.rise, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(s.waiting, a)
	if i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		a.turn = nil
	}
	s.mu.Unlock()
	if i < 0 { // it got one in the same moment
		s.rise()
	}
	return nil, ctx.Err()
}

// rise gives the seat to whoever waits first.
func (s *seats) rise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		s.taken--
		return
	}
	next := s.waiting[0]
	s.waiting = slices.Delete(s.waiting, 0, 1)
	next.urgent = false
	close(next.turn)
	next.turn = nil
}

// about says in which services' checks a query's answer may show.
func (s *seats) about(a *asker, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.names = names
}

// hasten lets queries about these services go first, once.
func (s *seats) hasten(names map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.queries {
		a.urgent = a.urgent || slices.ContainsFunc(a.names, func(name string) bool { return names[name] })
	}
	s.urgentFirst()
}

func (s *seats) urgentFirst() {
	slices.SortStableFunc(s.waiting, func(a, b *asker) int {
		switch {
		case a.urgent == b.urgent:
			return 0
		case a.urgent:
			return -1
		}
		return 1
	})
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
