package http1

import (
	"context"
	"net"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/loop"
)

// loops are the event loops of this process, one per core, shared by all
// servers: their connections to endpoints are, too. They run while a server
// does.
var loops struct {
	mu    sync.Mutex
	group *loop.Group
	hosts map[*loop.Loop]*looping
	users int
}

func acquireLoops(s *server) (*loop.Group, map[*loop.Loop]*looping, error) {
	loops.mu.Lock()
	defer loops.mu.Unlock()
	if loops.group == nil {
		g, err := loop.New(loop.Config{Log: s.log})
		if err != nil {
			return nil, nil, err
		}
		loops.group, loops.hosts = g, map[*loop.Loop]*looping{}
		for i, l := range g.Loops() {
			loops.hosts[l] = newLooping(l, i+1)
		}
	}
	loops.users++
	return loops.group, loops.hosts, nil
}

func releaseLoops() {
	loops.mu.Lock()
	var last *loop.Group
	if loops.users--; loops.users == 0 {
		last, loops.group, loops.hosts = loops.group, nil, nil
	}
	loops.mu.Unlock()
	if last != nil {
		last.Close() // waits for tasks; new servers need not
	}
}

// serveLoops serves l on the event loops, if it is a plain socket.
func (s *server) serveLoops(l net.Listener) (err error, served bool) {
	tl, ok := l.(*net.TCPListener)
	if s.opt.Threads || !ok {
		return nil, false
	}
	g, hosts, err := acquireLoops(s)
	if err != nil {
		s.log.Warn("http1: no event loops; each connection gets a goroutine", "listener", s.cfg.Name, "error", err)
		return nil, false
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		releaseLoops()
		return nil, true
	}
	s.onLoops++
	s.mu.Unlock()
	return g.Serve(tl, func(raw *loop.Conn) loop.Handler { return s.accepted(raw, hosts[raw.Loop()]) }), true
}

// stopLoops gives up the share in the loops, once all connections are closed.
func (s *server) stopLoops() {
	s.mu.Lock()
	n := s.onLoops
	s.onLoops = 0
	s.mu.Unlock()
	for range n {
		releaseLoops()
	}
}

// accepted runs on the loop that a new connection was given to.
func (s *server) accepted(raw *loop.Conn, h *looping) loop.Handler {
	if !s.admit() {
		_ = raw.Close()
		return refused{}
	}
	c := s.newConn(raw, h)
	if !s.keep(c) {
		s.conns.Add(-1)
		_ = raw.Close()
		return refused{}
	}
	raw.IdleUntil(h.now().Add(s.cfg.HeaderTimeout))
	return (*loopConn)(c)
}

// refused is what becomes of a connection that nobody serves.
type refused struct{}

func (refused) Ready(*loop.Conn) bool { return false }
func (refused) Hangup(*loop.Conn)     {}
func (refused) Expired(*loop.Conn)    {}

// loopConn is a conn as its loop sees it.
type loopConn conn

// Ready implements loop.Handler.
func (lc *loopConn) Ready(raw *loop.Conn) bool {
	c := (*conn)(lc)
	if !c.serve() {
		m := c.session.Load()
		return m != nil && m.Serve()
	}
	raw.IdleUntil(c.host.now().Add(c.s.cfg.IdleTimeout))
	return true
}

// Hangup implements loop.Handler.
func (lc *loopConn) Hangup(*loop.Conn) { (*conn)(lc).leaving() }

// leaving cancels the exchange in hand after a while; at once if its stream was
// reset, which leaves nobody to wait for the answer.
func (c *conn) leaving() {
	life := c.life.Load()
	if c.stream != nil && life != nil && !c.tunnelled.Load() {
		if _, dead := c.stream.Hung(); dead {
			life.Cancel(errLeft)
			return
		}
	}
	if h, looped := c.host.(*looping); looped && life != nil && !c.tunnelled.Load() {
		h.l.After(patience, func() {
			if !c.tunnelled.Load() {
				life.Cancel(errLeft)
			}
		})
	}
}

// hung reports whether the other side is known to have ended its half: an event
// that came together with the request is not told again.
func hung(raw net.Conn) bool {
	c, ok := raw.(interface{ Hung() (half, dead bool) })
	if !ok {
		return false
	}
	half, _ := c.Hung()
	return half
}

