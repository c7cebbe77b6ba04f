package http1

import (
	"os"
	"slices"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/loop"
	"lintel.dev/lintel/proxy/http1/mux"
)

// sharing is how a place's links share connections. Its transport's mutex guards
// it; what a session holds belongs to its lane.
type sharing struct {
	lanes []sharingLane
	alone bool // the endpoint was seen to want a connection for every exchange
}

type sharingLane struct {
	carrying []*carrying
	dialling *dialling // nil: nobody is
}

// carrying is a connection to an endpoint that carries links as streams.
type carrying struct {
	session *mux.Session
	info    exchange.ConnInfo
	retire  time.Time
}

// dialling is a connection being made that others of its lane may come to share.
type dialling struct {
	done chan struct{} // closed in the end
	err  error         // why there is none; nil: there is one, or whoever dialled gave up
}

// connect gives x a connection of its own: a stream of one that is there, or a
// new one; place has counted it.
func (p *place) connect(x *exchange.Exchange, h host) (*link, error) {
	if p.t.cfg.PeerID == nil || p.t.cfg.Unshared || p.t.tls == nil || h.lane() == 0 {
		return p.dial(x, h)
	}
	until := h.now().Add(p.t.cfg.ConnectTimeout)
	for {
		p.t.mu.Lock()
		lane := p.sharing.lane(h.lane())
		c, d := lane.roomy(h, p.t), lane.dialling
		switch {
		case c != nil:
			p.t.mu.Unlock()
			if l := p.ride(c, h); l != nil {
				return l, nil
			}
		case p.sharing.alone:
			p.t.mu.Unlock()
			return p.dial(x, h)
		case d == nil:
			d = &dialling{done: make(chan struct{})}
			lane.dialling = d
			p.t.mu.Unlock()
			return p.first(x, h, d)
		default:
			p.t.mu.Unlock()
			if err := d.await(x, h, until); err != nil {
				return nil, err
			}
		}
	}
}

// first dials while others wait for the outcome.
func (p *place) first(x *exchange.Exchange, h host, d *dialling) (l *link, err error) {
	defer func() {
		p.t.mu.Lock()
		p.sharing.lane(h.lane()).dialling = nil
		p.t.mu.Unlock()
		if err != nil && x.Ended() == nil {
			d.err = err
		}
		close(d.done)
	}()
	return p.dial(x, h)
}

// await waits for the outcome.
func (d *dialling) await(x *exchange.Exchange, h host, until time.Time) error {
	ctx := x.Context()
	return h.await(func() error {
		limit := time.NewTimer(time.Until(until))
		defer limit.Stop()
		select {
		case <-d.done:
			return d.err
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return os.ErrDeadlineExceeded
		}
	})
}

func (s *sharing) lane(n int) *sharingLane {
	for len(s.lanes) <= n {
		s.lanes = append(s.lanes, sharingLane{})
	}
	return &s.lanes[n]
}

// roomy is the first connection that takes another stream. On the lane.
func (l *sharingLane) roomy(h host, t *transport) *carrying {
	for i := 0; i < len(l.carrying); {
		c := l.carrying[i]
		if !c.retire.IsZero() && !h.now().Before(c.retire) || t.distrusted(&c.info, h) {
			l.carrying = slices.Delete(l.carrying, i, i+1)
			c.session.Drain()
			continue
		}
		if c.session.Room() {
			return c
		}
		i++
	}
	return nil
}

// ride makes a link of a new stream. On the lane.
func (p *place) ride(c *carrying, h host) *link {
	st := c.session.Open()
	if st == nil {
		return nil
	}
	l := &link{t: p.t, place: p, host: h, taken: true, retire: c.retire}
	l.info = c.info
	l.info.Reused = true
	l.on(st)
	return l
}

func (l *link) on(st *mux.Stream) {
	l.raw, l.nc, l.tls = st, st, nil
	st.SetHandler((*streamLink)(l))
}

// share makes the connection that was dialled carry others, this link the first
// of them; or, if it is not of that kind, remembers it.
func (l *link) share() {
	p := l.place
	shared := l.info.TLS.NegotiatedProtocol == mux.Protocol
	p.t.mu.Lock()
	p.sharing.alone = !shared
	p.t.mu.Unlock()
	if !shared {
		return
	}
	lane := l.host.lane()
	c := &carrying{info: l.info, retire: l.retire}
	c.session = mux.New(l.raw.(*loop.Conn), carrier{l.tls}, mux.Config{
		Idle: p.t.cfg.IdleTimeout,
		Leaves: func() {
			p.t.mu.Lock()
			defer p.t.mu.Unlock()
			all := &p.sharing.lane(lane).carrying
			if i := slices.Index(*all, c); i >= 0 {
				*all = slices.Delete(*all, i, i+1)
			}
		},
	})
	l.on(c.session.Open())
	c.session.Start()
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if p.retired || p.t.closed {
		c.session.Drain()
		return
	}
	p.sharing.lane(lane).carrying = append(p.sharing.lane(lane).carrying, c)
}

// streamLink is a link as the stream it goes over sees it while it is idle.
type streamLink link

// Ready implements mux.Handler: what comes unasked, or an end, makes an idle
// connection useless.
func (sl *streamLink) Ready(*mux.Stream) bool {
	l := (*link)(sl)
	if l.place.remove(l) {
		l.abandon()
	}
	return false
}

// Hangup implements mux.Handler.
func (sl *streamLink) Hangup(*mux.Stream) {}

// Expired implements mux.Handler.
func (sl *streamLink) Expired(*mux.Stream) { (*link)(sl).expire() }
