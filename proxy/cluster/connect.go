package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sony/gobreaker/v2"

	"lintel.dev/lintel/proxy/exchange"
)

// Connect opens an opaque stream to an endpoint, of a cluster whose transport can
// (an exchange.Dialer). Nothing of the client's has been sent while it is tried,
// so every failure may be tried again elsewhere: Options' Attempts, OnConnect
// and back-off count, the rest says nothing here. over must be called once the
// stream has ended. It fills st's Endpoint and Attempts.
func (c *Cluster) Connect(ctx context.Context, st *exchange.Stream, o *Options) (w exchange.Wire, peer exchange.Peer, over func(), fault *exchange.Fault) {
	c = c.serving()
	d, ok := c.cfg.Transport.(exchange.Dialer)
	if !ok {
		return nil, peer, nil, asFault(&exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "internal",
			Title: "Internal error", Detail: "service " + c.cfg.Service + " has no dialer"})
	}
	var seen tried
	for n := 0; ; n++ {
		if n > 0 {
			if err := sleep(ctx, pause(o, n)); err != nil {
				return nil, peer, nil, fault
			}
		}
		var m *member
		m, w, peer, fault = c.connect(ctx, d, st, &seen)
		if fault == nil {
			return w, peer, func() { m.busy.Add(-1); c.inHand.Add(-1) }, nil
		}
		if !o.reconnects(n, fault) || ctx.Err() != nil {
			return nil, peer, nil, fault
		}
	}
}

// reconnects reports whether another attempt to connect follows number n.
func (o *Options) reconnects(n int, fault *exchange.Fault) bool {
	return fault.Retryable && o.OnConnect && n < o.Attempts
}

// connect makes one attempt through the breaker.
func (c *Cluster) connect(ctx context.Context, d exchange.Dialer, st *exchange.Stream, seen *tried) (m *member, w exchange.Wire, peer exchange.Peer, fault *exchange.Fault) {
	dial := func() (struct{}, error) {
		st.Endpoint = m.Address
		st.Attempts++
		m.busy.Add(1)
		c.inHand.Add(1)
		began := time.Now()
		var err error
		if w, peer, err = d.Dial(ctx, m.Address); err == nil {
			c.dialled(m, began, nil, nil)
			return struct{}{}, nil
		}
		m.busy.Add(-1)
		c.inHand.Add(-1)
		seen.add(m)
		fault = asFault(err)
		if fault.Source != exchange.FromUpstream || fault.Code == "pool-full" || ctx.Err() != nil {
			return struct{}{}, errNotItsFault
		}
		c.dialled(m, began, fault, fault)
		return struct{}{}, fault
	}
	refused := c.breaker.do(c.cfg.Service, func() (struct{}, error) {
		lineup := c.lineup.Load()
		if len(lineup.members) == 0 {
			fault = &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusServiceUnavailable, Code: "no-endpoint",
				Title: "No endpoint is healthy", Detail: "service " + c.cfg.Service + " has no healthy endpoint"}
			return struct{}{}, errNotItsFault
		}
		for range maxTried {
			// A stream has no key: consistent_hash spreads them evenly.
			if m = c.pick.pick(lineup, rand.Uint64(), seen); m.trip == nil {
				return dial()
			}
			if !m.available() {
				if other := lineup.anyAvailable(seen); other != nil {
					m = other
				}
			}
			done, err := m.trip.cb.Execute(dial)
			if !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests) {
				return done, err
			}
			seen.add(m)
		}
		fault = c.allOpen()
		return struct{}{}, errNotItsFault
	})
	if refused != nil {
		fault = refused
	}
	return m, w, peer, fault
}

// dialled has the picker and the outlier detection learn from a connection.
func (c *Cluster) dialled(m *member, began time.Time, fault *exchange.Fault, err error) {
	if c.learns {
		x := &exchange.Exchange{Sent: began, Answered: time.Now()}
		c.learn(&run{c: c, x: x, fault: fault}, m, err)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
