package store

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"sync"
	"time"
)

// SharedLimits counts requests per key for several processes together. The
// counts are in Redis; a process takes permits of a key that is in demand ahead,
// a lease, so that most requests are decided here.
//
// A lease costs one round trip. What is not used while it lasts is lost, which
// makes limits stricter, and what was taken ahead may be used later than it was
// counted, which makes them laxer by that much: beyond what the algorithm
// promises, n processes let at most n·(lease−1) through in any stretch of time.
// A lease of 1 is exact.
type SharedLimits struct {
	central central
	cfg     SharedConfig
	clock   func() int64
	seeds   [2]maphash.Seed
	shards  [limitShards]leaseShard
	work    sync.WaitGroup
}

// SharedConfig is what all processes that share counts agree on, but for the
// last three.
type SharedConfig struct {
	Scope     string // whose counts: a name in Redis
	Algorithm Algorithm
	Limits    []Limit
	Lease     int64         // most permits of one key that are taken ahead, the one at hand included; 1 or more
	LeaseTime time.Duration // how long they are good for
	MaxKeys   int           // whose leases are remembered, about 400 bytes each
}

// central is where all processes count.
type central interface {
	// take grants least to most, or nothing. Retry is for cost, after that.
	take(ctx context.Context, key string, least, most, cost int64) (int64, Taken, error)
	timeout() time.Duration
	ready() bool
}

// NewSharedLimits returns limits counted in r.
func NewSharedLimits(r *Redis, c SharedConfig) (*SharedLimits, error) {
	rules, err := newRules(c.Algorithm, c.Limits)
	if err != nil {
		return nil, err
	}
	if c.Lease < 1 || c.LeaseTime <= 0 || c.MaxKeys < 1 {
		return nil, fmt.Errorf("store: a lease of %d for %v, %d keys: want all more than 0", c.Lease, c.LeaseTime, c.MaxKeys)
	}
	return newSharedLimits(newRedisCounts(r, c, rules), c, steady()), nil
}

func newSharedLimits(at central, c SharedConfig, clock func() int64) *SharedLimits {
	s := &SharedLimits{central: at, cfg: c, clock: clock, seeds: newSeeds()}
	for i := range s.shards {
		s.shards[i].max = max(1, c.MaxKeys/limitShards/2)
		s.shards[i].now = map[limitKey]*lease{}
	}
	return s
}

// Ready reports whether Redis can be asked at the moment.
func (s *SharedLimits) Ready() bool { return s.central.ready() }

// Try decides without Redis if it can: with permits at hand, or because Redis
// has just refused as much. It does not keep key.
func (s *SharedLimits) Try(key []byte, cost int64) (t Taken, decided bool) {
	k := keyOf(&s.seeds, key)
	sh := &s.shards[k.a%limitShards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(k)
	if e == nil {
		return t, false
	}
	return e.try(s.clock(), cost)
}

// Take decides, asking Redis if need be, and waits no longer than its timeout.
// It blocks. An error means that nothing is known.
func (s *SharedLimits) Take(ctx context.Context, key []byte, cost int64) (Taken, error) {
	k := keyOf(&s.seeds, key)
	sh := &s.shards[k.a%limitShards]
	sh.mu.Lock()
	e := sh.find(k)
	if e == nil {
		e = &lease{id: k, key: s.name(key)}
		sh.add(e)
	}
	if t, ok := e.try(s.clock(), cost); ok {
		sh.mu.Unlock()
		return t, nil
	}
	w := &waiter{cost: cost, told: make(chan struct{})}
	e.waiting = append(e.waiting, w)
	if !e.running {
		e.running = true
		s.work.Go(func() { s.serve(sh, e) })
	}
	sh.mu.Unlock()
	patience := time.NewTimer(s.central.timeout())
	defer patience.Stop()
	var err error
	select {
	case <-w.told:
		return w.taken, w.err
	case <-patience.C:
		err = ErrRedisSlow
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if w.done { // just now
		return w.taken, w.err
	}
	w.done = true
	return Taken{}, err
}

// name of a key in Redis: of one size, in any language, and nobody's address or
// subject in the clear.
func (s *SharedLimits) name(key []byte) string {
	sum := sha256.Sum256(key)
	return "limit:{" + s.cfg.Scope + ":" + base64.RawURLEncoding.EncodeToString(sum[:16]) + "}"
}

// serve asks Redis for those who wait for one key until nobody does.
func (s *SharedLimits) serve(sh *leaseShard, e *lease) {
	for {
		sh.mu.Lock()
		least, most, cost := e.want(s.clock(), s.cfg.Lease)
		if least <= 0 {
			e.running = false
			sh.mu.Unlock()
			return
		}
		began := s.clock()
		sh.mu.Unlock()

		ctx, cancel := context.WithTimeout(context.Background(), s.central.timeout())
		granted, t, err := s.central.take(ctx, e.key, least, most, cost)
		cancel()

		sh.mu.Lock()
		if err != nil {
			e.fail(err)
			e.running = false
			sh.mu.Unlock()
			return
		}
		e.granted(granted, t, cost, began, int64(s.cfg.LeaseTime))
		e.serve(s.clock(), cost)
		// Who gave up meanwhile leaves permits behind: no more are kept than a
		// lease has.
		e.permits = min(e.permits, s.cfg.Lease-1)
		sh.mu.Unlock()
	}
}

//go:embed limits.lua
var limitsLua string

var limitsScript = NewScript(limitsLua)

// redisCounts is the central of production.
type redisCounts struct {
	redis  *Redis
	limits []string // as the script takes them
	n      int
	now    func() string // "" for Redis's own time
}

func newRedisCounts(r *Redis, c SharedConfig, rules rules) *redisCounts {
	out := &redisCounts{redis: r, n: len(rules), now: func() string { return "" }}
	for i := range rules {
		l := &rules[i]
		micros := (l.Window + time.Microsecond - 1) / time.Microsecond
		out.limits = append(out.limits, string(c.Algorithm), strconv.FormatInt(l.Requests, 10),
			strconv.FormatInt(int64(micros), 10), strconv.FormatInt(l.Burst, 10))
	}
	return out
}

func (c *redisCounts) timeout() time.Duration { return c.redis.Timeout() }
func (c *redisCounts) ready() bool            { return c.redis.up.Load() }

func (c *redisCounts) take(ctx context.Context, key string, least, most, cost int64) (int64, Taken, error) {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	args := append([]string{number(least), number(most), number(cost), c.now()}, c.limits...)
	a, err := c.redis.Run(ctx, limitsScript, key, args...)
	if err != nil {
		return 0, Taken{}, err
	}
	if len(a) != 2+3*c.n {
		return 0, Taken{}, fmt.Errorf("store: redis: %d numbers for %d limits", len(a), c.n)
	}
	t := Taken{OK: a[0] > 0, Retry: time.Duration(a[1]) * time.Microsecond}
	for i := range c.n {
		q := a[2+3*i:]
		t.Each[i] = Quota{Remaining: q[0], Retry: time.Duration(q[1]) * time.Microsecond, Full: time.Duration(q[2]) * time.Microsecond}
	}
	t.By = t.tightest(c.n)
	return a[0], t, nil
}

// tightest is which limit has least left, or keeps the next one longest.
func (t *Taken) tightest(n int) int {
	by, least, wait := 0, int64(math.MaxInt64), time.Duration(0)
	for i := range n {
		if q := t.Each[i]; q.Remaining < least || q.Remaining == least && q.Retry > wait {
			by, least, wait = i, q.Remaining, q.Retry
		}
	}
	return by
}
