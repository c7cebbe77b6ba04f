package loop

import "runtime/debug"

// item is something another goroutine, or a task, wants done by the loop.
type item struct {
	task *Task // to be resumed
	conn *Conn // to be looked at: it was closed or got a deadline
	f    func()
}

// Post has f run on the loop soon, not as a task. From any goroutine. After the
// group was closed it is not run, and Post returns false.
func (l *Loop) Post(f func()) bool { return l.post(item{f: f}) }

func (l *Loop) post(it item) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posts = append(l.posts, it)
	l.pending.Store(true)
	l.mu.Unlock()
	if l.asleep.Load() && l.asleep.CompareAndSwap(true, false) {
		// Waking it this way costs no system call. Should it come too late, when
		// the loop has been woken otherwise, it wakes up once for nothing.
		_ = l.poll.SetReadDeadline(longAgo)
	}
	return true
}

func (l *Loop) takePosts() {
	if !l.pending.Load() {
		return
	}
	l.mu.Lock()
	l.taken, l.posts = l.posts, l.taken[:0]
	l.pending.Store(false)
	l.mu.Unlock()
	for i, it := range l.taken {
		l.taken[i] = item{}
		switch {
		case it.task != nil:
			l.runq.push(it.task)
		case it.conn != nil:
			it.conn.review()
		default:
			l.guarded("posted function", it.f)
		}
	}
}

// Await runs f on an ordinary goroutine while the task waits and others run. A
// panic in f is raised again in the task.
func (l *Loop) Await(f func()) {
	t := l.mustRun("Await")
	l.lent = true
	var panicked any
	returned := false
	go func() {
		defer l.post(item{task: t})
		defer func() {
			if panicked = recover(); panicked != nil {
				l.log.Error("loop: panic in an awaited function", "panic", panicked, "stack", string(debug.Stack()))
			}
		}()
		f()
		returned = true
	}()
	t.suspend()
	switch {
	case panicked != nil:
		panic(panicked)
	case !returned:
		panic("loop: the awaited function called runtime.Goexit")
	}
}
