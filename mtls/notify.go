package mtls

import "sync"

// notifier wakes every watcher after a change. Signals coalesce: a watcher
// that is slow sees one signal for several changes and then reads the newest
// state. The zero value is ready.
type notifier struct {
	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

func (n *notifier) watch() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchers == nil {
		n.watchers = map[chan struct{}]struct{}{}
	}
	n.watchers[c] = struct{}{}
	return c, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.watchers, c)
	}
}

func (n *notifier) notify() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.watchers {
		select {
		case c <- struct{}{}:
		default: // it has an unread signal already
		}
	}
}
