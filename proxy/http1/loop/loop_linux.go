package loop

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	eventBatch = 256
	// letOthers is how long a loop that never sleeps keeps its thread from Go's
	// other goroutines.
	letOthers = time.Millisecond
	// closeGrace is how long tasks that wait for each other (Park, Join) have to
	// end when their loop is closed, before they are unwound.
	closeGrace = time.Second
)

// epoch is what times inside the package are counted from, in nanoseconds.
var epoch = time.Now()

// longAgo as a deadline wakes a sleeping loop.
var longAgo = time.Unix(1, 0)

// Group is the event loops of a process.
type Group struct {
	loops []*Loop
	log   *slog.Logger
	turn  atomic.Uint32 // breaks ties between equally loaded loops
	once  sync.Once
}

// Loop runs connections, tasks and timers on one goroutine.
type Loop struct {
	log  *slog.Logger
	poll *os.File // the epoll descriptor, which Go's own poller waits for
	raw  syscall.RawConn
	epfd int
	done chan struct{}

	// What other goroutines touch.
	load    atomic.Int64 // its connections
	asleep  atomic.Bool
	pending atomic.Bool // posts is not empty
	mu      sync.Mutex
	posts   []item
	ended   bool // nothing can be posted any more

	// The rest is the loop's own.
	clock     time.Time // of this turn
	ns        int64     // the same since epoch
	shared    int64     // when other goroutines last had their chance
	lent      bool      // an Await was started in this turn
	armed     int64     // the poller's deadline; 0: none, -1: it has passed
	slept     bool      // in this turn
	ready     int       // events from the poller
	look      func(uintptr) bool
	dueFn     func(*Timer)
	events    [eventBatch]unix.EpollEvent
	slots     []slot
	free      []uint32 // slots without a connection
	acceptors []*acceptor
	wheel     wheel
	taken     []item
	runq      taskQueue
	running   *Task
	spent     int     // by the running task since it was resumed
	tasks     int     // that have not ended
	readies   []*Task // unused ones for Ready
	spare     []*coroutine
	inUse     []*coroutine
	pipes     []pipe // unused ones for Splice
	closing   bool
	giveUp    int64 // when to unwind what is left
	watch     watchdog
}

// slot is how epoll's events find their connection. Its generation tells a late
// event from one for the slot's next connection.
type slot struct {
	conn *Conn
	gen  uint32
}

// item is something another goroutine, or a task, wants done by the loop.
type item struct {
	task *Task // to be resumed
	conn *Conn // to be looked at: it was closed or got a deadline
	f    func()
}

// New starts event loops.
func New(cfg Config) (*Group, error) {
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	g := &Group{log: cfg.Log}
	for range cfg.Loops {
		l, err := newLoop(cfg.Log)
		if err != nil {
			g.Close()
			return nil, err
		}
		g.loops = append(g.loops, l)
		go l.run()
	}
	return g, nil
}

func newLoop(log *slog.Logger) (*Loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("loop: epoll_create1: %w", err)
	}
	// Go's poller takes what is non-blocking, an epoll descriptor too.
	if err = unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("loop: making an epoll descriptor non-blocking: %w", err)
	}
	l := &Loop{log: log, poll: os.NewFile(uintptr(fd), "epoll"), epfd: fd, done: make(chan struct{})}
	if l.raw, err = l.poll.SyscallConn(); err == nil {
		err = l.poll.SetReadDeadline(time.Time{}) // fails for what Go's poller did not take
	}
	if err != nil {
		_ = l.poll.Close()
		return nil, fmt.Errorf("loop: waiting for an epoll descriptor in Go's poller: %w", err)
	}
	l.look = func(uintptr) bool {
		l.ready = l.epollWait()
		return l.ready != 0
	}
	l.dueFn = l.due
	l.tick()
	l.wheel.now = l.ns >> tickBits
	return l, nil
}

// Loops are the group's event loops.
func (g *Group) Loops() []*Loop { return g.loops }

// Close closes all connections and ends the loops once their tasks have ended;
// what those still do with connections fails. Functions handed to Await are
// waited for. It must not be called on a loop. Handlers are told nothing.
func (g *Group) Close() {
	g.once.Do(func() {
		for _, l := range g.loops {
			l.Post(l.close)
		}
	})
	for _, l := range g.loops {
		<-l.done
	}
}

// least is the loop with the fewest connections.
func (g *Group) least() *Loop {
	first := int(g.turn.Add(1))
	best := g.loops[first%len(g.loops)]
	for i := 1; i < len(g.loops); i++ {
		if l := g.loops[(first+i)%len(g.loops)]; l.load.Load() < best.load.Load() {
			best = l
		}
	}
	best.load.Add(1)
	return best
}

// close runs on the loop.
func (l *Loop) close() {
	l.closing = true
	l.giveUp = l.ns + int64(closeGrace)
	for _, s := range l.slots {
		if s.conn != nil {
			_ = s.conn.Close()
		}
	}
}

