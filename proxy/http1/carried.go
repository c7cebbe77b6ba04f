package http1

import (
	"context"
	"time"

	"lintel.dev/lintel/proxy/http1/loop"
	"lintel.dev/lintel/proxy/http1/mux"
)

// Between two Lintels of a mesh many connections share one of TLS: they are its
// streams. This is the accepting side.

// carrier is TLS as what a session goes over.
type carrier struct{ *secureConn }

// Buffered implements mux.Wire.
func (c carrier) Buffered() bool { return c.buffered() }

// Seal implements mux.Wire.
func (c carrier) Seal(p []byte) error {
	_, err := c.Conn.Write(p)
	return err
}

// SendNow implements mux.Wire.
func (c carrier) SendNow() (all bool, err error) { return c.wire.sendNow() }

// Send implements mux.Wire.
func (c carrier) Send() error { return c.wire.flush() }

// CloseWrite implements mux.Wire.
func (c carrier) CloseWrite() error {
	c.farewell()
	return closeWrite(c.wire.raw)
}

// Close implements mux.Wire.
func (c carrier) Close() error {
	c.farewell()
	return c.wire.raw.Close()
}

// farewell tells the other side that the end is meant, if that takes no waiting.
func (c carrier) farewell() {
	_ = c.Conn.CloseWrite()
	_ = c.wire.raw.SetWriteDeadline(time.Time{}) // crypto/tls has left one in the past
	_, _ = c.wire.sendNow()
}

// carry makes the connection, its handshake being over, carry others; it always
// reports that nothing is served on itself.
func (c *conn) carry() bool {
	raw := c.raw.(*loop.Conn)
	m := mux.New(raw, carrier{c.tls}, mux.Config{
		Accept: c.carried,
		Idle:   c.s.cfg.IdleTimeout,
		Ended: func(err error) {
			c.s.log.Debug("mesh connection ended", "listener", c.s.cfg.Name, "remote", c.info.Remote.String(), "reason", err)
			c.s.forget(c)
		},
	})
	c.session.Store(m)
	if c.s.draining.Load() { // whoever drains may have come too early to see it
		m.Drain()
	} else if c.s.leaving.Load() {
		m.AskToLeave()
	}
	return false
}

// carried makes a connection of a new stream.
func (c *conn) carried(st *mux.Stream) mux.Handler {
	n := c.s.bareConn(st, c.host)
	n.stream, n.started = st, true
	n.info, n.peer, n.whoFault = c.info, c.peer, c.whoFault
	if !c.s.keep(n) {
		return nil
	}
	st.IdleUntil(c.host.now().Add(c.s.cfg.HeaderTimeout))
	return (*streamConn)(n)
}

// streamConn is a conn as the stream it goes over sees it.
type streamConn conn

// Ready implements mux.Handler.
func (sc *streamConn) Ready(st *mux.Stream) bool {
	c := (*conn)(sc)
	if !c.serve() {
		return false
	}
	st.IdleUntil(c.host.now().Add(c.s.cfg.IdleTimeout))
	return true
}

// Hangup implements mux.Handler.
func (sc *streamConn) Hangup(*mux.Stream) { (*conn)(sc).leaving() }

// Expired implements mux.Handler.
func (sc *streamConn) Expired(*mux.Stream) { (*conn)(sc).goAway() }

// sessionsEnd waits until connections that carry others have told all there was
// to say, and closes those that have not when ctx ends.
func (s *server) sessionsEnd(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		waiting = false
		for _, c := range s.snapshot() {
			if m := c.session.Load(); m != nil {
				waiting = true
				if ctx.Err() != nil {
					m.Cut()
				}
			}
		}
		if !waiting || ctx.Err() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
