package loop

import "time"

// Timer calls a function on the loop once its time has come. All of it is only
// for the loop's tasks and functions.
type Timer struct {
	loop       *Loop
	f          func()
	conn       *Conn // instead of f: whose deadlines are looked at
	at         int64 // when it is due; 0: it is stopped
	prev, next *Timer
	tick       int64 // where it is linked in the wheel; 0: nowhere
	slot       uint16
}

// After returns a timer that calls f after d, within about 2 ms, counted from
// the beginning of the current turn.
func (l *Loop) After(d time.Duration, f func()) *Timer {
	t := &Timer{loop: l, f: f}
	t.Reset(d)
	return t
}

// NewTimer returns a timer that calls f, not yet set.
func (l *Loop) NewTimer(f func()) *Timer { return &Timer{loop: l, f: f} }

// Reset sets the timer anew, whether or not it was set. It costs next to nothing
// when it only moves later: the wheel finds out when the earlier time comes.
func (t *Timer) Reset(d time.Duration) {
	t.at = max(t.loop.ns+int64(d), 1)
	t.link(t.at)
}

// Stop unsets the timer and reports whether it was set.
func (t *Timer) Stop() bool {
	set := t.at != 0
	t.at = 0
	return set
}

// Drop is Stop for good: what the timer would have called is forgotten now, and
// not only when its time has come.
func (t *Timer) Drop() {
	t.at = 0
	t.loop.wheel.remove(t)
}

// link makes sure that the wheel comes by not later than ns.
func (t *Timer) link(ns int64) {
	w := &t.loop.wheel
	tick := tickAt(ns)
	if t.tick != 0 {
		if t.tick <= tick {
			return
		}
		w.remove(t)
	}
	w.add(t, tick)
}

// due is called by the wheel.
func (l *Loop) due(t *Timer) {
	switch {
	case t.conn != nil:
		t.conn.review()
	case t.at > l.ns:
		t.link(t.at)
	case t.at != 0:
		t.at = 0
		l.guarded("timer", t.f)
	}
}
