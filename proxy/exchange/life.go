package exchange

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Life is how long one exchange lasts. It is a new one for every exchange, so
// that who ends it too late ends nothing else. A context is only made when
// somebody asks for one: most exchanges are forwarded without.
type Life struct {
	parent context.Context // nil: nothing above it
	over   atomic.Bool     // ended, to be seen without a lock
	mu     sync.Mutex
	ended  bool
	cause  error // why it ended; nil when it simply was over
	ctx    context.Context
	cancel context.CancelCauseFunc
	first  Waker   // almost always the only one
	more   []Waker // further ones
	timer  *time.Timer
}

// Waker is told when an exchange it works for has ended, from whatever
// goroutine ends it: it must not block.
type Waker interface{ Wake() }

// Alarm ends an exchange at a given time. An engine with timers of its own
// puts one into Exchange.Alarm.
type Alarm interface {
	Set(d time.Duration, l *Life, cause error)
	Stop() (early bool) // reports whether it had not gone off
}

// Begin is for engines: x lives from now, below parent if there is one.
func (x *Exchange) Begin(parent context.Context) {
	x.life = &Life{parent: parent}
}

// Life is what to keep of an exchange in order to end it later.
func (x *Exchange) Life() *Life {
	if x.life == nil {
		x.life = &Life{}
	}
	return x.life
}

// Context ends when the client goes away, the exchange is cancelled or over;
// its cause says why.
func (x *Exchange) Context() context.Context { return x.Life().Context() }

// Cancel ends the exchange's context: reading an answer's body fails from now.
func (x *Exchange) Cancel(cause error) { x.Life().Cancel(cause) }

// Live has what is begun from now on last as long as l, a Branch of x's own life, for
// who makes one of several attempts at x that is to end before x does. The life that x
// had is to be put back.
func (x *Exchange) Live(l *Life) { x.life = l }

// Ended is why the exchange's context has ended, nil while it has not.
func (x *Exchange) Ended() error { return x.Life().Ended() }

// Expire cancels the exchange with cause unless Unexpire is called within d.
// One such limit at a time.
func (x *Exchange) Expire(d time.Duration, cause error) {
	l := x.Life()
	if x.Alarm != nil {
		x.Alarm.Set(d, l, cause)
		return
	}
	l.timer = time.AfterFunc(d, func() { l.Cancel(cause) })
}

// Unexpire takes back Expire and reports whether it was in time.
func (x *Exchange) Unexpire() bool {
	if x.Alarm != nil {
		return x.Alarm.Stop()
	}
	return x.life.timer.Stop()
}

// Context is Exchange.Context.
func (l *Life) Context() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		parent := l.parent
		if parent == nil {
			parent = context.Background()
		}
		l.ctx, l.cancel = context.WithCancelCause(parent)
		if l.ended {
			l.cancel(l.cause)
		}
	}
	return l.ctx
}

// Branch is a life that ends when l does, or before.
func (l *Life) Branch() *Life {
	b := &branch{of: l}
	l.Watch(b)
	return &b.Life
}

type branch struct {
	Life
	of *Life
}

// Wake implements Waker.
func (b *branch) Wake() { b.Cancel(b.of.Ended()) }

// Cancel ends it; only the first call counts.
func (l *Life) Cancel(cause error) {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return
	}
	l.ended, l.cause = true, cause
	l.over.Store(true)
	cancel, first, more := l.cancel, l.first, l.more
	l.first, l.more = nil, nil
	l.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
	if first != nil {
		first.Wake()
	}
	for _, w := range more {
		w.Wake()
	}
}

// Ended is Exchange.Ended.
func (l *Life) Ended() error {
	if l.parent == nil && !l.over.Load() {
		return nil // asked several times per exchange
	}
	l.mu.Lock()
	ended, cause, above := l.ended, l.cause, l.ctx
	if above == nil {
		above = l.parent
	}
	l.mu.Unlock()
	switch {
	case ended && cause != nil:
		return cause
	case ended:
		return context.Canceled
	case above != nil && above.Err() != nil:
		return context.Cause(above)
	}
	return nil
}

// Watch has w woken, at most once, when the exchange ends; at once if it has.
func (l *Life) Watch(w Waker) {
	l.mu.Lock()
	switch {
	case l.ended:
		l.mu.Unlock()
		w.Wake()
		return
	case l.first == nil:
		l.first = w
	default:
		l.more = append(l.more, w)
	}
	parent := l.parent
	l.mu.Unlock()
	if parent != nil {
		context.AfterFunc(parent, func() { l.Cancel(context.Cause(parent)) })
	}
}

// Unwatch takes back Watch. A call of Wake may still be in progress.
func (l *Life) Unwatch(w Waker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == w {
		l.first = nil
		return
	}
	for i := range l.more {
		if l.more[i] == w {
			l.more = append(l.more[:i], l.more[i+1:]...)
			return
		}
	}
}
