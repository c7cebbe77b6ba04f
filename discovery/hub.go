package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// HubConfig is what a Hub needs.
type HubConfig struct {
	CacheDir string        // last known endpoints are kept in its folder "discovery"; in memory only when empty
	MaxStale time.Duration // endpoints not confirmed for this long are dropped; 0 keeps them
	Log      *slog.Logger

	settling time.Duration // defaultSettling
}

// Hub shares one watch between all subscribers of the same query, remembers
// the last known endpoints in memory and on disk, and tells how old they are.
type Hub struct {
	cfg   HubConfig
	cache *cache // nil without a folder

	mu      sync.Mutex
	watches map[string]*watch
	closed  bool
	running sync.WaitGroup
}

// NewHub makes a hub. A cache folder that cannot be used costs a warning and
// the memory of restarts, nothing else.
func NewHub(cfg HubConfig) *Hub {
	if cfg.settling == 0 {
		cfg.settling = defaultSettling
	}
	h := &Hub{cfg: cfg, watches: map[string]*watch{}}
	if cfg.CacheDir != "" {
		h.cache = openCache(cfg.CacheDir, cfg.Log)
	}
	return h
}

// Subscription is one subscriber's hold on a watch.
type Subscription struct {
	hub    *Hub
	watch  *watch
	update func(Update)
	closed bool // under watch.mu
}

// Subscribe calls update with what is known now, if anything, and then with
// every change of endpoints or of staleness; never concurrently, and never
// with an equal set again. The watch ends with its last subscription: on a
// reload subscribe anew before closing the old subscription.
func (h *Hub) Subscribe(source Source, q Query, update func(Update)) (*Subscription, error) {
	return h.subscribe(source, q, update, true)
}

// SubscribeSpare is Subscribe for what Ready need not wait for: a datacenter that
// is failed over to, and may be the one that is down.
func (h *Hub) SubscribeSpare(source Source, q Query, update func(Update)) (*Subscription, error) {
	return h.subscribe(source, q, update, false)
}

func (h *Hub) subscribe(source Source, q Query, update func(Update), needed bool) (*Subscription, error) {
	if q.Service == "" {
		return nil, errors.New("discovery: a query names no service")
	}
	key := source.Name() + "|" + queryKey(q)
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, errors.New("discovery: subscription to a closed hub")
	}
	w := h.watches[key]
	if w == nil {
		w = newWatch(h, key, source, q)
		h.watches[key] = w
		h.running.Go(w.run)
	}
	s := &Subscription{hub: h, watch: w, update: update}
	w.holders++
	w.needed = w.needed || needed
	h.mu.Unlock()
	w.join(s)
	return s, nil
}

// Close ends the subscription: no call of update begins after it returned. It
// may be called from within update.
func (s *Subscription) Close() {
	if !s.watch.leave(s) {
		return
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.watch.holders--; s.watch.holders == 0 {
		delete(h.watches, s.watch.key)
		s.watch.cancel()
	}
}

// Ready waits until something is known for this query: an answer, or the last
// known endpoints from disk while the source does not answer.
func (s *Subscription) Ready(ctx context.Context) error {
	select {
	case <-s.watch.ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("discovery: %s: %w", s.watch.awaited(), ctx.Err())
	}
}

// Ready waits until something is known for every query subscribed to so far, but
// spare ones; its error names all that are still awaited and why.
func (h *Hub) Ready(ctx context.Context) error {
	var awaited []string
	for _, w := range h.all() {
		h.mu.Lock()
		needed := w.needed
		h.mu.Unlock()
		select {
		case <-w.ready:
			continue
		default:
		}
		if !needed {
			continue
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			awaited = append(awaited, w.awaited())
		}
	}
	if awaited != nil {
		return fmt.Errorf("discovery: %s: %w", strings.Join(awaited, "; "), ctx.Err())
	}
	return nil
}

// Status is the state of one watch.
type Status struct {
	Source    string
	Query     Query
	Endpoints int
	Ready     bool          // something is known
	Stale     bool          // the source does not answer
	Dropped   bool          // the endpoints went past MaxStale
	FromDisk  bool          // what is known came from disk, not from the source
	Age       time.Duration // since the source last confirmed what is known; 0 for what cannot go stale
	Err       string        // why it is stale
}

// Status is the state of every watch, in no particular order.
func (h *Hub) Status() []Status {
	var all []Status
	for _, w := range h.all() {
		all = append(all, w.status(time.Now()))
	}
	return all
}

// Staleness is the time since the source last confirmed this query's answer,
// 0 for what cannot go stale; since the subscription began while nothing is known.
func (s *Subscription) Staleness() time.Duration { return s.watch.status(time.Now()).Age }

// Close ends every watch, and returns when they have ended and the disk is
// written (bounded).
func (h *Hub) Close() {
	h.mu.Lock()
	again := h.closed
	h.closed = true
	for _, w := range h.watches {
		w.cancel()
	}
	h.mu.Unlock()
	h.running.Wait()
	if h.cache != nil && !again {
		h.cache.close()
	}
}

func (h *Hub) all() []*watch {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*watch, 0, len(h.watches))
	for _, w := range h.watches {
		all = append(all, w)
	}
	return all
}
