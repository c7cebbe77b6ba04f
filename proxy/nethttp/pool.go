package nethttp

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

var errPoolGone = errors.New("nethttp: the pool was retired")

// maxDials is how many fresh connections may turn out useless to one exchange:
// an endpoint that takes connections and closes them must not be dialled for
// ever.
const maxDials = 4

// conn is one connection to an endpoint.
type conn struct {
	p      *pool
	cc     *http.ClientConn
	raw    *rawConn
	heads  *headCopy // nil over HTTP/2
	info   exchange.ConnInfo
	retire time.Time // not reused from then on; zero: never

	// Guarded by p.mu.
	active int // exchanges on it; never more than one on HTTP/1
	used   bool
	gone   bool // not in the pool any more
	timer  *time.Timer
}

// pool keeps the connections to one address in one protocol.
//
// ClientConn calls its state hook from within Reserve, Release, RoundTrip and
// Close, and the hook needs mu: none of these is called with mu held.
type pool struct {
	t   *transport
	key poolKey

	mu      sync.Mutex
	conns   map[*conn]struct{}
	idle    []*conn // HTTP/1 only; the most recently used last
	dialing int
	shared  *sharedDial // HTTP/2: the dial others wait for
	waiters []chan struct{}
	retired bool
}

// sharedDial is awaited by all who would otherwise open an HTTP/2 connection
// of their own at the same time.
type sharedDial struct {
	done chan struct{}
	err  error
}

// take reserves room for one exchange on a connection, opening one if need be.
func (p *pool) take(ctx context.Context) (c *conn, reused bool, err error) {
	h2 := p.key.protocol == exchange.HTTP2
	for dials := 0; ; {
		p.mu.Lock()
		if p.retired {
			p.mu.Unlock()
			return nil, false, errPoolGone
		}
		c, dead := p.pick(time.Now())
		limit := p.t.cfg.MaxConns
		room := limit == 0 || len(p.conns)+p.dialing < limit
		switch {
		case c == nil && dials >= maxDials:
			p.mu.Unlock()
			closeAll(dead)
			return nil, false, refusingFault(p.key.address)
		case c != nil:
			reused, c.used = c.used, true
			p.mu.Unlock()
			closeAll(dead)
			if c.cc.Reserve() == nil {
				return c, reused, nil
			}
			p.put(c, false)
			continue
		case h2 && p.shared != nil:
			d := p.shared
			dials++
			p.mu.Unlock()
			closeAll(dead)
			if err := d.wait(ctx, p); err != nil {
				return nil, false, err
			}
			continue
		case h2 && room:
			p.dialShared(ctx)
			p.mu.Unlock()
			closeAll(dead)
			continue
		case room:
			p.dialing++
			dials++
			p.mu.Unlock()
			closeAll(dead)
			c, err := p.open(ctx)
			if err == nil && c.cc.Reserve() != nil {
				p.put(c, false) // died while still new
				continue
			}
			return c, false, err
		}
		w := make(chan struct{}, 1)
		p.waiters = append(p.waiters, w)
		p.mu.Unlock()
		closeAll(dead)
		select {
		case <-w:
		case <-ctx.Done():
			p.leave(w)
			return nil, false, fullFault(ctx, p.key.address, limit)
		}
	}
}

// pick chooses a connection with room and counts the exchange on it. It also
// takes out of the pool those that are of no more use; the caller closes them.
func (p *pool) pick(now time.Time) (chosen *conn, dead []*conn) {
	if p.key.protocol != exchange.HTTP2 {
		for n := len(p.idle) - 1; n >= 0 && chosen == nil; n-- {
			c := p.idle[n]
			p.idle[n] = nil
			p.idle = p.idle[:n]
			if c.spent(now) {
				p.drop(c)
				dead = append(dead, c)
				continue
			}
			chosen = c
		}
	} else {
		for c := range p.conns {
			switch {
			case c.active == 0 && c.spent(now):
				p.drop(c)
				dead = append(dead, c)
			case chosen == nil && !c.spent(now):
				chosen = c
			}
		}
	}
	if chosen != nil {
		chosen.active++
		if chosen.timer != nil {
			chosen.timer.Stop()
		}
	}
	return chosen, dead
}

