package cluster

import (
	"math"
	"sync/atomic"
)

// maglevSlots is the size of the table of consistent_hash: a prime, as Maglev
// has it (Eisenbud et al., "Maglev", NSDI 2016, section 3.4), and as Envoy's.
const maglevSlots = 65537

// boundFloor is how many requests in flight an endpoint may have before its load
// is bounded: a few clients with a few parallel requests each are no load, and
// would only lose their endpoint.
const boundFloor = 8

// maxProbes is how many members in a row may be found full. More than that many
// full ones are met once in a billion with the bound at 1.25.
const maxProbes = 128

// consistentHash gives the same key the same member for as long as that is there
// and not too busy: with a bound, none has more than its share of all requests in
// flight, times bound ("Consistent Hashing with Bounded Loads", Mirrokni et al.,
// 2016).
type consistentHash struct {
	bound  float64 // 0 is none
	inHand *atomic.Int64
}

func (h *consistentHash) pick(l *lineup, key uint64, avoid *tried) *member {
	if len(l.table) == 0 {
		return l.fallback(avoid)
	}
	per := math.Inf(1) // requests in flight per weight
	if h.bound > 0 {
		per = h.bound * float64(h.inHand.Load()+1) / (l.mean * float64(len(l.members)))
	}
	slot := key % uint64(len(l.table))
	for range min(maxProbes, len(l.table)) {
		i := int(l.table[slot])
		m := l.members[i]
		room := max(boundFloor, math.Ceil(per*l.weight(i)))
		if float64(m.busy.Load()) < room && (avoid.n == 0 || !avoid.has(m)) {
			return m
		}
		if slot++; slot == uint64(len(l.table)) {
			slot = 0
		}
	}
	return l.fallback(avoid)
}

// maglev fills a table in which every member has slots as its weight says, and
// most slots keep their member when another comes or goes. Each member has its
// own order of preference for slots, and they choose in turn.
func maglev(l *lineup) []uint16 {
	n := len(l.members)
	if n == 0 || n > math.MaxUint16 {
		return nil
	}
	const free = math.MaxUint16
	table := make([]uint16, maglevSlots)
	for i := range table {
		table[i] = free
	}
	type preference struct{ next, skip uint32 }
	prefers := make([]preference, n)
	heaviest := 0.0
	for i, m := range l.members {
		h := hash(m.Address)
		prefers[i] = preference{uint32(h % maglevSlots), uint32((h>>32)%(maglevSlots-1)) + 1}
		heaviest = max(heaviest, l.weight(i))
	}
	due := make([]float64, n)
	for left := maglevSlots; ; {
		for i := range prefers {
			if due[i] += l.weight(i) / heaviest; due[i] < 1 {
				continue // a light one sits out some rounds
			}
			due[i]--
			p := &prefers[i]
			for table[p.next] != free {
				p.next = (p.next + p.skip) % maglevSlots
			}
			table[p.next] = uint16(i)
			if left--; left == 0 {
				return table
			}
		}
	}
}

// hash is FNV-1a with a finaliser that spreads short keys; it is the same in
// every process, so that all of them send a key to the same endpoint.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
