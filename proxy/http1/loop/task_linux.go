package loop

import (
	"errors"
	"iter"
	"runtime/debug"
	"sync/atomic"
)

const (
	// How many unused ones a loop keeps.
	keptCoroutines = 64
	keptTasks      = 256
	// share is what a task may spend before it lets others run: bytes read and
	// written, and callCost for every call. The call that exceeds it is the last,
	// so others wait for one of 256 KB (sendMost) at most: 25 to 50 microseconds.
	share    = 64 << 10
	callCost = share / 32
)

// The states of a task's permit.
const (
	noPermit int32 = iota
	permit         // Park returns at once
	parked         // it waits in Park
)

// errUnwound unwinds tasks that are still parked when their loop ends.
var errUnwound = errors.New("loop: the loop has ended")

// Task is straight-line code that runs on a loop, as a coroutine.
type Task struct {
	loop    *Loop
	co      *coroutine
	f       func()
	owner   Runner // whose it is: closed if the task panics
	started bool   // it runs owner, not f, and is used again
	ended   bool
	waiting bool // in Park or Join: nothing but another task ends that
	permit  atomic.Int32
	joiners []*Task
	next    *Task // in the run queue
}

// coroutine runs one task after another.
type coroutine struct {
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	task  *Task
	place int  // in the loop's list of those in use
	exit  bool // its goroutine is gone
}

// Go runs f as another task of the loop, after those that are runnable now. A
// panic in it is logged, and closes what the task that started it runs for. On
// the loop only.
func (l *Loop) Go(f func()) *Task {
	t := &Task{loop: l, f: f}
	if l.running != nil {
		t.owner = l.running.owner
	}
	l.tasks++
	l.runq.push(t)
	return t
}

// Start runs r as a task that nobody may keep hold of: it is used again and
// again, since every request begins with one. On the loop only.
func (l *Loop) Start(r Runner) {
	var t *Task
	if n := len(l.unused); n > 0 {
		t, l.unused = l.unused[n-1], l.unused[:n-1]
		t.ended = false
		t.permit.Store(noPermit)
	} else {
		t = &Task{loop: l, started: true}
	}
	t.owner = r
	l.tasks++
	l.runq.push(t)
}

// coroutine takes one that is free.
func (l *Loop) coroutine() *coroutine {
	var co *coroutine
	if n := len(l.spare); n > 0 {
		co = l.spare[n-1]
		l.spare[n-1] = nil
		l.spare = l.spare[:n-1]
	} else {
		co = new(coroutine)
		co.next, co.stop = iter.Pull(co.run)
	}
	co.place = len(l.inUse)
	l.inUse = append(l.inUse, co)
	return co
}

// run is the coroutine's body. Panics end here: iter.Pull would raise them in
// the loop.
func (co *coroutine) run(yield func(struct{}) bool) {
	co.yield = yield
	for {
		co.task.run()
		if !yield(struct{}{}) {
			return
		}
	}
}

func (t *Task) run() {
	sound := false
	defer func() {
		if sound {
			t.ended = true
			return
		}
		v := recover()
		if v == nil {
			v = "runtime.Goexit was called"
			t.co.exit = true // nothing stops it: it ends the loop's goroutine as well, which is started anew
		}
		if v != errUnwound { //nolint:errorlint // a panic's value
			t.loop.log.Error("loop: panic in a task", "panic", v, "stack", string(debug.Stack()))
		}
		if t.owner != nil {
			_ = t.owner.Close()
		}
		t.ended = true
	}()
	if t.started {
		t.owner.Run()
	} else {
		t.f()
	}
	sound = true
}

// resume lets t run until it waits or ends.
func (l *Loop) resume(t *Task) {
	if t.ended { // unwound
		return
	}
	if t.co == nil {
		t.co = l.coroutine()
		t.co.task = t
	}
	l.running = t
	l.spent = 0
	if watching {
		l.watch.begin()
	}
	t.co.next()
	if watching {
		l.watch.end()
	}
	l.settle()
}

