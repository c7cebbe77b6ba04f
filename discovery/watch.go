package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// defaultSettling is how long after an outage of the source an answer that empties a
// service is doubted. An agent that restarts holds every check critical until
// it has run once, so for some seconds it says of healthy services that there
// are none. A service that is empty is seen to be so this much later, at the
// source's next sign of life.
const defaultSettling = 15 * time.Second

// watch is one query's state, shared by its subscribers.
type watch struct {
	hub    *Hub
	key    string
	source Source
	query  Query
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	ready  chan struct{} // closed when something is known and subscribers have been told

	holders int  // under hub.mu
	needed  bool // somebody has subscribed who waits for it; under hub.mu

	deliver sync.Mutex // held while subscribers are told: keeps their order

	mu        sync.Mutex // guards what follows
	subs      []*Subscription
	known     bool
	announced bool // ready is closed, or about to be
	now       Update
	began     time.Time
	fromDisk  bool
	dropped   bool
	lastErr   error
	saved     bool // by this process
	expiry    *time.Timer

	recovered time.Time // when the source answered again after an outage
	doubting  bool      // it says that there are no endpoints, and is not believed yet
}

func newWatch(h *Hub, key string, source Source, q Query) *watch {
	w := &watch{hub: h, key: key, source: source, query: q, ready: make(chan struct{}), began: time.Now()}
	w.log = h.cfg.Log.With("source", source.Name(), "service", q.String())
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *watch) run() {
	defer w.cancel()
	err := w.source.Watch(w.ctx, w.query, w.learn)
	w.mu.Lock()
	if w.expiry != nil {
		w.expiry.Stop()
	}
	w.mu.Unlock()
	if w.ctx.Err() == nil {
		w.learn(Update{Stale: true, Err: err})
		w.log.Error("discovery: the watch ended for good", "error", err)
	}
}

// learn takes what the source says, and tells subscribers what is new in it.
func (w *watch) learn(u Update) {
	if w.ctx.Err() != nil {
		return // ended: its subscribers are gone
	}
	w.deliver.Lock()
	defer w.deliver.Unlock()
	w.mu.Lock()
	news := w.merge(u)
	first := w.known && !w.announced
	w.announced = w.known
	told, subs := w.now, slices.Clone(w.subs)
	w.arm()
	w.mu.Unlock()
	if news {
		w.tell(told, subs)
	}
	if first {
		close(w.ready) // only now: who awaits it opens a listener on the strength of what was told
	}
}

// merge is the rule that a source's failure never empties a service: only an
// answer replaces endpoints. It reports whether subscribers must hear of it.
func (w *watch) merge(u Update) (news bool) {
	if u.Stale {
		w.lastErr, w.doubting, w.recovered = u.Err, false, time.Time{}
		if !w.known {
			return w.fromCache(u.Err)
		}
		news = !w.now.Stale
		w.now.Stale, w.now.Err = true, u.Err
		return news
	}
	if w.known && w.now.Stale && w.recovered.IsZero() {
		w.recovered = time.Now()
	}
	if w.doubts(u) {
		return false
	}
	return w.take(u)
}

// doubts holds back an answer that would empty the service just after an
// outage, until settling is over or another answer comes. Only a source that
// still says so then is believed, never the mere passing of time: it may be
// away again, unnoticed yet.
func (w *watch) doubts(u Update) bool {
	left := w.hub.cfg.settling - time.Since(w.recovered)
	was := w.doubting
	w.doubting = len(u.Endpoints) == 0 && len(w.now.Endpoints) > 0 && !w.recovered.IsZero() && left > 0
	if w.doubting && !was {
		w.log.Warn("discovery: the source answers again and says there are no endpoints; keeping those last known until its checks have run",
			"endpoints", len(w.now.Endpoints), "at_most", left.Round(time.Second))
	}
	return w.doubting
}

