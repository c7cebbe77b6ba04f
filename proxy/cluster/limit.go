package cluster

import (
	"container/list"
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// LimitConfig bounds the exchanges a service has at once.
type LimitConfig struct {
	Max          int
	Adaptive     bool
	Min          int // with Adaptive
	Queue        int
	QueueTimeout time.Duration
}

// limit is a service's bulkhead: so many exchanges at once, and a short queue.
//
// The queue is first come, first served. Last come, first served has the better
// of it where waits grow long, since who came first has given up by then; here no
// wait is longer than QueueTimeout, so that order would only be unfair.
// A nil limit lets all pass.
type limit struct {
	cfg   LimitConfig
	adapt *adaptive // nil: the limit is Max

	mu    sync.Mutex
	max   int
	busy  int
	queue list.List // of chan struct{}: closed once it is its turn

	full, late atomic.Uint64 // refused: no place in the queue; waited in vain
	waited     atomic.Uint64
	waitedNs   atomic.Int64
}

var (
	errNoPlace = errors.New("cluster: the service and its queue are full")
	errTooLate = errors.New("cluster: waited too long for the service's turn")
)

func newLimit(c *LimitConfig) *limit {
	if c == nil {
		return nil
	}
	l := &limit{cfg: *c, max: c.Max}
	if c.Adaptive {
		l.adapt = newAdaptive(c.Min, c.Max)
		l.max = l.adapt.limit()
	}
	return l
}

// take takes a place if there is one and nobody waits for it.
func (l *limit) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy >= l.max || l.queue.Len() > 0 {
		return false
	}
	l.busy++
	return true
}

// wait takes a place, if need be later.
func (l *limit) wait(ctx context.Context) error {
	l.mu.Lock()
	if l.busy < l.max && l.queue.Len() == 0 {
		l.busy++
		l.mu.Unlock()
		return nil
	}
	if l.queue.Len() >= l.cfg.Queue {
		l.mu.Unlock()
		l.full.Add(1)
		return errNoPlace
	}
	turn := make(chan struct{})
	e := l.queue.PushBack(turn)
	l.mu.Unlock()

	from := time.Now()
	timer := time.NewTimer(l.cfg.QueueTimeout)
	defer timer.Stop()
	var err error
	select {
	case <-turn:
	case <-timer.C:
		err = errTooLate
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	l.waited.Add(1)
	l.waitedNs.Add(int64(time.Since(from)))
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-turn: // its turn came just now
		if err == errTooLate {
			return nil
		}
		l.busy--
		l.next()
	default:
		l.queue.Remove(e)
	}
	if err == errTooLate {
		l.late.Add(1)
	}
	return err
}

// give gives a place back.
func (l *limit) give() {
	l.mu.Lock()
	l.busy--
	l.next()
	l.mu.Unlock()
}

// next lets in who is next, as many as there is room for.
func (l *limit) next() {
	for l.busy < l.max && l.queue.Len() > 0 {
		e := l.queue.Front()
		l.queue.Remove(e)
		l.busy++
		close(e.Value.(chan struct{}))
	}
}

// observe tells the adaptive limit how long an answer took, or that none came.
func (l *limit) observe(now time.Time, took time.Duration, lost bool) {
	if l == nil || l.adapt == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.adapt.observe(now, took, l.busy, lost) {
		l.max = l.adapt.limit()
		l.next()
	}
}

// enter takes the exchange's place with the service.
func (r *run) enter() *exchange.Fault {
	l := r.c.limit
	if l == nil {
		return nil
	}
	if l.take() {
		r.placed = true
		return nil
	}
	r.now = time.Time{}
	switch err := r.x.Await(l.wait); {
	case err == nil && r.x.Ended() == nil:
		r.placed = true
		return nil
	case err == nil:
		l.give()
	case errors.Is(err, errNoPlace), errors.Is(err, errTooLate):
		return &exchange.Fault{
			Source: exchange.FromUpstream, Status: http.StatusServiceUnavailable, Code: "service-overloaded",
			Title: "Service has enough to do", Detail: "service " + r.c.cfg.Service + " has as many requests in progress as concurrency allows",
			RetryAfter: time.Second, Proxy: "destination_unavailable", Err: err,
		}
	}
	return r.explain(nil)
}
