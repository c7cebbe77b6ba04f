package http1

import (
	"slices"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// place is one endpoint's address and the connections to it. Its transport's
// mutex guards it.
type place struct {
	t       *transport
	address string
	idle    [][]*link // by lane; the most recently used last
	count   int       // connections, and streams of shared ones, those being dialled included
	waiting []chan struct{}
	retired bool
	sharing sharing
}

// take gives an idle connection of h's lane, or room for a new one (both nil),
// or a channel on which to wait. Called with the mutex held.
func (p *place) take(h host) (*link, chan struct{}) {
	lane := h.lane()
	if lane < len(p.idle) {
		for n := len(p.idle[lane]); n > 0; n = len(p.idle[lane]) {
			l := p.idle[lane][n-1]
			p.idle[lane][n-1] = nil
			p.idle[lane] = p.idle[lane][:n-1]
			if l.spent(h) {
				p.t.mu.Unlock()
				l.abandon()
				p.t.mu.Lock()
				continue
			}
			return l, nil
		}
	}
	limit := p.t.cfg.MaxConns
	if limit > 0 && p.count >= limit && !p.steal(lane) {
		w := make(chan struct{}, 1)
		p.waiting = append(p.waiting, w)
		return nil, w
	}
	p.count++
	return nil, nil
}

// steal closes an idle connection of another lane, so that a loop whose
// neighbours hold all there may be is not left waiting. Called with the mutex
// held; reports whether there is room now.
func (p *place) steal(lane int) bool {
	for i := range p.idle {
		if n := len(p.idle[i]); i != lane && n > 0 {
			l := p.idle[i][0]
			p.idle[i] = slices.Delete(p.idle[i], 0, 1)
			p.t.mu.Unlock()
			l.abandon()
			p.t.mu.Lock()
			return p.count < p.t.cfg.MaxConns
		}
	}
	return false
}

// await waits until there may be a connection or room for one.
func (p *place) await(x *exchange.Exchange, w chan struct{}) error {
	ctx := x.Context()
	wait := func() error {
		select {
		case <-w:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if hostOf(x).await(wait) == nil {
		return nil
	}
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if i := slices.Index(p.waiting, w); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else {
		p.wake() // it was ours: to the next
	}
	return fullFault(x, p.address, p.t.cfg.MaxConns)
}

// wake lets one waiter look again. Called with the mutex held.
func (p *place) wake() {
	if len(p.waiting) > 0 {
		p.waiting[0] <- struct{}{}
		p.waiting = p.waiting[1:]
	}
}

// put takes back a connection that may be used again, and reports whether it is
// kept.
func (p *place) put(l *link) bool {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	lane := l.host.lane()
	for len(p.idle) <= lane {
		p.idle = append(p.idle, nil)
	}
	if p.retired || p.t.closed || p.idleCount() >= p.t.cfg.MaxIdle {
		return false
	}
	p.idle[lane] = append(p.idle[lane], l)
	p.wake()
	return true
}

func (p *place) idleCount() (n int) {
	for i := range p.idle {
		n += len(p.idle[i])
	}
	return n
}

// remove takes out an idle connection that ended, and reports whether it was
// there: if not, somebody is about to use it.
func (p *place) remove(l *link) bool {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	lane := l.host.lane()
	if lane >= len(p.idle) {
		return false
	}
	i := slices.Index(p.idle[lane], l)
	if i < 0 {
		return false
	}
	p.idle[lane] = slices.Delete(p.idle[lane], i, i+1)
	return true
}

// lost counts a connection that is no more.
func (p *place) lost() {
	p.t.mu.Lock()
	p.count--
	p.wake()
	p.t.mu.Unlock()
}

// retire empties the place. Called with the mutex held.
func (p *place) retire() (idle []*link, shared []*carrying) {
	p.retired = true
	for lane := range p.sharing.lanes {
		shared = append(shared, p.sharing.lanes[lane].carrying...)
	}
	for i := range p.idle {
		idle = append(idle, p.idle[i]...)
		p.idle[i] = nil
	}
	for len(p.waiting) > 0 {
		p.wake()
	}
	return idle, shared
}

// idleUntil is when a connection put back now must be closed.
func (l *link) idleUntil(now time.Time) time.Time {
	until := now.Add(l.place.t.cfg.IdleTimeout)
	if !l.retire.IsZero() && l.retire.Before(until) {
		until = l.retire
	}
	return until
}
