package cluster

import (
	"math/rand/v2"
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

// lineup is the endpoints in service, with what pickers need of them. It never
// changes.
type lineup struct {
	members []*member
	total   uint64 // of weights
	step    uint64 // has no divisor in common with total
	even    bool   // all weights are the same
}

func newLineup(members []*member) *lineup {
	l := &lineup{members: members, even: true}
	for _, m := range members {
		l.total += uint64(m.weight())
		l.even = l.even && m.weight() == members[0].weight()
	}
	if l.even {
		l.total = uint64(len(members))
	}
	l.step = l.total*5/8 | 1
	for l.total > 0 && gcd(l.step, l.total) != 1 {
		l.step += 2
	}
	return l
}

// at returns the member that position, below total, falls to: as many
// positions for each as its weight says.
func (l *lineup) at(position uint64) *member {
	if l.even {
		return l.members[position]
	}
	for _, m := range l.members {
		w := uint64(m.weight())
		if position < w {
			return m
		}
		position -= w
	}
	return l.members[len(l.members)-1]
}

// fallback takes any member not yet failed on, or any at all.
func (l *lineup) fallback(avoid *tried) *member {
	from := rand.IntN(len(l.members))
	for i := range l.members {
		if m := l.members[(from+i)%len(l.members)]; !avoid.has(m) {
			return m
		}
	}
	return l.members[from]
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (m *member) weight() int {
	if m.Weight <= 0 {
		return 1
	}
	return m.Weight
}

// picker chooses one of at least one members.
type picker interface {
	pick(l *lineup, avoid *tried) *member
}

func newPicker(balance string) picker {
	if balance == "round_robin" {
		return &roundRobin{}
	}
	return leastRequest{}
}

// roundRobin takes members in turn, each as often in a turn as its weight says.
type roundRobin struct{ next atomic.Uint64 }

func (r *roundRobin) pick(l *lineup, avoid *tried) *member {
	for range len(l.members) {
		// The step spreads a heavy member's turns over the round instead of
		// giving them in one burst, and still visits every position once.
		turn := (r.next.Add(1) - 1) % l.total
		if m := l.at(turn * l.step % l.total); !avoid.has(m) {
			return m
		}
	}
	return l.fallback(avoid)
}

// leastRequest draws two members, each as likely as its weight says, and takes
// the one with fewer requests in flight per weight ("power of two choices").
// Between idle members the first draw decides, so weights tell there too.
type leastRequest struct{}

func (leastRequest) pick(l *lineup, avoid *tried) *member {
	if len(l.members) == 1 {
		return l.members[0]
	}
	for range 4 {
		a, b := l.at(rand.Uint64N(l.total)), l.at(rand.Uint64N(l.total))
		if avoid.has(a) {
			a, b = b, a
		}
		if avoid.has(a) {
			continue
		}
		if a != b && !avoid.has(b) && b.busy.Load()*int64(a.weight()) < a.busy.Load()*int64(b.weight()) {
			return b
		}
		return a
	}
	return l.fallback(avoid)
}
