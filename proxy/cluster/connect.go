package cluster

import (
	"context"
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Connect opens an opaque stream to an endpoint, of a cluster whose transport can
// (an exchange.Dialer). Nothing of the client's has been sent while it is tried,
// so every failure may be tried again elsewhere: Options' Attempts, OnConnect
// and back-off count, the rest says nothing here. over must be called once the
// stream has ended. It fills st's Endpoint and Attempts.
func (c *Cluster) Connect(ctx context.Context, st *exchange.Stream, o *Options) (w exchange.Wire, peer exchange.Peer, over func(), fault *exchange.Fault) {
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
		if !fault.Retryable || !o.OnConnect || n >= o.Attempts || ctx.Err() != nil {
			return nil, peer, nil, fault
		}
	}
}

// connect makes one attempt through the breaker.
func (c *Cluster) connect(ctx context.Context, d exchange.Dialer, st *exchange.Stream, seen *tried) (m *member, w exchange.Wire, peer exchange.Peer, fault *exchange.Fault) {
	refused := c.breaker.do(c.cfg.Service, func() (struct{}, error) {
		lineup := c.lineup.Load()
		if len(lineup.members) == 0 {
			fault = &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusServiceUnavailable, Code: "no-endpoint",
				Title: "No endpoint is healthy", Detail: "service " + c.cfg.Service + " has no healthy endpoint"}
			return struct{}{}, errNotItsFault
		}
		m = c.pick.pick(lineup, seen)
		st.Endpoint = m.Address
		st.Attempts++
		m.busy.Add(1)
		c.inHand.Add(1)
		var err error
		if w, peer, err = d.Dial(ctx, m.Address); err == nil {
			return struct{}{}, nil
		}
		m.busy.Add(-1)
		c.inHand.Add(-1)
		seen.add(m)
		fault = asFault(err)
		if fault.Source != exchange.FromUpstream || fault.Code == "pool-full" || ctx.Err() != nil {
			return struct{}{}, errNotItsFault
		}
		return struct{}{}, fault
	})
	if refused != nil {
		fault = refused
	}
	return m, w, peer, fault
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