// run takes turns until the loop is closed and its last task has ended.
func (l *Loop) run() {
	over := false
	defer func() {
		if !over { // a task called runtime.Goexit, which goes through here
			l.settle()
			go l.run()
		}
	}()
	stop := l.watch.start(l)
	defer stop()
	for !l.turn() {
	}
	over = true
	for _, co := range l.spare {
		co.stop()
	}
	for _, p := range l.pipes {
		p.close()
	}
	_ = l.poll.Close()
	close(l.done)
}

// turn is one round: what epoll says, timers, posts, and every task that is
// runnable by then once. It reports whether the loop is over.
func (l *Loop) turn() (over bool) {
	if l.slept = l.runq.len == 0 && !l.pending.Load(); l.slept {
		l.sleep()
	} else {
		l.ready = l.epollWait()
	}
	l.tick()
	if l.ready > 0 {
		l.dispatch()
	}
	if now := l.ns >> tickBits; now > l.wheel.now {
		l.wheel.advance(now, l.dueFn)
	}
	l.takePosts()
	for n := l.runq.len; n > 0; n-- {
		l.resume(l.runq.pop())
	}
	l.takePosts() // connections that were closed: what they waited for is asked for first, then sleep
	if l.closing && l.wound() {
		return true
	}
	l.letOthers()
	return false
}

// tick takes the time.
func (l *Loop) tick() {
	l.clock = time.Now()
	l.ns = int64(l.clock.Sub(epoch))
}

// Now is the time at which the current turn began. On the loop only.
func (l *Loop) Now() time.Time { return l.clock }

// sleep waits in Go's poller for an event, a post or the next timer. The
// callback looks before it waits, so there is no need to before.
func (l *Loop) sleep() {
	var until int64
	if tick, any := l.wheel.next(); any {
		until = max(tick<<tickBits, 1)
	}
	if l.closing && l.ns < l.giveUp && (until == 0 || l.giveUp < until) {
		until = l.giveUp
	}
	// An earlier deadline may stay: the loop wakes up once for nothing.
	if l.armed < 0 || until != 0 && (l.armed == 0 || until < l.armed) {
		var t time.Time
		if until != 0 {
			t = epoch.Add(time.Duration(until))
		}
		if err := l.poll.SetReadDeadline(t); err != nil {
			l.log.Error("loop: setting the poller's deadline", "error", err)
		}
		l.armed = until
	}
	l.asleep.Store(true)
	if l.pending.Load() { // whoever posted before may not have seen that we sleep
		l.asleep.Store(false)
		l.ready = l.epollWait()
		return
	}
	err := l.raw.Read(l.look)
	l.asleep.Store(false)
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			l.log.Error("loop: waiting for events", "error", err)
			time.Sleep(time.Millisecond) // never seen; do not spin
		}
		l.armed = -1
		l.ready = l.epollWait()
	}
}

// epollWait asks, without waiting.
func (l *Loop) epollWait() int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epfd), uintptr(unsafe.Pointer(&l.events[0])), eventBatch, 0, 0, 0)
	if errno != 0 {
		return 0 // EINTR
	}
	return int(n)
}

// letOthers gives other goroutines of a busy process the thread: there may be
// only one.
func (l *Loop) letOthers() {
	switch {
	case l.slept && !l.lent:
		l.shared = l.ns
	case l.lent || l.ns-l.shared > int64(letOthers):
		l.lent = false
		l.shared = l.ns
		runtime.Gosched()
	}
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

// guarded runs f so that its panic costs nothing else.
func (l *Loop) guarded(what string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			l.log.Error("loop: panic in a "+what, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f()
}

// wound reports whether a loop that is being closed has come to its end.
func (l *Loop) wound() bool {
	if l.tasks > 0 && l.ns >= l.giveUp {
		l.unwind()
	}
	if l.tasks > 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = len(l.posts) == 0
	return l.ended
}

// unwind ends tasks that wait for others which no longer come: their deferred
// functions run.
func (l *Loop) unwind() {
	for i := len(l.inUse) - 1; i >= 0; i-- {
		if i >= len(l.inUse) {
			continue
		}
		co := l.inUse[i]
		t := co.task
		if t == nil || !t.waiting || t.ended {
			continue
		}
		t.waiting = false
		l.running = t
		co.stop()
		co.exit = true
		l.settle()
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

// register takes a descriptor up.
func (l *Loop) register(c *Conn) error {
	if l.closing {
		return net.ErrClosed
	}
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		c.slot = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[c.slot]
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(c.slot), Pad: int32(s.gen)}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, c.fd, &ev); err != nil {
		l.free = append(l.free, c.slot)
		return os.NewSyscallError("epoll_ctl", err)
	}
	s.conn = c
	return nil
}

// forget gives a connection's slot back.
func (l *Loop) forget(c *Conn) {
	s := &l.slots[c.slot]
	s.conn = nil
	s.gen++
	l.free = append(l.free, c.slot)
	l.load.Add(-1)
}

// dispatch tells connections what happened to them.
func (l *Loop) dispatch() {
	for i := range l.events[:l.ready] {
		ev := &l.events[i]
		if ev.Fd < 0 {
			if a := l.acceptors[^ev.Fd]; a != nil {
				a.run()
			}
			continue
		}
		if s := &l.slots[ev.Fd]; s.conn != nil && s.gen == uint32(ev.Pad) {
			s.conn.happened(ev.Events)
		}
	}
}
