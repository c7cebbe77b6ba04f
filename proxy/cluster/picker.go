package cluster

import (
	"sync/atomic"
)

// maxTried is how many endpoints one exchange remembers having failed on.
const maxTried = 8

// tried lists the endpoints this exchange has already failed on, so that a
// retry goes elsewhere while there is an elsewhere.
type tried struct {
	list [maxTried]*member
	n    int
}

func (t *tried) add(m *member) {
	if t.n < maxTried && !t.has(m) {
		t.list[t.n] = m
		t.n++
	}
}

// has compares addresses: a member may have been replaced between attempts.
func (t *tried) has(m *member) bool {
	for _, o := range t.list[:t.n] {
		if o.Address == m.Address {
			return true
		}
	}
	return false
}

// picker chooses one of at least one members. key is the exchange's, for those
// that go by one.
type picker interface {
	pick(l *lineup, key uint64, avoid *tried) *member
}

// newPicker makes the picker of a cluster, busy with inHand exchanges.
func newPicker(cfg *Config, inHand *atomic.Int64) picker {
	switch cfg.Balance {
	case "round_robin":
		return &roundRobin{}
	case "peak_ewma":
		return peakEWMA{}
	case "consistent_hash":
		return &consistentHash{bound: cfg.BoundedLoad, inHand: inHand}
	}
	return leastRequest{}
}

// roundRobin takes members in turn, each as often in a turn as its weight says.
type roundRobin struct{ next atomic.Uint64 }

func (r *roundRobin) pick(l *lineup, _ uint64, avoid *tried) *member {
	for range len(l.members) {
		if m := l.members[l.turn(r.next.Add(1)-1)]; avoid.n == 0 || !avoid.has(m) {
			return m
		}
	}
	return l.fallback(avoid)
}

// leastRequest draws two members, each as likely as its weight says, and takes
// the one with fewer requests in flight per weight ("power of two choices").
// Between idle members the first draw decides, so weights tell there too.
type leastRequest struct{}

func (leastRequest) pick(l *lineup, _ uint64, avoid *tried) *member {
	return ofTwo(l, avoid, func(i int) float64 { return float64(l.members[i].busy.Load()) / l.weight(i) })
}

// ofTwo draws two members and takes the one that load says less of.
func ofTwo(l *lineup, avoid *tried, load func(i int) float64) *member {
	if len(l.members) == 1 {
		if m := l.members[0]; len(l.spare) == 0 || !avoid.has(m) {
			return m
		}
		return l.fallback(avoid)
	}
	for range 4 {
		i, j := l.two()
		a, b := l.members[i], l.members[j]
		if avoid.n > 0 {
			if avoid.has(a) {
				a, b, i, j = b, a, j, i
			}
			if avoid.has(a) {
				continue
			}
			if avoid.has(b) {
				return a
			}
		}
		if i != j && load(j) < load(i) {
			return b
		}
		return a
	}
	return l.fallback(avoid)
}
