package cache

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// tier is a store of answers in Redis behind the one in memory, shared by all
// instances. It only ever fills memory: who may have an answer is decided there.
//
// Nothing depends on it. It is asked for no longer than its timeout, not at all
// for a while after that was too short, and only while the ledger of what was
// forgotten is heard.
type tier struct {
	memory    *shared
	redis     *store.Redis
	ledger    *store.Ledger
	space     string // whose answers: a name in Redis
	timeout   time.Duration
	maxObject int64
	news      news

	paused atomic.Int64 // until, in Unix ns
	wake   chan struct{}
	lines  [writers]chan errand
	queued atomic.Int64 // bytes
	ctx    context.Context
	end    context.CancelFunc
	work   sync.WaitGroup

	rounds                                        atomic.Int64 // of the ledger
	hits, misses, stored, dropped, failed, unread atomic.Int64
}

const (
	syncEvery   = 250 * time.Millisecond // how late at most others' news are
	pause       = time.Second            // after Redis failed or was too slow
	writers     = 4
	mostErrands = 256      // errands per writer
	maxQueued   = 16 << 20 // bytes of their answers
)

// openTier leases the tier that a configuration asks for, nil when it asks for
// none. What decides its name in Redis is what decides who may have an answer;
// the sizes of an instance are its own.
func openTier(env *filter.Env, c *Shared, memory *shared, name, says, print string) (*tier, error) {
	if c == nil {
		return nil, nil
	}
	if env.Redis == nil {
		return nil, filter.Errorf("shared.redis", "found %q, but there is no section redis: add redis: {%s: {addresses: [host:6379]}}", c.Redis, c.Redis)
	}
	redis, err := env.Redis(c.Redis)
	if err != nil {
		return nil, filter.Errorf("shared.redis", "%v", err)
	}
	print = fmt.Sprintf("%s %p %v %d", print, redis, c.Timeout, c.MaxObject)
	return store.Use(env.Store, "cache-tier"+strings.TrimPrefix(name, "cache"), print, func() (*tier, error) {
		return newTier(memory, redis, name, says, c), nil
	})
}

func newTier(memory *shared, redis *store.Redis, name, says string, c *Shared) *tier {
	sum := sha256.Sum256([]byte(name + "\x00" + says))
	space := "cache:" + base64.RawURLEncoding.EncodeToString(sum[:12]) + ":"
	t := &tier{memory: memory, redis: redis, space: space, ledger: store.NewLedger(redis, space+"ledger"),
		timeout: c.Timeout, maxObject: c.MaxObject, wake: make(chan struct{}, 1)}
	t.ctx, t.end = context.WithCancel(context.Background())
	t.work.Go(t.listen)
	for i := range t.lines {
		t.lines[i] = make(chan errand, mostErrands)
		t.work.Go(func() { t.write(t.lines[i]) })
	}
	return t
}

// Close implements io.Closer.
func (t *tier) Close() error {
	t.end()
	t.work.Wait()
	return nil
}

// listen reads the ledger, and writes to it what this instance forgets.
func (t *tier) listen() {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		for t.ctx.Err() == nil && t.sync(t.ctx) {
		}
		select {
		case <-tick.C:
		case <-t.wake:
		case <-t.ctx.Done():
			// What was just forgotten here, others are still told.
			ctx, cancel := context.WithTimeout(context.Background(), t.redis.Timeout())
			defer cancel()
			if _, mine := t.news.next(); len(mine) > 0 {
				t.sync(ctx)
			}
			return
		}
	}
}

// sync is one round trip, and reports whether there is reason for another.
func (t *tier) sync(ctx context.Context) (more bool) {
	after, mine := t.news.next()
	p, err := t.ledger.Exchange(ctx, after, mine...)
	if err != nil {
		return false
	}
	// Known before memory forgets: see refill.
	forget, more := t.news.take(p, mine, time.Now())
	for _, note := range forget {
		t.memory.heed(note)
	}
	t.rounds.Add(1)
	return more
}

// heed forgets what a note says. What it means nothing to, forgets everything.
func (s *shared) heed(note string) {
	all := func(string) bool { return true }
	if note == "" {
		note = newsAll
	}
	switch note[0] {
	case 'u':
		s.responses.Invalidate([]byte(note[1:]))
	case 't':
		s.responses.PurgeTag(note[1:])
	case 'n', 'p':
		match, ok := readTarget(note)
		if !ok {
			match = all
		}
		s.responses.Purge(match)
	default:
		s.responses.Purge(all)
	}
}

// tell has all instances forget. It is called before memory forgets.
func (t *tier) tell(notes ...string) (number int64) {
	number = t.news.post(notes...)
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return number
}

// heardBy waits until the ledger has what was told, and reports whether it has.
func (t *tier) heardBy(number int64, patience time.Duration) bool {
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		told := t.news.toldBy(number)
		if told == nil {
			return true
		}
		select {
		case <-told:
		case <-end.C:
			return false
		case <-t.ctx.Done():
			return false
		}
	}
}

// ready reports whether Redis is to be asked at the moment.
func (t *tier) ready(now time.Time) bool {
	return now.UnixNano() >= t.paused.Load() && t.news.current(now)
}

// stumbled notes an error, and lets Redis be for a while.
func (t *tier) stumbled(err error) {
	if errors.Is(err, context.Canceled) { // the client left
		return
	}
	t.failed.Add(1)
	t.paused.Store(time.Now().Add(pause).UnixNano())
}

// name is what answers to a URI are kept by, for a user and what proxies in front
// said; those that vary further have the values in it too. Digests: of one size,
// and nobody's address or subject in the clear.
func (t *tier) name(uri, user []byte, claims string, vary ...exchange.Field) (key string, digest [32]byte) {
	b := appendPart(appendPart(appendPart(nil, string(uri)), string(user)), claims)
	for _, f := range vary {
		b = appendPart(appendPart(b, strings.ToLower(f.Name)), f.Value)
	}
	digest = sha256.Sum256(append(b, t.space...))
	return t.space + base64.RawURLEncoding.EncodeToString(digest[:]), digest
}
