package mux

import (
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/http1/loop"
)

// epoch is what times inside the package are counted from, in nanoseconds.
var epoch = time.Now()

// since is t counted from epoch, 0 for the zero time, which is none.
func since(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	if t.Round(0) == t { // a wall clock's time: what it is from now
		return max(int64(time.Since(epoch)+time.Until(t)), 1)
	}
	return max(int64(t.Sub(epoch)), 1)
}

// Bits of Stream.waits.
const (
	readWaits uint32 = 1 << iota
	writeWaits
)

// clock calls a stream's review when one of its deadlines may have passed.
type clock struct {
	review    func()
	timer     *loop.Timer
	at        int64 // when it is due; 0: it is not set
	idleUntil int64
}

func (c *clock) stop() {
	if c.timer != nil {
		c.timer.Drop() // nothing may hold on to a stream that is gone
	}
}

// by makes sure that the stream is looked at when d has passed.
func (st *Stream) by(d int64) {
	c := &st.clock
	if c.at != 0 && c.at <= d {
		return
	}
	if c.timer == nil {
		c.timer = st.s.loop.NewTimer(func() {
			c.at = 0
			st.review()
		})
	}
	c.at = d
	c.timer.Reset(time.Duration(d - since(st.s.loop.Now())))
}

// review does what flags and deadlines ask for now.
func (st *Stream) review() {
	switch {
	case st.state == gone:
		return
	case st.closed.Load() != 0:
		st.leave()
		return
	}
	now := since(st.s.loop.Now())
	if st.reader != nil {
		st.check(now, st.readBy.Load(), st.reader)
	}
	if st.writer != nil {
		st.check(now, st.writeBy.Load(), st.writer)
	}
	if until := st.clock.idleUntil; st.state == idle && until != 0 {
		if until > now {
			st.by(until)
		} else if st.clock.idleUntil = 0; st.handler != nil {
			st.handler.Expired(st)
		}
	}
}

// check wakes who waits if its deadline has passed.
func (st *Stream) check(now, deadline int64, t *loop.Task) {
	switch {
	case deadline == 0:
	case deadline <= now:
		t.Wake()
	default:
		st.by(deadline)
	}
}

// await suspends the running task until who is woken: by an event, the deadline
// or Close. It may return for nothing.
func (st *Stream) await(who **loop.Task, waits uint32, deadline *atomic.Int64) error {
	t := st.s.loop.Running()
	switch {
	case t == nil:
		return errNoTask
	case *who != nil:
		return errInUse
	}
	*who = t
	// From here on whoever closes it or sets a deadline tells the loop; what they
	// did before is seen below.
	st.waits.Or(waits)
	if st.usable(deadline) == nil {
		if d := deadline.Load(); d != 0 {
			st.by(d)
		}
		t.Park()
	}
	*who = nil
	st.waits.And(^waits)
	return nil
}

// SetDeadline implements net.Conn. From any goroutine, like the other two. It
// interrupts who is waiting.
func (st *Stream) SetDeadline(t time.Time) error {
	_ = st.SetReadDeadline(t)
	return st.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (st *Stream) SetReadDeadline(t time.Time) error { return st.setDeadline(&st.readBy, readWaits, t) }

// SetWriteDeadline implements net.Conn.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	return st.setDeadline(&st.writeBy, writeWaits, t)
}

func (st *Stream) setDeadline(which *atomic.Int64, waits uint32, t time.Time) error {
	which.Store(since(t))
	if st.waits.Load()&waits != 0 {
		st.s.loop.Post(st.clock.review)
	}
	return nil
}

// Run implements loop.Runner: it is what an idle stream's Ready runs in.
func (st *Stream) Run() {
	for st.handler.Ready(st) && st.state == busy && st.closed.Load() == 0 {
		if !st.pending() {
			st.goIdle()
			return
		}
		st.s.loop.Running().Yield()
	}
}

// pending reports whether there is something to read.
func (st *Stream) pending() bool { return st.in.n > 0 || st.ended || st.s.err != nil }

// Quiet reports whether nothing has arrived. What is still in the socket does not
// count: the other end is a Lintel, which ends an answer where it says.
func (st *Stream) Quiet() bool { return !st.pending() }

func (st *Stream) goIdle() {
	st.state = idle
	if st.clock.idleUntil != 0 {
		st.by(st.clock.idleUntil)
	}
}

// IdleUntil sets the deadline of the stream's idle times, this one or those to
// come; the zero time is none.
func (st *Stream) IdleUntil(t time.Time) {
	st.clock.idleUntil = since(t)
	if st.state == idle && st.clock.idleUntil != 0 {
		st.by(st.clock.idleUntil)
	}
}

// Idle says that nobody uses the stream now; at once if there is something to
// read, later when something arrives, its Ready runs. For streams of Open whose
// Ready has not been called: that one returns true.
func (st *Stream) Idle(until time.Time) {
	st.clock.idleUntil = since(until)
	switch {
	case st.state != busy || st.closed.Load() != 0:
	case st.pending():
		st.s.loop.Start(st)
	default:
		st.goIdle()
	}
}

// Busy takes an idle stream into use again. It reports false if that is too
// late: it was closed, has ended, or something unasked for has arrived; or if
// nothing gets through to the other side any more.
func (st *Stream) Busy() bool {
	if st.state != idle || st.closed.Load() != 0 || st.s.err != nil || st.s.doubted || st.id == 0 && st.s.leaving {
		return false
	}
	st.state, st.wrote = busy, false
	return true
}
