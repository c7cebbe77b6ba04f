package store

import "sync"

type limitKey struct{ a, b uint64 }

// limitShard holds its keys in a heap by due time, so that the next to be
// forgotten, by time or for want of room, is always the first.
type limitShard struct {
	mu      sync.Mutex
	max     int
	slots   map[limitKey]uint32 // into entries
	entries []limitEntry
	free    []uint32
	heap    []uint32 // slots, least due first
	floor   int64    // the latest due time forgotten before it had passed
	_       [64]byte // shards on cache lines of their own
}

type limitEntry struct {
	key limitKey
	due int64 // the theoretical arrival time: when the key owes nothing any more
	pos uint32
}

// swept per Take: more than one, so that the heap shrinks faster than it grows.
const sweptPerTake = 2

// due returns when k owes nothing any more, never before now.
func (s *limitShard) due(k limitKey, now int64) int64 {
	if slot, ok := s.slots[k]; ok {
		return max(now, s.entries[slot].due)
	}
	return max(now, s.floor)
}

// set records a later due time for k, making room if k is new.
func (s *limitShard) set(k limitKey, due int64) {
	if slot, ok := s.slots[k]; ok {
		s.entries[slot].due = due
		s.down(int(s.entries[slot].pos))
		return
	}
	if len(s.heap) >= s.max {
		s.floor = max(s.floor, s.entries[s.heap[0]].due)
		s.pop()
	}
	var slot uint32
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
	} else {
		slot = uint32(len(s.entries))
		s.entries = append(s.entries, limitEntry{})
	}
	s.entries[slot] = limitEntry{k, due, uint32(len(s.heap))}
	s.slots[k] = slot
	s.heap = append(s.heap, slot)
	s.up(len(s.heap) - 1)
}

// sweep forgets a few keys that owe nothing any more.
func (s *limitShard) sweep(now int64) {
	for range sweptPerTake {
		if len(s.heap) == 0 || s.entries[s.heap[0]].due > now {
			return
		}
		s.pop()
	}
}

func (s *limitShard) pop() {
	slot := s.heap[0]
	delete(s.slots, s.entries[slot].key)
	s.free = append(s.free, slot)
	last := len(s.heap) - 1
	s.swap(0, last)
	s.heap = s.heap[:last]
	s.down(0)
}

func (s *limitShard) at(i int) int64 { return s.entries[s.heap[i]].due }

func (s *limitShard) swap(i, j int) {
	s.heap[i], s.heap[j] = s.heap[j], s.heap[i]
	s.entries[s.heap[i]].pos = uint32(i)
	s.entries[s.heap[j]].pos = uint32(j)
}

func (s *limitShard) up(i int) {
	for i > 0 {
		parent := (i - 1) / 4
		if s.at(parent) <= s.at(i) {
			return
		}
		s.swap(i, parent)
		i = parent
	}
}

func (s *limitShard) down(i int) {
	for {
		least := i
		for c := 4*i + 1; c <= 4*i+4 && c < len(s.heap); c++ {
			if s.at(c) < s.at(least) {
				least = c
			}
		}
		if least == i {
			return
		}
		s.swap(i, least)
		i = least
	}
}
