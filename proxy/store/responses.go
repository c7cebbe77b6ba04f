package store

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Responses keeps answers by URI, by user ("" is everybody) and, within those,
// in variants that the caller tells apart. It never holds more than its bytes:
// three quarters are for what is kept, a quarter for what is being collected.
//
// What to evict is decided by SIEVE: an answer that was used since the hand last
// passed stays, one that was not goes, so a scan does not wash out what is hot.
type Responses[V any] struct {
	seed    maphash.Seed
	shards  []responseShard[V]
	room    int64 // bytes for collecting
	filling atomic.Int64
	epochs  [4096]atomic.Uint64 // by URI hash, counts invalidations
}

// Overhead is what every kept answer costs besides its own bytes: the entry,
// its places in the maps and the slices they grow by.
const Overhead = 768

// MaxVariants is how many variants of one URI are kept for one user.
const MaxVariants = 16

type responseShard[V any] struct {
	mu     sync.RWMutex
	uris   map[string]*group[V]
	max    int64
	bytes  int64
	count  int
	newest *Held[V]
	oldest *Held[V]
	hand   *Held[V]
	_      [64]byte
}

// group is all that is kept of one URI. The variant slices are replaced, never
// changed, so a reader needs the lock only to find them.
type group[V any] struct {
	shared []*Held[V]
	users  map[string][]*Held[V]
}

// Held is one kept answer.
type Held[V any] struct {
	Value V

	uri, user    string
	size         int64
	used         atomic.Bool
	kept         bool
	newer, older *Held[V]
}

// User is whom the answer is kept for, "" for everybody.
func (h *Held[V]) User() string { return h.user }

// Touch says that the answer was of use.
func (h *Held[V]) Touch() {
	if !h.used.Load() {
		h.used.Store(true)
	}
}

// NewResponses returns an empty store of at most maxBytes, in which one answer
// takes at most maxOne.
func NewResponses[V any](maxBytes, maxOne int64) *Responses[V] {
	room := maxBytes / 4
	kept := maxBytes - room
	n := int64(16)
	for n > 1 && kept/n < 8*(maxOne+Overhead) {
		n /= 2
	}
	r := &Responses[V]{seed: maphash.MakeSeed(), shards: make([]responseShard[V], n), room: room}
	for i := range r.shards {
		r.shards[i].max = kept / n
		r.shards[i].uris = map[string]*group[V]{}
	}
	return r
}

func (r *Responses[V]) shard(uri []byte) (*responseShard[V], uint64) {
	h := maphash.Bytes(r.seed, uri)
	return &r.shards[h%uint64(len(r.shards))], h >> 32 % uint64(len(r.epochs))
}

// Variants returns what is kept of uri for user, newest first. It is to be
// read only.
func (r *Responses[V]) Variants(uri, user []byte) []*Held[V] {
	s, _ := r.shard(uri)
	s.mu.RLock()
	defer s.mu.RUnlock()
	g := s.uris[string(uri)]
	switch {
	case g == nil:
		return nil
	case len(user) == 0:
		return g.shared
	}
	return g.users[string(user)]
}

// Epoch changes when uri is invalidated (and, rarely, when another is): an
// answer asked for before is not to be kept after.
func (r *Responses[V]) Epoch(uri []byte) uint64 {
	_, e := r.shard(uri)
	return r.epochs[e].Load()
}

// Put keeps v, which takes size bytes besides its keys and Overhead, in place
// of those variants that it supersedes. It reports false when v has no room or
// uri was invalidated since epoch.
func (r *Responses[V]) Put(uri, user []byte, v V, size int64, epoch uint64, supersedes func(old V) bool) bool {
	size += int64(len(uri)+len(user)) + Overhead
	s, e := r.shard(uri)
	if size > s.max {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.epochs[e].Load() != epoch {
		return false
	}
	for _, old := range s.variants(uri, user) {
		if supersedes(old.Value) {
			s.drop(old)
		}
	}
	if list := s.variants(uri, user); len(list) >= MaxVariants {
		s.drop(list[len(list)-1])
	}
	for s.bytes+size > s.max {
		s.evict()
	}
	s.add(&Held[V]{Value: v, uri: strings.Clone(string(uri)), user: string(user), size: size, kept: true})
	return true
}

// Remove forgets one answer.
func (r *Responses[V]) Remove(h *Held[V]) {
	s, _ := r.shard([]byte(h.uri))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(h)
}

// Invalidate forgets every answer for uri, whoever it is for, also those that
// are on their way, and reports how many were kept.
func (r *Responses[V]) Invalidate(uri []byte) int {
	s, e := r.shard(uri)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.epochs[e].Add(1)
	g := s.uris[string(uri)]
	if g == nil {
		return 0
	}
	n := 0
	for _, h := range g.shared {
		s.drop(h)
		n++
	}
	for _, list := range g.users {
		for _, h := range list {
			s.drop(h)
			n++
		}
	}
	return n
}

// Reserve asks for n bytes to collect an answer in. Give them back by Free.
func (r *Responses[V]) Reserve(n int64) bool {
	if r.filling.Add(n) > r.room {
		r.filling.Add(-n)
		return false
	}
	return true
}

// Free gives back what Reserve granted.
func (r *Responses[V]) Free(n int64) { r.filling.Add(-n) }

// Bytes is what is kept and collected now, overhead included.
func (r *Responses[V]) Bytes() int64 {
	n := r.filling.Load()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		n += s.bytes
		s.mu.RUnlock()
	}
	return n
}

// Len is how many answers are kept.
func (r *Responses[V]) Len() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		n += s.count
		s.mu.RUnlock()
	}
	return n
}
