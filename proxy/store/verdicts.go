package store

import (
	"context"
	"sync"
	"time"
)

// Verdicts remembers what was answered to a question for as long as the answer
// allows, at most so many answers, and lets concurrent askers of one question
// send one of them.
type Verdicts[V any] struct {
	shards []verdictShard[V]
	max    int // entries per shard
}

// Question is a hash of everything that the answer may depend on: what was asked
// for, credentials included, is not itself kept.
type Question [32]byte

// Reply is what asking brought.
type Reply[V any] struct {
	Value V
	Keep  time.Duration // remembered for this long; 0: not at all
	Alone bool          // meant for this asker: whoever waited asks for himself
}

type verdictShard[V any] struct {
	mu   sync.Mutex
	kept map[Question]*keptVerdict[V]
	open map[Question]*errand[V]
}

type keptVerdict[V any] struct {
	value V
	until time.Time
	used  time.Time
}

// errand is one asker's way, which others wait for.
type errand[V any] struct {
	done  chan struct{}
	reply Reply[V]
	err   error
	void  bool // the asker left before there was an answer
}

// evictAmong is how many entries an eviction chooses among.
const evictAmong = 8

// NewVerdicts returns an empty store of at most max answers.
func NewVerdicts[V any](max int) *Verdicts[V] {
	n := 16
	if max < 64*n {
		n = 1 // few enough for one lock, and exactly max
	}
	v := &Verdicts[V]{shards: make([]verdictShard[V], n), max: max / n}
	for i := range v.shards {
		v.shards[i].kept = map[Question]*keptVerdict[V]{}
		v.shards[i].open = map[Question]*errand[V]{}
	}
	return v
}

func (v *Verdicts[V]) shard(q Question) *verdictShard[V] {
	return &v.shards[int(q[0])%len(v.shards)]
}

// Get returns a remembered answer.
func (v *Verdicts[V]) Get(q Question, now time.Time) (V, bool) {
	s := v.shard(q)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(q, now)
}

func (s *verdictShard[V]) get(q Question, now time.Time) (value V, ok bool) {
	k := s.kept[q]
	if k == nil {
		return value, false
	}
	if !now.Before(k.until) {
		delete(s.kept, q)
		return value, false
	}
	k.used = now
	return k.value, true
}

// Ask returns a remembered answer, or the one that another asker of the same
// question is about to get, or what ask brings. Errors are shared with those
// who wait, and not remembered. An asker whose ctx ends takes nobody with him.
func (v *Verdicts[V]) Ask(ctx context.Context, q Question, ask func(context.Context) (Reply[V], error)) (V, error) {
	s := v.shard(q)
	for range 2 {
		s.mu.Lock()
		if value, ok := s.get(q, time.Now()); ok {
			s.mu.Unlock()
			return value, nil
		}
		e := s.open[q]
		if e == nil {
			e = &errand[V]{done: make(chan struct{}), void: true}
			s.open[q] = e
			s.mu.Unlock()
			return v.lead(ctx, s, q, e, ask)
		}
		s.mu.Unlock()
		select {
		case <-e.done:
		case <-ctx.Done():
			var none V
			return none, context.Cause(ctx)
		}
		if e.void {
			continue
		}
		if e.err == nil && e.reply.Alone {
			break
		}
		return e.reply.Value, e.err
	}
	reply, err := ask(ctx)
	v.keep(s, q, reply, err)
	return reply.Value, err
}

// lead asks for all who wait. Should ask panic, they ask for themselves.
func (v *Verdicts[V]) lead(ctx context.Context, s *verdictShard[V], q Question, e *errand[V], ask func(context.Context) (Reply[V], error)) (V, error) {
	defer func() {
		s.mu.Lock()
		delete(s.open, q)
		s.mu.Unlock()
		close(e.done)
	}()
	e.reply, e.err = ask(ctx)
	e.void = e.err != nil && ctx.Err() != nil
	v.keep(s, q, e.reply, e.err)
	return e.reply.Value, e.err
}

func (v *Verdicts[V]) keep(s *verdictShard[V], q Question, r Reply[V], err error) {
	if err != nil || r.Alone || r.Keep <= 0 || v.max <= 0 {
		return
	}
	now := time.Now()
	k := &keptVerdict[V]{value: r.Value, until: now.Add(r.Keep)}
	k.used = now
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.kept[q]; !again && len(s.kept) >= v.max {
		s.evict(now)
	}
	s.kept[q] = k
}

// evict removes an expired entry or the longest unused of a random few (maps are
// walked from a random place).
func (s *verdictShard[V]) evict(now time.Time) {
	var oldest Question
	var at time.Time
	n := 0
	for q, k := range s.kept {
		if !now.Before(k.until) {
			oldest = q
			break
		}
		if n == 0 || k.used.Before(at) {
			oldest, at = q, k.used
		}
		if n++; n == evictAmong {
			break
		}
	}
	delete(s.kept, oldest)
}

// Len counts what is remembered, for explain.
func (v *Verdicts[V]) Len() int {
	n := 0
	for i := range v.shards {
		v.shards[i].mu.Lock()
		n += len(v.shards[i].kept)
		v.shards[i].mu.Unlock()
	}
	return n
}
