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
	purges  atomic.Uint64       // counts purges of more than one URI
}

// Overhead is what every kept answer costs besides its own bytes: the entry,
// its places in the maps and the slices they grow by.
const Overhead = 768

// TagCost is what every tag of an answer costs besides its bytes: its places in
// the index.
const TagCost = 320

// MaxVariants is how many variants of one URI are kept for one user.
const MaxVariants = 16

type responseShard[V any] struct {
	mu     sync.RWMutex
	hits   atomic.Int64 // beside mu: who finds an answer has just written there
	uris   map[string]*group[V]
	tags   map[string]map[*Held[V]]struct{}
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

	shard        *responseShard[V] // nil when it is in no store
	uri, user    string
	tags         []string
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
	if h.shard != nil {
		h.shard.hits.Add(1)
	}
}

// Entry is an answer to keep.
type Entry[V any] struct {
	URI, User  []byte
	Value      V
	Size       int64    // bytes it takes, without keys, tags and Overhead
	Tags       []string // by which PurgeTag finds it
	Epoch      uint64   // when it was asked for
	Supersedes func(old V) bool
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
		r.shards[i].tags = map[string]map[*Held[V]]struct{}{}
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

// Epoch changes when uri is invalidated or anything is purged (and, rarely, when
// another URI is): an answer asked for before is not to be kept after.
func (r *Responses[V]) Epoch(uri []byte) uint64 {
	_, e := r.shard(uri)
	return r.epoch(e)
}

func (r *Responses[V]) epoch(e uint64) uint64 { return r.epochs[e].Load() + r.purges.Load() }

// Put keeps an answer in place of those variants that it supersedes. It reports
// false when there is no room for it, or its URI was invalidated since Epoch.
func (r *Responses[V]) Put(e Entry[V]) bool {
	size := e.Size + int64(len(e.URI)+len(e.User)) + Overhead
	for _, t := range e.Tags {
		size += int64(len(t)) + TagCost
	}
	s, n := r.shard(e.URI)
	if size > s.max {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.epoch(n) != e.Epoch {
		return false
	}
	for _, old := range s.variants(e.URI, e.User) {
		if e.Supersedes(old.Value) {
			s.drop(old)
		}
	}
	if list := s.variants(e.URI, e.User); len(list) >= MaxVariants {
		s.drop(list[len(list)-1])
	}
	for s.bytes+size > s.max {
		s.evict()
	}
	s.add(&Held[V]{Value: e.Value, shard: s, uri: strings.Clone(string(e.URI)), user: string(e.User), tags: e.Tags, size: size, kept: true})
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
	return s.forget(s.uris[string(uri)])
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
