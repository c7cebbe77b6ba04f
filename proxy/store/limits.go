package store

import (
	"fmt"
	"hash/maphash"
	"time"
)

// Limit is a rate with room for a burst: Requests per Window on average, up to
// Burst at once.
type Limit struct {
	Requests int64
	Window   time.Duration
	Burst    int64
}

// The bounds of a Limit keep every sum of nanoseconds inside 63 bits, and the
// rounding of the interval between two requests below a thousandth.
const (
	minInterval = time.Microsecond
	maxWindow   = 366 * 24 * time.Hour
	maxDebt     = 10 * maxWindow
)

// interval is the time one request costs, rounded up to a whole nanosecond:
// never more than Requests are admitted per Window, at most 0.1 % fewer.
func (l Limit) interval() (time.Duration, error) {
	switch {
	case l.Requests < 1:
		return 0, fmt.Errorf("store: a limit of %d requests: want at least 1", l.Requests)
	case l.Window <= 0 || l.Window > maxWindow:
		return 0, fmt.Errorf("store: a window of %v: want more than 0 and at most %v", l.Window, maxWindow)
	case l.Burst < 1:
		return 0, fmt.Errorf("store: a burst of %d: want at least 1", l.Burst)
	}
	if l.Requests > int64(l.Window/minInterval) {
		return 0, fmt.Errorf("store: %d requests per %v is more than 1000000 per second, the fastest limit kept exactly",
			l.Requests, l.Window)
	}
	every := time.Duration((int64(l.Window) + l.Requests - 1) / l.Requests)
	if l.Burst > int64(maxDebt/every) {
		return 0, fmt.Errorf("store: a burst of %d takes more than %v to refill: lower the burst or shorten the window",
			l.Burst, maxDebt)
	}
	return every, nil
}

// Taken is what a Take found.
type Taken struct {
	OK        bool
	Remaining int64         // requests that would be let through right now
	Retry     time.Duration // until one request is let through again; 0 when Remaining is not
	Full      time.Duration // until the whole burst is there again
}

// Limits counts requests per key against one Limit with the generic cell rate
// algorithm: one time stamp per key, no counters and no window edges, so that in
// any stretch of time t at most Burst + Requests·t/Window are let through.
//
// The number of keys is bounded. A key whose burst is whole again is forgotten.
// When all places are taken, the key nearest to whole makes room, and a key that
// is not known starts with the debt of the last one that had to go: forgetting
// can make the limit stricter for newcomers, it never lets a key exceed it.
type Limits struct {
	every  int64 // ns per request
	burst  int64 // ns of debt a key may have
	seeds  [2]maphash.Seed
	clock  func() int64 // ns, monotonic
	shards []limitShard
}

const limitShards = 64

// NewLimits returns limits for at most maxKeys keys (about 80 bytes each once
// used).
func NewLimits(l Limit, maxKeys int) (*Limits, error) {
	base := time.Now()
	return newLimits(l, maxKeys, func() int64 { return int64(time.Since(base)) })
}

func newLimits(l Limit, maxKeys int, clock func() int64) (*Limits, error) {
	every, err := l.interval()
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
	m := &Limits{
		every:  int64(every),
		burst:  int64(every) * l.Burst,
		seeds:  [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		clock:  clock,
		shards: make([]limitShard, n),
	}
	for i := range m.shards {
		m.shards[i].max = maxKeys / n
		m.shards[i].slots = map[limitKey]uint32{}
	}
	return m, nil
}

// Take asks for one request on key. It does not keep key.
func (m *Limits) Take(key []byte) Taken {
	// Seeded per process: nobody can choose keys that meet. 128 bits: none meet
	// by accident.
	k := limitKey{maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)}
	s := &m.shards[k.a%uint64(len(m.shards))]
	s.mu.Lock()
	// Read under the lock, so that per key the times are in the order of the
	// decisions; the bound on any window rests on that.
	now := m.clock()
	due := s.due(k, now)
	next := due + m.every
	ok := next-now <= m.burst
	if ok {
		s.set(k, next)
		due = next
	}
	s.sweep(now)
	s.mu.Unlock()
	t := Taken{OK: ok, Full: time.Duration(due - now)}
	room := m.burst - (due - now)
	if t.Remaining = room / m.every; room < m.every {
		t.Remaining = 0
		t.Retry = time.Duration(m.every - room)
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
