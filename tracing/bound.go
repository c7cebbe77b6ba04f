package tracing

import (
	"maps"
	"sync"
	"sync/atomic"
)

// bound keeps the children of a metric by their key, so that the way to a known
// one is a map look-up without lock or allocation. New keys are rare: each
// copies the map.
type bound[K comparable, V any] struct {
	table atomic.Pointer[map[K]V]
	mu    sync.Mutex
	limit int
	spill func(K) K // what stands for keys past the limit; must yield few keys
	make  func(K) V
}

func newBound[K comparable, V any](limit int, spill func(K) K, build func(K) V) bound[K, V] {
	return bound[K, V]{limit: limit, spill: spill, make: build}
}

func (b *bound[K, V]) get(k K) V {
	if t := b.table.Load(); t != nil {
		if v, ok := (*t)[k]; ok {
			return v
		}
	}
	return b.add(k)
}

func (b *bound[K, V]) add(k K) V {
	b.mu.Lock()
	defer b.mu.Unlock()
	var old map[K]V
	if t := b.table.Load(); t != nil {
		old = *t
	}
	if len(old) >= b.limit {
		k = b.spill(k)
	}
	if v, ok := old[k]; ok {
		return v
	}
	v := b.make(k)
	next := make(map[K]V, len(old)+1)
	maps.Copy(next, old)
	next[k] = v
	b.table.Store(&next)
	return v
}
