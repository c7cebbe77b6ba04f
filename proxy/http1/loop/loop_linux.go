package loop

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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
	unused    []*Task // for Start
	turnEnds  []func()
	spare     []*coroutine
	inUse     []*coroutine
	pipes     []pipe // unused ones for Splice
	closing   bool
	giveUp    int64 // when to unwind what is left
	watch     watchdog
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
	l.endTurn()
	if l.closing && l.wound() {
		return true
	}
	l.letOthers()
	return false
}

// AtTurnEnd has f run once, not as a task, when every task of this turn has
// run: what they have each said is then sent together. On the loop.
func (l *Loop) AtTurnEnd(f func()) { l.turnEnds = append(l.turnEnds, f) }

func (l *Loop) endTurn() {
	for i := 0; i < len(l.turnEnds); i++ { // one may ask for another
		l.guarded("function at the end of a turn", l.turnEnds[i])
		l.turnEnds[i] = nil
	}
	l.turnEnds = l.turnEnds[:0]
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

// guarded runs f so that its panic costs nothing else.
func (l *Loop) guarded(what string, f func()) {
	defer func() {
		if v := recover(); v != nil {
			l.log.Error("loop: panic in a "+what, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f()
}
