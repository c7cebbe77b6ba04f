package store

import (
	"fmt"
	"hash/maphash"
	"math"
	"time"
)

// Limit is how many requests are let through in a stretch of time. Burst is
// GCRA's alone: how many of them at once.
type Limit struct {
	Requests int64
	Window   time.Duration
	Burst    int64
}

// Algorithm is how requests are counted against a Limit.
type Algorithm string

// The algorithms. What each promises:
const (
	// GCRA, the generic cell rate algorithm, has a token bucket's semantics: in
	// any stretch of time t at most Burst + Requests·t/Window are let through.
	GCRA Algorithm = "gcra"
	// SlidingWindow lets at most Requests through in any stretch as long as
	// Window. What was used is given back up to a sixteenth of Window late.
	SlidingWindow Algorithm = "sliding_window"
	// FixedWindow lets at most Requests through in each window of the clock,
	// counted from 1970 UTC: so up to twice as many around an edge.
	FixedWindow Algorithm = "fixed_window"
)

// MaxLimits is how many limits can hold for one key at once.
const MaxLimits = 6

// Quota is what is left of one limit.
type Quota struct {
	Remaining int64         // would be let through right now
	Retry     time.Duration // until one more is let through; 0 when Remaining is not
	Full      time.Duration // until everything is there again
}

// Taken is what a Take found.
type Taken struct {
	OK    bool
	Retry time.Duration    // until the same is let through; 0 when OK
	By    int              // which limit has least left, or keeps it waiting longest
	Each  [MaxLimits]Quota // in the order of the limits
}

// Limits counts requests per key, in memory, against one or several limits. All
// must let a request through, and one that is refused counts against none.
//
// The number of keys is bounded. A key that owes nothing any more is forgotten.
// When all places are taken, the key that is next to owe nothing makes room, and
// a key that is not known starts with the debts of those that had to go:
// forgetting can make a limit stricter for newcomers, it never lets a key exceed
// it.
type Limits struct {
	rules  rules
	seeds  [2]maphash.Seed
	clock  func() int64 // ns since 1970, never going back
	shards []limitShard
}

const limitShards = 64

// NewLimits returns limits for at most maxKeys keys. A key takes about 80 bytes
// once used, and 136 more per sliding window.
func NewLimits(maxKeys int, a Algorithm, limits ...Limit) (*Limits, error) {
	return newLimits(steady(), maxKeys, a, limits...)
}

// steady is the time since 1970 that the clock said at first, and goes on
// evenly.
func steady() func() int64 {
	base := time.Now()
	at := base.UnixNano()
	return func() int64 { return at + int64(time.Since(base)) }
}

func newLimits(clock func() int64, maxKeys int, a Algorithm, limits ...Limit) (*Limits, error) {
	rules, err := newRules(a, limits)
	if err != nil {
		return nil, err
	}
	if maxKeys < 1 {
		return nil, fmt.Errorf("store: %d keys: want at least 1", maxKeys)
	}
	n := limitShards
	for n > 1 && maxKeys/n < 16 {
		n /= 2
	}
	m := &Limits{rules: rules, seeds: newSeeds(), clock: clock, shards: make([]limitShard, n)}
	for i := range m.shards {
		m.shards[i] = limitShard{rules: rules, max: maxKeys / n, slots: map[limitKey]uint32{}, floor: make([]int64, rules.words())}
	}
	return m, nil
}

func newSeeds() [2]maphash.Seed { return [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()} }

// keyOf is seeded per process: nobody can choose keys that meet. 128 bits: none
// meet by accident.
func keyOf(seeds *[2]maphash.Seed, key []byte) limitKey {
	return limitKey{maphash.Bytes(seeds[0], key), maphash.Bytes(seeds[1], key)}
}

// Take asks for a request that counts as cost. It does not keep key.
func (m *Limits) Take(key []byte, cost int64) Taken {
	_, t := m.take(key, cost, cost, cost)
	return t
}

// take grants up to most, or nothing if it cannot be least. Retry is for cost.
func (m *Limits) take(key []byte, least, most, cost int64) (granted int64, t Taken) {
	k := keyOf(&m.seeds, key)
	s := &m.shards[k.a%uint64(len(m.shards))]
	s.mu.Lock()
	// Read under the lock, so that per key the times are in the order of the
	// decisions; the bound on any window rests on that.
	now := m.clock()
	state, slot := s.find(k, now)
	granted = most
	for i := range m.rules {
		granted = min(granted, m.rules[i].room(m.rules.of(state, i), now))
	}
	if granted < least {
		granted = 0
	}
	if granted > 0 {
		for i := range m.rules {
			m.rules[i].charge(m.rules.of(state, i), now, granted)
		}
		s.set(k, slot, state)
	}
	t = m.rules.look(state, now, cost)
	t.OK = granted > 0
	if t.OK {
		t.Retry = 0
	}
	s.sweep(now)
	s.mu.Unlock()
	return granted, t
}

// look says what a state leaves. Retry is until cost is let through.
func (rs rules) look(state []int64, now, cost int64) (t Taken) {
	least := int64(math.MaxInt64)
	for i := range rs {
		r, own := &rs[i], rs.of(state, i)
		q := Quota{Remaining: r.room(own, now), Full: time.Duration(r.full(own, now))}
		if q.Remaining == 0 {
			q.Retry = time.Duration(r.retry(own, now, 1))
		}
		t.Each[i] = q
		wait := q.Retry
		if cost > 1 {
			wait = time.Duration(r.retry(own, now, cost))
		}
		switch {
		case wait > t.Retry:
			t.Retry, t.By = wait, i
		case t.Retry == 0 && q.Remaining < least:
			least, t.By = q.Remaining, i
		}
	}
	return t
}

// Keys counts the keys that are remembered.
func (m *Limits) Keys() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		n += len(s.heap)
		s.mu.Unlock()
	}
	return n
}
