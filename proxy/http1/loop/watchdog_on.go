//go:build linux && watchdog

package loop

import (
	"runtime"
	"sync/atomic"
	"time"
)

// watching: a test build with the tag watchdog logs every task that keeps its
// loop for longer than heldTooLong without waiting, with all stacks: it has
// blocked on something that the loop does not know of.
const watching = true

const heldTooLong = 200 * time.Millisecond

type watchdog struct {
	since atomic.Int64 // when the running task was resumed; 0: none runs
}

func (w *watchdog) begin() { w.since.Store(int64(time.Since(epoch))) }
func (w *watchdog) end()   { w.since.Store(0) }

// start looks after l until stop.
func (w *watchdog) start(l *Loop) (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(heldTooLong / 4)
		defer tick.Stop()
		var said int64
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			since := w.since.Load()
			held := time.Since(epoch) - time.Duration(since)
			if since == 0 || since == said || held < heldTooLong {
				continue
			}
			said = since
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			l.log.Error("loop: a task blocks its loop: what it waits for belongs into Await", "for", held, "stacks", string(stacks))
		}
	}()
	return func() { close(done); <-gone }
}