// take makes an answer what is known.
func (w *watch) take(u Update) (news bool) {
	news = !w.known || w.now.Stale || w.dropped || !sameEndpoints(w.now.Endpoints, u.Endpoints)
	changed := !w.known || w.dropped || !sameEndpoints(w.now.Endpoints, u.Endpoints)
	if changed && len(u.Endpoints) == 0 {
		w.log.Warn("discovery: the service has no healthy endpoints, says its source")
	}
	w.now, w.fromDisk, w.dropped, w.lastErr = u, false, false, nil
	w.known = true
	switch cache := w.hub.cache; {
	case cache == nil || u.At.IsZero():
	case changed || !w.saved:
		w.saved = true
		cache.save(record{Key: w.key, Query: w.query, At: u.At, Endpoints: u.Endpoints})
	default:
		cache.confirm(w.key, u.At)
	}
	return news
}

func (w *watch) fromCache(cause error) (news bool) {
	if w.hub.cache == nil {
		return false
	}
	r, ok := w.hub.cache.load(w.key)
	if !ok {
		return false
	}
	age := time.Since(r.At)
	if limit := w.hub.cfg.MaxStale; limit > 0 && age > limit {
		w.log.Error("discovery: the endpoints on disk are older than max_stale; not used", "age", age, "max_stale", limit)
		return false
	}
	w.log.Warn("discovery: the source does not answer; starting with the endpoints last known, from disk", "age", age, "endpoints", len(r.Endpoints), "error", cause)
	w.now = Update{Endpoints: r.Endpoints, Stale: true, At: r.At, Err: cause}
	w.fromDisk = true
	w.known = true
	return true
}

// arm sets the alarm for the moment when what is known gets too old.
func (w *watch) arm() {
	limit := w.hub.cfg.MaxStale
	if limit <= 0 || !w.known || w.dropped || w.now.At.IsZero() {
		return
	}
	left := max(0, limit-time.Since(w.now.At))
	if w.expiry == nil {
		w.expiry = time.AfterFunc(left, w.expire)
		return
	}
	w.expiry.Reset(left)
}

func (w *watch) expire() {
	w.deliver.Lock()
	defer w.deliver.Unlock()
	w.mu.Lock()
	limit := w.hub.cfg.MaxStale
	age := time.Since(w.now.At)
	if w.ctx.Err() != nil || w.dropped || age < limit {
		w.mu.Unlock()
		return
	}
	w.log.Error("discovery: endpoints DROPPED: not confirmed for longer than max_stale; the service has none until its source answers",
		"endpoints", len(w.now.Endpoints), "age", age, "max_stale", limit, "error", w.lastErr)
	w.dropped = true
	w.now.Endpoints, w.now.Stale = nil, true
	if w.now.Err == nil {
		w.now.Err = errors.New("discovery: not confirmed within max_stale")
	}
	told, subs := w.now, slices.Clone(w.subs)
	w.mu.Unlock()
	w.tell(told, subs)
}

func (w *watch) tell(u Update, subs []*Subscription) {
	for _, s := range subs {
		w.mu.Lock()
		closed := s.closed
		w.mu.Unlock()
		if !closed {
			s.update(u)
		}
	}
}

func (w *watch) join(s *Subscription) {
	w.deliver.Lock()
	defer w.deliver.Unlock()
	w.mu.Lock()
	w.subs = append(w.subs, s)
	known, now := w.known, w.now
	w.mu.Unlock()
	if known {
		s.update(now)
	}
}

func (w *watch) leave(s *Subscription) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	w.subs = slices.DeleteFunc(w.subs, func(o *Subscription) bool { return o == s })
	return true
}

func (w *watch) awaited() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := fmt.Sprintf("no answer yet about service %q from %s", w.query.String(), w.source.Name())
	if w.lastErr != nil {
		text += fmt.Sprintf(" (last error: %v)", w.lastErr)
	}
	return text
}

func (w *watch) status(now time.Time) Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := Status{Source: w.source.Name(), Query: w.query, Endpoints: len(w.now.Endpoints), Ready: w.known,
		Stale: w.now.Stale || !w.known && w.lastErr != nil, Dropped: w.dropped, FromDisk: w.fromDisk}
	if w.lastErr != nil {
		st.Err = w.lastErr.Error()
	}
	switch {
	case !w.known:
		st.Age = now.Sub(w.began)
	case !w.now.At.IsZero():
		st.Age = max(0, now.Sub(w.now.At))
	}
	return st
}
