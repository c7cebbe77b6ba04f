package http1

import (
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// outbox is what a connection knows about the answer it is writing.
type outbox struct {
	old   bool // the client speaks HTTP/1.0
	stays bool // such a client asked for the connection to be kept
	head  bool // it asked for the head alone
	close bool // the connection must not be used again

	turn  sync.Locker // orders 1xx answers, which may come from another task, before the final one
	final bool        // nothing but the final answer may be written any more

	due time.Time // the write deadline in force
}

func (o *outbox) begin(r *exchange.Request, f framing) {
	o.old = r.Proto == "HTTP/1.0"
	o.stays = o.old && !f.close
	o.head = r.Method == "HEAD"
	o.close = f.close
	o.final = false
}

// interim writes a 1xx answer unless the final one has begun.
func (o *outbox) interim(c *conn, status int, header *exchange.Fields) {
	o.turn.Lock()
	defer o.turn.Unlock()
	if o.final || o.old {
		return
	}
	_ = c.write(appendInterim(make([]byte, 0, 256), status, header))
}

// begins says that the final answer comes now.
func (o *outbox) begins() {
	o.turn.Lock()
	o.final = true
	o.turn.Unlock()
}

// write writes all of p. The client must take each piece within WriteTimeout.
func (c *conn) write(p []byte) error {
	c.limitWrite()
	_, err := c.nc.Write(p)
	return err
}

// limitWrite sets the time for the piece that is written next.
func (c *conn) limitWrite() {
	if limit := c.s.cfg.WriteTimeout; limit > 0 {
		// A deadline is a system-wide timer where there is no event loop: it is
		// only moved when an eighth of it has gone by.
		if now := c.host.now(); c.out.due.Sub(now) < limit-limit/8 {
			c.out.due = now.Add(limit)
			_ = c.raw.SetWriteDeadline(c.out.due)
		}
	}
}