// settle is what follows when the running task has stopped running.
func (l *Loop) settle() {
	t := l.running
	l.running = nil
	if t == nil || !t.ended {
		return
	}
	l.tasks--
	for i, j := range t.joiners {
		t.joiners[i] = nil
		l.runq.push(j)
	}
	co := t.co
	t.co, t.owner, t.f, t.joiners = nil, nil, nil, t.joiners[:0]
	co.task = nil
	if t.started && !co.exit && len(l.unused) < keptTasks {
		l.unused = append(l.unused, t)
	}
	last := len(l.inUse) - 1
	l.inUse[co.place] = l.inUse[last]
	l.inUse[co.place].place = co.place
	l.inUse[last] = nil
	l.inUse = l.inUse[:last]
	switch {
	case co.exit:
	case len(l.spare) < keptCoroutines:
		l.spare = append(l.spare, co)
	default:
		co.stop()
	}
}

// suspend stops running until something pushes t to the run queue.
func (t *Task) suspend() {
	if !t.co.yield(struct{}{}) {
		panic(errUnwound)
	}
}

// Running is the task that is running, nil outside tasks. One of Start or of a
// Ready is used again for others once that has returned. On the loop only.
func (l *Loop) Running() *Task { return l.running }

// mustRun is Running for what only tasks may do.
func (l *Loop) mustRun(what string) *Task {
	if l.running == nil {
		panic("loop: " + what + " outside a task of this loop")
	}
	return l.running
}

// Loop is where the task runs.
func (t *Task) Loop() *Loop { return t.loop }

// Park waits until Unpark; from inside the task. It may return early (an Unpark
// that was meant for somebody before), so what is waited for is checked again,
// in a loop.
func (t *Task) Park() {
	if t.loop.running != t {
		panic("loop: Park from outside the task")
	}
	if !t.permit.CompareAndSwap(noPermit, parked) {
		t.permit.Store(noPermit)
		return
	}
	t.waiting = true
	t.suspend()
	t.waiting = false
}

// Unpark ends a Park, the next one if there is none now. From any goroutine.
func (t *Task) Unpark() {
	if t.permit.Swap(permit) == parked {
		t.permit.Store(noPermit)
		t.loop.post(item{task: t})
	}
}

// Wake is Unpark from the loop itself, and cheaper: nothing is locked.
func (t *Task) Wake() {
	if t.permit.Swap(permit) == parked {
		t.permit.Store(noPermit)
		t.loop.runq.push(t)
	}
}

// Join waits, in a task of the same loop, until t has ended. Not for a task of
// Start or of a Ready.
func (t *Task) Join() {
	if t.ended {
		return
	}
	me := t.loop.mustRun("Join")
	t.joiners = append(t.joiners, me)
	me.waiting = true
	me.suspend()
	me.waiting = false
}

// Yield lets the loop's other tasks run first; from inside the task.
func (t *Task) Yield() {
	if t.loop.running != t {
		panic("loop: Yield from outside the task")
	}
	t.loop.runq.push(t)
	t.suspend()
}

// spend counts what the running task does.
func (l *Loop) spend(n int) { l.spent += n + callCost }

// fair makes a task yield that has spent its share without ever waiting: a
// socket that is always ready never makes it wait.
func (l *Loop) fair() {
	if l.spent >= share && l.running != nil {
		l.running.Yield()
	}
}

// taskQueue is first in, first out.
type taskQueue struct {
	head, tail *Task
	len        int
}

func (q *taskQueue) push(t *Task) {
	if q.tail == nil {
		q.head = t
	} else {
		q.tail.next = t
	}
	q.tail = t
	q.len++
}

func (q *taskQueue) pop() *Task {
	t := q.head
	if q.head = t.next; q.head == nil {
		q.tail = nil
	}
	t.next = nil
	q.len--
	return t
}
