package http1

import (
	"time"

	"lintel.dev/lintel/proxy/http1/loop"
	"lintel.dev/lintel/proxy/http1/mux"
)

// parked is how a goroutine-driven connection to an endpoint is idle; those of
// an event loop are watched by it.
type parked struct{ timer *time.Timer }

// park makes it idle, to be used again or closed when its time is up.
func (l *link) park() {
	until := l.idleUntil(l.host.now())
	if lane, ok := l.raw.(looped); ok {
		if !l.place.put(l) {
			l.discard()
			return
		}
		lane.Idle(until)
		return
	}
	if d := time.Until(until); l.parked.timer == nil {
		l.parked.timer = time.AfterFunc(d, l.expire)
	} else {
		l.parked.timer.Reset(d)
	}
	if !l.place.put(l) {
		l.discard()
	}
}

// unpark reports whether the connection can be used. One that the other side
// has closed, or has said something on unasked, cannot.
func (l *link) unpark() bool {
	if lane, ok := l.raw.(looped); ok {
		return lane.Busy() && (!l.bare || lane.Quiet())
	}
	return l.parked.timer.Stop() && quiet(l.raw)
}

func (l *link) unparkTimer() {
	if l.parked.timer != nil {
		l.parked.timer.Stop()
	}
}

// expire closes it if it is still idle.
func (l *link) expire() {
	if l.place.remove(l) {
		l.abandon()
	}
}

// looped is what a connection of an event loop can do besides.
type looped interface {
	Idle(until time.Time)
	Busy() bool
	Quiet() bool
}

var _, _ looped = (*loop.Conn)(nil), (*mux.Stream)(nil)
