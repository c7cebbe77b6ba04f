package http1

import (
	"time"
)

// LoopDelay is how long the event loops of this process take until they look at
// something new, the slowest of them; at most as long as is given. 0 while there
// are none.
func LoopDelay(most time.Duration) time.Duration {
	loops.mu.Lock()
	group := loops.group
	loops.mu.Unlock()
	if group == nil {
		return 0
	}
	from := time.Now()
	all := group.Loops()
	looked := make(chan struct{}, len(all))
	asked := 0
	for _, l := range all {
		if l.Post(func() { looked <- struct{}{} }) {
			asked++
		}
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for range asked {
		select {
		case <-looked:
		case <-timer.C:
			return most
		}
	}
	return time.Since(from)
}