// spent reports whether no exchange may begin on c now.
func (c *conn) spent(now time.Time) bool {
	return c.cc.Err() != nil || c.cc.Available() == 0 || !c.retire.IsZero() && !now.Before(c.retire) ||
		c.info.TLS != nil && c.p.t.cfg.Distrusted != nil && c.p.t.cfg.Distrusted(c.info.TLS, now)
}

// open dials and adds the connection, with one exchange on it.
func (p *pool) open(ctx context.Context) (*conn, error) {
	c, err := p.dial(ctx)
	p.mu.Lock()
	p.dialing--
	if err != nil {
		p.wake()
		p.mu.Unlock()
		return nil, err
	}
	c.active = 1
	c.used = p.key.protocol != exchange.HTTP2
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	c.cc.SetStateHook(func(cc *http.ClientConn) { p.changed(c, cc.Err() != nil) })
	return c, nil
}

// dialShared opens an HTTP/2 connection for all who wait. It does not end with
// the exchange that happened to need it first. Called with mu held.
func (p *pool) dialShared(ctx context.Context) {
	d := &sharedDial{done: make(chan struct{})}
	p.shared = d
	p.dialing++
	go func() {
		c, err := p.open(context.WithoutCancel(ctx))
		p.mu.Lock()
		p.shared = nil
		p.mu.Unlock()
		if err == nil {
			p.put(c, true)
		}
		d.err = err
		close(d.done)
	}()
}

func (d *sharedDial) wait(ctx context.Context, p *pool) error {
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return dialFault(ctx, p.key.address, p.t.cfg.ConnectTimeout, context.Cause(ctx))
	}
}

// put ends one exchange on c.
func (p *pool) put(c *conn, reusable bool) {
	now := time.Now()
	p.mu.Lock()
	c.active--
	h1 := p.key.protocol != exchange.HTTP2
	drop := false
	switch {
	case c.gone, c.active > 0:
	case !reusable && h1, p.retired, c.spent(now), h1 && len(p.idle) >= p.t.cfg.MaxIdle:
		p.drop(c)
		drop = true
	default:
		if h1 {
			p.idle = append(p.idle, c)
		}
		p.startIdle(c, now)
	}
	p.wake()
	p.mu.Unlock()
	if drop {
		_ = c.cc.Close()
	}
}

// startIdle arms the timer that closes an unused connection.
func (p *pool) startIdle(c *conn, now time.Time) {
	d := p.t.cfg.IdleTimeout
	if !c.retire.IsZero() {
		d = min(d, c.retire.Sub(now))
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(d, func() { p.changed(c, true) })
	} else {
		c.timer.Reset(d)
	}
}

// changed is told when a connection is over or has room again.
func (p *pool) changed(c *conn, over bool) {
	p.mu.Lock()
	closing := over && c.active == 0 && !c.gone
	if closing {
		p.drop(c)
	}
	p.wake()
	p.mu.Unlock()
	if closing {
		_ = c.cc.Close()
	}
}

// drop takes c out of the pool.
func (p *pool) drop(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	delete(p.conns, c)
	for i := range p.idle {
		if p.idle[i] == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			break
		}
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	p.t.open.Add(-1)
}

// wake lets one waiter look again; one that finds nothing waits anew.
func (p *pool) wake() {
	if len(p.waiters) > 0 {
		w := p.waiters[0]
		p.waiters = p.waiters[1:]
		w <- struct{}{}
	}
}

// leave takes a waiter out; a wake-up it got meanwhile goes to the next.
func (p *pool) leave(w chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.waiters {
		if p.waiters[i] == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			return
		}
	}
	p.wake()
}

// retire closes what is idle and lets the rest finish.
func (p *pool) retire() {
	var idle []*conn
	p.mu.Lock()
	p.retired = true
	for c := range p.conns {
		if c.active == 0 {
			idle = append(idle, c)
		}
	}
	for _, c := range idle {
		p.drop(c)
	}
	for len(p.waiters) > 0 {
		p.wake()
	}
	p.mu.Unlock()
	closeAll(idle)
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		_ = c.cc.Close()
	}
}
