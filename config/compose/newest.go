package compose

import (
	"slices"
	"sync"
)

// newest holds what tables use by name, and shows of each name the one that was asked
// for last. The others stay known: a reload that fails gives its own up again, and one
// that goes back to what was before may find that still in use.
type newest[T comparable] struct {
	mu  sync.Mutex
	all map[string][]T // by name, the last asked for last
}

func (n *newest[T]) used(name string, v T) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = map[string][]T{}
	}
	n.all[name] = append(n.without(name, v), v)
}

func (n *newest[T]) forget(name string, v T) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if rest := n.without(name, v); len(rest) > 0 {
		n.all[name] = rest
	} else {
		delete(n.all, name)
	}
}

// shown are the newest of every name.
func (n *newest[T]) shown() []T {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]T, 0, len(n.all))
	for _, list := range n.all {
		out = append(out, list[len(list)-1])
	}
	return out
}

func (n *newest[T]) without(name string, v T) []T {
	return slices.DeleteFunc(n.all[name], func(o T) bool { return o == v })
}
