package txntoken

import (
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// tokenEntry is a verified token. It never changes once it is in the cache.
type tokenEntry struct {
	txn        exchange.Txn
	gen        uint64    // the bundle's state it verified under
	until      time.Time // believed before
	prev, next *tokenEntry
}

// tokenCache holds verified tokens by their exact bytes, bounded in number and
// in bytes. The oldest goes first: lifetimes are short and nearly the same, so
// that is also the one that runs out first. Only tokens that verified get in.
type tokenCache struct {
	shards [tokenShards]tokenShard
}

const tokenShards = 16 // a power of two

type tokenShard struct {
	mu       sync.Mutex
	m        map[string]*tokenEntry
	ring     tokenEntry // ring.next is the oldest
	bytes    int
	max      int
	maxBytes int
}

func newTokenCache(max, maxBytes int) *tokenCache {
	c := new(tokenCache)
	for i := range c.shards {
		s := &c.shards[i]
		s.m = make(map[string]*tokenEntry)
		s.ring.prev, s.ring.next = &s.ring, &s.ring
		s.max = (max + tokenShards - 1) / tokenShards
		s.maxBytes = (maxBytes + tokenShards - 1) / tokenShards
	}
	return c
}

// shard chooses by the signature's last characters, which are random.
func (c *tokenCache) shard(token string) *tokenShard {
	n := len(token)
	if n < 4 {
		return &c.shards[0]
	}
	return &c.shards[(token[n-2]^token[n-3]<<1^token[n-4]<<2)&(tokenShards-1)]
}

func (c *tokenCache) get(token string, gen uint64, now time.Time) *tokenEntry {
	if len(token) > MaxTxnBytes {
		return nil
	}
	s := c.shard(token)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[token]
	if e == nil {
		return nil
	}
	if e.gen != gen || !now.Before(e.until) {
		s.remove(e)
		return nil
	}
	return e
}

func (c *tokenCache) put(e *tokenEntry, now time.Time) {
	s := c.shard(e.txn.Token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.m[e.txn.Token]; old != nil {
		s.remove(old)
	}
	s.m[e.txn.Token] = e
	e.prev, e.next = s.ring.prev, &s.ring
	e.prev.next, s.ring.prev = e, e
	s.bytes += len(e.txn.Token)
	for o := s.ring.next; o != &s.ring; o = s.ring.next {
		if len(s.m) <= s.max && s.bytes <= s.maxBytes && now.Before(o.until) && o.gen == e.gen {
			return
		}
		s.remove(o)
	}
}

func (s *tokenShard) remove(e *tokenEntry) {
	delete(s.m, e.txn.Token)
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
	s.bytes -= len(e.txn.Token)
}

func (c *tokenCache) len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.m)
		s.mu.Unlock()
	}
	return n
}
