package store

import "sync"

type limitKey struct{ a, b uint64 }

// limitShard holds its keys in a heap by due time, so that the next to be
// forgotten, by time or for want of room, is always the first.
type limitShard struct {
	mu      sync.Mutex
	rules   rules
	max     int
	slots   map[limitKey]uint32 // into entries and states
	entries []limitEntry
	states  []int64 // rules.words() for each entry
	free    []uint32
	heap    []uint32 // slots, least due first
	floor   []int64  // the worst of what was forgotten before it was due
	floored int64    // until when floor means something
	scratch [MaxLimits * (sliceCount + 2)]int64
	_       [64]byte // shards on cache lines of their own
}

type limitEntry struct {
	key limitKey
	due int64 // when the key owes nothing any more
	pos uint32
}

// swept per Take: more than one, so that the heap shrinks faster than it grows.
const sweptPerTake = 2

// unknown is the slot of a key that is not remembered.
const unknown = ^uint32(0)

// find returns what k owes: its own state, or a new one for a key that is not
// known.
func (s *limitShard) find(k limitKey, now int64) (state []int64, slot uint32) {
	if slot, ok := s.slots[k]; ok {
		return s.state(slot), slot
	}
	state = s.scratch[:s.rules.words()]
	if s.floored > now {
		copy(state, s.floor)
	} else {
		clear(state)
	}
	return state, unknown
}

func (s *limitShard) state(slot uint32) []int64 {
	n := s.rules.words()
	return s.states[int(slot)*n : (int(slot)+1)*n]
}

// set records that k now owes state, which find returned with slot. It makes
// room if k is new.
func (s *limitShard) set(k limitKey, slot uint32, state []int64) {
	due := s.rules.due(state)
	if slot != unknown {
		s.entries[slot].due = due
		s.down(int(s.entries[slot].pos))
		return
	}
	if len(s.heap) >= s.max {
		first := s.heap[0]
		s.rules.worse(s.floor, s.state(first))
		s.floored = max(s.floored, s.entries[first].due)
		s.pop()
	}
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
	} else {
		slot = uint32(len(s.entries))
		s.entries = append(s.entries, limitEntry{})
		s.states = append(s.states, state...)
	}
	copy(s.state(slot), state)
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
