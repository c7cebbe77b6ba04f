package split

import (
	"sync"
	"sync/atomic"
)

// Counts are a route's exchanges by side. They outlive changes of weights.
type Counts struct {
	Route string

	mu    sync.Mutex
	sides map[string]*count
}

type count struct{ fine, failed, unasked [ways]atomic.Uint64 }

// NewCounts begins at nothing.
func NewCounts(route string) *Counts { return &Counts{Route: route, sides: map[string]*count{}} }

func (c *Counts) of(side string) *count {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.sides[side]
	if n == nil {
		n = &count{}
		c.sides[side] = n
	}
	return n
}

// Each yields every count there is: by is how the side was chosen, outcome is
// ok, failed, or unasked when the service was not asked.
func (c *Counts) Each(yield func(side, by, outcome string, n uint64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.sides {
		for w := range ways {
			for _, o := range [...]struct {
				outcome string
				n       uint64
			}{{"ok", s.fine[w].Load()}, {"failed", s.failed[w].Load()}, {"unasked", s.unasked[w].Load()}} {
				if o.n > 0 {
					yield(name, wayNames[w], o.outcome, o.n)
				}
			}
		}
	}
}
