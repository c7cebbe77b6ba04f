package store

import (
	"hash/maphash"
	"sync"
)

// InFlight counts what is in progress per key. It holds one entry per key that
// has something in progress, so what is in progress bounds it.
type InFlight struct {
	seeds  [2]maphash.Seed
	shards [limitShards]flightShard
}

type flightShard struct {
	mu   sync.Mutex
	keys map[limitKey]*Place
	free []*Place
	_    [64]byte
}

// Place is a place of a key that has something in progress: all of a key are one.
type Place struct {
	key limitKey
	n   int
}

// maxFree bounds the entries kept for use again, per shard.
const maxFree = 256

// NewInFlight counts from nothing.
func NewInFlight() *InFlight {
	f := &InFlight{seeds: newSeeds()}
	for i := range f.shards {
		f.shards[i].keys = map[limitKey]*Place{}
	}
	return f
}

// Enter takes one of most places of key, or returns nil when all are taken. Who
// got one must Leave.
func (f *InFlight) Enter(key []byte, most int) *Place {
	k := keyOf(&f.seeds, key)
	s := &f.shards[k.a%limitShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.keys[k]
	if h == nil {
		if n := len(s.free); n > 0 {
			h, s.free = s.free[n-1], s.free[:n-1]
		} else {
			h = &Place{}
		}
		h.key = k
		s.keys[k] = h
	}
	if h.n >= most {
		return nil
	}
	h.n++
	return h
}

// Leave gives a place back, once per Enter.
func (f *InFlight) Leave(h *Place) {
	s := &f.shards[h.key.a%limitShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.n--; h.n > 0 {
		return
	}
	delete(s.keys, h.key)
	if len(s.free) < maxFree {
		s.free = append(s.free, h)
	}
}

// Keys counts the keys that have something in progress.
func (f *InFlight) Keys() int {
	n := 0
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		n += len(s.keys)
		s.mu.Unlock()
	}
	return n
}
