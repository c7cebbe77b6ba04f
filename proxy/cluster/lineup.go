package cluster

import (
	"math/bits"
	"math/rand/v2"
)

// lineup is what pickers choose from. It is made anew with every change of
// endpoints, health, easing or locality, and never changes itself: so none of
// these costs an exchange anything.
type lineup struct {
	members []*member // those that traffic is shared between
	spare   []*member // usable, but for what members cannot take
	weights []uint64  // of members; nil when they are all the same
	ends    []uint64  // sums of weights so far; nil when they are all the same
	guide   []uint32  // where in ends to look for a position, by its part of total
	total   uint64    // of weights
	step    uint64    // has no divisor in common with total
	mean    float64   // weight
	table   []uint16  // for consistent_hash: slot to index in members

	healthy, known int // endpoints that are, and all
}

// newLineup takes members with their own weights.
func newLineup(members []*member) *lineup { return weighLineup(members, nil) }

// weighLineup takes members with weights that differ from their own, for now.
func weighLineup(members []*member, weights []uint64) *lineup {
	l := &lineup{members: members, total: uint64(len(members)), mean: 1}
	if weights == nil {
		weights = make([]uint64, len(members))
		for i, m := range members {
			weights[i] = uint64(m.weight())
		}
	}
	even := true
	for _, w := range weights {
		even = even && w == weights[0]
	}
	if !even {
		l.weights, l.ends, l.total = weights, make([]uint64, len(weights)), 0
		for i, w := range weights {
			l.total += w
			l.ends[i] = l.total
		}
		l.mean = float64(l.total) / float64(len(members))
		l.guide = guide(l.ends, l.total)
	}
	// Multiples of the golden ratio spread evenly at every scale.
	l.step = uint64(float64(l.total)*0.6180339887498949) | 1
	for l.total > 0 && gcd(l.step, l.total) != 1 {
		l.step += 2
	}
	return l
}

// at returns the member that position, below total, falls to: as many
// positions for each as its weight says.
func (l *lineup) at(position uint64) int {
	if l.ends == nil {
		return int(position)
	}
	high, low := bits.Mul64(position, uint64(len(l.guide)))
	part, _ := bits.Div64(high, low, l.total)
	i := int(l.guide[part])
	for position >= l.ends[i] {
		i++
	}
	return i
}

// guide says for as many even parts of total as there are members which member's
// positions the part begins in: from there it is a step or two.
func guide(ends []uint64, total uint64) []uint32 {
	g := make([]uint32, len(ends))
	i := 0
	for part := range g {
		high, low := bits.Mul64(total, uint64(part))
		from, _ := bits.Div64(high, low, uint64(len(g)))
		for from >= ends[i] {
			i++
		}
		g[part] = uint32(i)
	}
	return g
}

// turn is the n-th turn of an endless round. The step spreads a heavy member's
// turns over the round instead of giving them in one burst, and still visits
// every position once.
func (l *lineup) turn(n uint64) int {
	high, low := bits.Mul64(n%l.total, l.step)
	return l.at(bits.Rem64(high, low, l.total))
}

// draw returns a member, each as likely as its weight says.
func (l *lineup) draw() int { return l.at(rand.Uint64N(l.total)) }

// two draws two different members of at least two, unless one has nearly all
// the weight.
func (l *lineup) two() (a, b int) {
	if l.ends == nil {
		a, b = rand.IntN(len(l.members)), rand.IntN(len(l.members)-1)
		if b >= a {
			b++
		}
		return a, b
	}
	a, b = l.draw(), l.draw()
	for range 3 {
		if a != b {
			break
		}
		b = l.draw()
	}
	return a, b
}

func (l *lineup) weight(i int) float64 {
	if l.weights == nil {
		return 1
	}
	return float64(l.weights[i])
}

// fallback takes any member not yet failed on, else any that is spare, else any
// at all.
func (l *lineup) fallback(avoid *tried) *member {
	from := rand.IntN(len(l.members))
	for i := range l.members {
		if m := l.members[(from+i)%len(l.members)]; !avoid.has(m) {
			return m
		}
	}
	if n := len(l.spare); n > 0 {
		first := rand.IntN(n)
		for i := range n {
			if m := l.spare[(first+i)%n]; !avoid.has(m) {
				return m
			}
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
