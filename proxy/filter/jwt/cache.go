package jwt

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// verified is a token that was found good. It is read only and shared by every
// exchange that brings the same bytes.
type verified struct {
	identity *exchange.Identity
	consumer string           // value of the consumer claim
	headers  []exchange.Field // claims_to_headers, values ready
	jti      string           // "" when there is none
	bound    *[32]byte        // SHA-256 of the certificate it must come with; nil: none
	until    int64            // unix seconds of exp, latest when there is none
	source   *source
	set      *keySet // the generation of keys it was verified with

	cost int
	used atomic.Int64
}

const (
	shards = 16
	sample = 8 // how many entries an eviction chooses among
)

// cache holds verified tokens by their exact bytes, bounded in memory. Only
// good tokens get in, so strangers cannot fill it.
type cache struct {
	seed   maphash.Seed
	budget int // bytes per shard
	shards [shards]shard
}

type shard struct {
	mu   sync.RWMutex
	m    map[string]*verified
	cost int
}

func newCache(bytes int) *cache {
	c := &cache{seed: maphash.MakeSeed(), budget: bytes / shards}
	for i := range c.shards {
		c.shards[i].m = map[string]*verified{}
	}
	return c
}

func (c *cache) shard(raw string) *shard { return &c.shards[maphash.String(c.seed, raw)%shards] }

// get returns the entry for these bytes unless it has expired or its keys are
// no longer the current ones.
func (c *cache) get(raw string, now time.Time) *verified {
	s := c.shard(raw)
	s.mu.RLock()
	v := s.m[raw]
	s.mu.RUnlock()
	if v == nil {
		return nil
	}
	if now.Unix() >= v.until || v.source.current(now) != v.set {
		s.drop(raw, v)
		return nil
	}
	v.used.Store(now.UnixNano())
	return v
}

// put remembers v. raw may be a view; it is copied.
func (c *cache) put(raw string, v *verified, now time.Time) {
	v.cost = 4*len(raw) + 512 // the bytes, and about what the claims decoded to take
	if v.cost > c.budget || now.Unix() >= v.until {
		return
	}
	v.used.Store(now.UnixNano())
	s := c.shard(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(raw)
	for s.cost+v.cost > c.budget {
		s.evict(now)
	}
	s.m[strings.Clone(raw)] = v
	s.cost += v.cost
}

// evict removes one entry: an expired one or the longest unused of a random few
// (maps are walked from a random place).
func (s *shard) evict(now time.Time) {
	var oldest string
	var at int64
	n := 0
	for raw, v := range s.m {
		if now.Unix() >= v.until {
			oldest = raw
			break
		}
		if used := v.used.Load(); n == 0 || used < at {
			oldest, at = raw, used
		}
		if n++; n == sample {
			break
		}
	}
	s.remove(oldest)
}

func (s *shard) remove(raw string) {
	if v, ok := s.m[raw]; ok {
		s.cost -= v.cost
		delete(s.m, raw)
	}
}

func (s *shard) drop(raw string, v *verified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[raw] == v {
		s.remove(raw)
	}
}

// len counts the entries, for explain.
func (c *cache) len() int {
	n := 0
	for i := range c.shards {
		c.shards[i].mu.RLock()
		n += len(c.shards[i].m)
		c.shards[i].mu.RUnlock()
	}
	return n
}
