package exchange

import (
	"sync/atomic"
	"time"
)

// idleEpoch is what Idle counts from.
var idleEpoch = time.Now()

// Idle ends something that nobody has used for a while, a tunnel above all. The
// nil Idle is without a limit.
type Idle struct {
	limit time.Duration
	last  atomic.Int64 // the last use, since idleEpoch
	over  atomic.Bool
	end   func()
	timer *time.Timer
}

// NewIdle has end called, from a goroutine of its own, when Touch was not called
// for limit. A limit of 0 is none.
func NewIdle(limit time.Duration, end func()) *Idle {
	if limit <= 0 {
		return nil
	}
	i := &Idle{limit: limit, end: end}
	i.Touch()
	i.timer = time.AfterFunc(time.Hour, i.look)
	i.timer.Reset(limit) // only now may look use it
	return i
}

// Touch says that it is used.
func (i *Idle) Touch() {
	if i != nil {
		i.last.Store(int64(time.Since(idleEpoch)))
	}
}

// look ends it, or looks again when it could be time. The timer itself is never
// touched by a use: most are followed by another soon.
func (i *Idle) look() {
	left := i.limit - (time.Since(idleEpoch) - time.Duration(i.last.Load()))
	if left > 0 {
		i.timer.Reset(left)
		return
	}
	i.over.Store(true)
	i.end()
}

// Stop ends the watch and reports whether it has ended the thing before. A call
// of end may still be in progress.
func (i *Idle) Stop() (over bool) {
	if i == nil {
		return false
	}
	i.timer.Stop()
	return i.over.Load()
}
