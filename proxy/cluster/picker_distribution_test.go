package cluster

import (
	"fmt"
	"math"
	"sync/atomic"
	"testing"
)

// lineupOf is a lineup of n members with weights that repeat.
func lineupOf(n int, weights ...int) *lineup {
	all := make([]int, n)
	for i := range all {
		all[i] = weights[i%len(weights)]
	}
	l := weighted(all...)
	l.table = maglev(l)
	return l
}

// TestDistributionFollowsWeights has idle members picked from, and compares with
// what their weights promise by a chi-square test. Its bounds are passed by chance
// once in a million runs at most.
func TestDistributionFollowsWeights(t *testing.T) {
	for _, balance := range balances {
		for _, c := range []struct {
			n       int
			weights []int
		}{{2, []int{1}}, {3, []int{1}}, {3, []int{5, 3, 2}}, {10, []int{1, 10}}, {100, []int{1}}, {100, []int{1, 2, 7}}} {
			t.Run(fmt.Sprint(balance, c.n, c.weights), func(t *testing.T) {
				l := lineupOf(c.n, c.weights...)
				p := newPicker(&Config{Balance: balance}, new(atomic.Int64))
				now := clock()
				for _, m := range l.members {
					m.cost.observe(1e6, now) // the same for all: the least difference decides
				}
				const picks = 200_000
				count := map[string]float64{}
				for i := range picks {
					count[p.pick(l, mix(uint64(i)), &tried{}).Address]++
				}
				chi := 0.0
				for i, m := range l.members {
					expected := picks * l.weight(i) / (l.mean * float64(c.n))
					chi += (count[m.Address] - expected) * (count[m.Address] - expected) / expected
				}
				free := float64(c.n - 1)
				limit := free + 2*math.Sqrt(17*free) + 2*17 // passed by chance with less than e^-17 (Laurent and Massart)
				if balance == "consistent_hash" {
					// A table's slots are whole: each member has up to one more or less.
					for i := range l.members {
						expected := picks * l.weight(i) / (l.mean * float64(c.n))
						limit += expected * math.Pow(float64(c.n)/maglevSlots, 2)
					}
				}
				if chi > limit {
					t.Errorf("chi-square %.1f, limit %.1f", chi, limit)
				}
			})
		}
	}
}

// TestRoundRobinOfManyUnevenMembersIsSpread finds rounds that visit few members
// for long, as steps near a simple fraction make them.
func TestRoundRobinOfManyUnevenMembersIsSpread(t *testing.T) {
	l, r := lineupOf(5000, 100, 100, 100, 99), &roundRobin{}
	seen := map[string]int{}
	for range 5000 {
		seen[r.pick(l, 0, &tried{}).Address]++
	}
	most := 0
	for _, n := range seen {
		most = max(most, n)
	}
	if len(seen) < 2500 || most > 4 {
		t.Errorf("5000 turns visited %d of 5000 members, one of them %d times", len(seen), most)
	}
}

func TestRoundRobinDoesNotOverflow(t *testing.T) {
	l := weighted(math.MaxInt32, math.MaxInt32-2, 1)
	count := map[string]int{}
	for n := range uint64(30000) {
		count[l.members[l.turn(n+math.MaxUint32)].Address]++
	}
	if count["0"] < 14000 || count["1"] < 14000 || count["2"] > 2 {
		t.Error(count)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, balance := range balances {
		for _, n := range []int{3, 100, 5000} {
			for _, weights := range [][]int{{1}, {1, 2, 7}} {
				kind := "even"
				if len(weights) > 1 {
					kind = "weighted"
				}
				b.Run(fmt.Sprintf("%s/%d/%s", balance, n, kind), func(b *testing.B) {
					l := lineupOf(n, weights...)
					p := newPicker(&Config{Balance: balance, BoundedLoad: 1.25}, new(atomic.Int64))
					for _, m := range l.members {
						m.cost.observe(1e6, clock())
					}
					b.ReportAllocs()
					key, none := uint64(0), &tried{}
					for b.Loop() {
						key += 0x9e3779b97f4a7c15
						p.pick(l, key, none)
					}
				})
			}
		}
	}
}

func BenchmarkReplace(b *testing.B) {
	for _, balance := range balances {
		for _, n := range []int{100, 5000} {
			b.Run(fmt.Sprintf("%s/%d", balance, n), func(b *testing.B) {
				c := New(Config{Balance: balance, Transport: nothing{}})
				eps := make([]Endpoint, n)
				for i := range eps {
					eps[i] = Endpoint{Address: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250), Weight: 1}
				}
				for b.Loop() {
					c.Replace(eps)
				}
			})
		}
	}
}

// TestAtIsExact: every position falls to the member whose weight covers it.
func TestAtIsExact(t *testing.T) {
	for _, weights := range [][]int{{1, 2}, {3, 1, 1, 7}, {100, 1, 1, 1, 1, 50}, {1, 1, 1000}, {5, 5, 5, 4}} {
		l := weighted(weights...)
		position := uint64(0)
		for i, w := range weights {
			for range w {
				if got := l.at(position); got != i {
					t.Fatalf("%v: position %d falls to %d, want %d", weights, position, got, i)
				}
				position++
			}
		}
	}
}
