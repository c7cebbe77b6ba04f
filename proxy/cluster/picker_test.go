package cluster

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
)

var balances = []string{"round_robin", "least_request", "peak_ewma", "consistent_hash"}

func weighted(weights ...int) *lineup {
	var ms []*member
	for i, w := range weights {
		ms = append(ms, &member{Endpoint{Address: fmt.Sprint(i), Weight: w}, new(vitals)})
	}
	return newLineup(ms)
}

func TestRoundRobinIsExactPerRoundAndNotInBursts(t *testing.T) {
	for _, weights := range [][]int{{1}, {0, 0}, {1, 1, 1}, {3, 1}, {5, 1, 1}, {2, 4}, {100, 50, 1}, {7, 7, 7, 7}, {1000, 1}} {
		l, r := weighted(weights...), &roundRobin{}
		round := 0
		for _, m := range l.members {
			round += m.weight()
		}
		count := map[string]int{}
		for range 3 * round {
			count[r.pick(l, 0, &tried{}).Address]++
		}
		for _, m := range l.members {
			if count[m.Address] != 3*m.weight() {
				t.Errorf("%v: member %s had %d turns in three rounds", weights, m.Address, count[m.Address])
			}
		}
	}
	l, r := weighted(50, 50, 1), &roundRobin{}
	run, longest, last := 0, 0, ""
	for range 101 {
		m := r.pick(l, 0, &tried{})
		if m.Address != last {
			run, last = 0, m.Address
		}
		run++
		longest = max(longest, run)
	}
	if longest > 3 {
		t.Errorf("one member had %d turns in a row", longest)
	}
}

func TestPickersAvoidWhatFailedWhileThereIsAnother(t *testing.T) {
	for _, balance := range balances {
		p, l := newPicker(&Config{Balance: balance, BoundedLoad: 1.25}, new(atomic.Int64)), weighted(100, 1, 1)
		l.table = maglev(l)
		var avoid tried
		avoid.add(l.members[0])
		avoid.add(&member{Endpoint: Endpoint{Address: "1"}}) // the same address after a Replace
		for range 200 {
			if got := p.pick(l, 0, &avoid); got != l.members[2] {
				t.Fatalf("%s took %s", balance, got.Address)
			}
		}
		avoid.add(l.members[2])
		if p.pick(l, 0, &avoid) == nil || p.pick(weighted(1), 0, &avoid) == nil {
			t.Fatal("all failed, so any will do")
		}
		for range 2 * maxTried {
			avoid.add(l.members[2])
		}
		if avoid.n != 3 {
			t.Error("listed twice", avoid.n)
		}
	}
}

func TestLeastRequestPrefersTheLessBusyPerWeight(t *testing.T) {
	share := func(l *lineup) []int {
		n := make([]int, len(l.members))
		for range 10000 {
			n[slices.Index(l.members, leastRequest{}.pick(l, 0, &tried{}))]++
		}
		return n
	}
	l := weighted(1, 1)
	l.members[0].busy.Store(5)
	if n := share(l); n[0] > 3000 { // only when drawn twice
		t.Error("busy", n)
	}
	// Idle members share by weight: a light one is not starved.
	if n := share(weighted(9, 1)); n[1] < 700 || n[1] > 1300 {
		t.Error("idle", n)
	}
	l = weighted(10, 1)
	l.members[0].busy.Store(10)
	l.members[1].busy.Store(2) // twice as busy for its weight
	if n := share(l); n[1] > 200 {
		t.Error("weighted", n)
	}
}

func TestPickingDoesNotAllocate(t *testing.T) {
	l, none := weighted(3, 1, 2, 2), &tried{}
	l.table = maglev(l)
	for _, balance := range balances {
		p := newPicker(&Config{Balance: balance, BoundedLoad: 1.25}, new(atomic.Int64))
		if n := testing.AllocsPerRun(100, func() { p.pick(l, 7, none) }); n != 0 {
			t.Errorf("%T: %v", p, n)
		}
	}
}