// Expired implements loop.Handler.
func (lc *loopConn) Expired(*loop.Conn) { (*conn)(lc).goAway() }

// loopLink is a link as its loop sees it while it is idle.
type loopLink link

// Ready implements loop.Handler: what comes unasked, or an end, makes an idle
// connection useless.
func (ll *loopLink) Ready(*loop.Conn) bool {
	l := (*link)(ll)
	if l.place.remove(l) {
		l.abandon()
	}
	return false
}

// Hangup implements loop.Handler.
func (ll *loopLink) Hangup(*loop.Conn) {}

// Expired implements loop.Handler.
func (ll *loopLink) Expired(*loop.Conn) { (*link)(ll).expire() }

// own says whose an endpoint's connection is.
func own(raw net.Conn, l *link) {
	if c, ok := raw.(*loop.Conn); ok {
		c.SetHandler((*loopLink)(l))
	}
}

// detach takes a connection off its loop, so that goroutines can use it.
func detach(raw net.Conn) error {
	if c, ok := raw.(*loop.Conn); ok {
		_, err := c.Detach()
		return err
	}
	return nil
}

// looping is an event loop as a host.
type looping struct {
	l      *loop.Loop
	number int
	wait   waiter
}

func newLooping(l *loop.Loop, number int) *looping {
	return &looping{l: l, number: number, wait: func(ctx context.Context, f func(context.Context) error) (err error) {
		l.Await(func() { err = f(ctx) })
		return err
	}}
}

func (h *looping) lane() int      { return h.number }
func (h *looping) now() time.Time { return h.l.Now() }

func (h *looping) spawn(f func()) func() { return h.l.Go(f).Join }

func (h *looping) waiter() func(context.Context, func(context.Context) error) error { return h.wait }

func (h *looping) await(f func() error) (err error) {
	h.l.Await(func() { err = f() })
	return err
}

func (h *looping) dial(x *exchange.Exchange, address string, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(x.Context(), limit)
	defer cancel()
	c, err := h.l.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (h *looping) pause() { h.l.Running().Yield() }

func (h *looping) elsewhere(f func()) bool { return h.l.Post(func() { h.l.Go(f) }) }

// alarm is a timer of the loop that ends exchanges.
type alarm struct {
	t     *loop.Timer
	l     *loop.Loop
	life  *exchange.Life
	cause error
	fired bool
}

func (h *looping) alarm() exchange.Alarm { return &alarm{l: h.l} }

// Set implements exchange.Alarm.
func (a *alarm) Set(d time.Duration, life *exchange.Life, cause error) {
	a.life, a.cause, a.fired = life, cause, false
	if a.t == nil {
		a.t = a.l.NewTimer(a.ring)
	}
	a.t.Reset(d)
}

// Stop implements exchange.Alarm.
func (a *alarm) Stop() bool {
	a.t.Stop()
	a.life = nil
	return !a.fired
}

func (a *alarm) ring() {
	if life := a.life; life != nil {
		a.fired = true
		life.Cancel(a.cause)
	}
}

// taskMutex lets a task wait for its turn while another holds it across a wait
// for its socket. All belong to one loop, so nothing else guards it.
type taskMutex struct {
	l       *loop.Loop
	held    bool
	waiting []*turn
}

// turn is one waiting Lock. Unlock hands the mutex over by setting yours: Park
// may return for other reasons.
type turn struct {
	task  *loop.Task
	yours bool
}

func (h *looping) mutex() sync.Locker { return &taskMutex{l: h.l} }

// Lock implements sync.Locker.
func (m *taskMutex) Lock() {
	if !m.held {
		m.held = true
		return
	}
	t := &turn{task: m.l.Running()}
	m.waiting = append(m.waiting, t)
	for !t.yours {
		t.task.Park()
	}
}

// Unlock implements sync.Locker.
func (m *taskMutex) Unlock() {
	if len(m.waiting) == 0 {
		m.held = false
		return
	}
	t := m.waiting[0]
	m.waiting = m.waiting[1:]
	t.yours = true
	t.task.Unpark()
}
