package http1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/mux"
)

// How a client's connection ends when it must not be used again.
const (
	linger     = 500 * time.Millisecond // what the client still sends is thrown away for this long, so that it reads the answer before a reset
	lingerSize = 256 << 10              // and this much at most
	// patience is how long a client that has ended its half may still want the
	// answer. Nobody can tell one that waits for it from one that has left.
	patience = time.Second
	// fairShare is how many pipelined requests are served before other
	// connections get their turn.
	fairShare = 16
)

var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") // RFC 9113 section 3.4

var errPlainPeer = errors.New("http1: a verified peer is required here, but the connection is plaintext")

// The states of a connection, for those who end it from elsewhere.
const (
	idling int32 = iota
	serving
	ended
)

// conn is a client's connection.
type conn struct {
	s    *server
	host host
	raw  net.Conn // the socket
	nc   net.Conn // what is read and written: the socket, or TLS over it
	tls  *secureConn
	info exchange.ConnInfo
	peer exchange.Peer
	// A connection that carries many is a session and serves nothing itself; each
	// of them is a stream of it and has no TLS of its own.
	session atomic.Pointer[mux.Session]
	stream  *mux.Stream
	// whoFault is why the peer is not accepted; every request then is refused
	// with it.
	whoFault *exchange.Fault
	plain    *exchange.Fault // it speaks HTTP where TLS is spoken
	started  bool            // the handshake, if any, is done
	fresh    bool            // no request has come yet

	state     atomic.Int32
	tunnelled atomic.Bool
	buf       *buffer
	in        inBody
	out       outbox
	alarm     exchange.Alarm
	wait      waiter
	early     func(int, *exchange.Fields)

	life atomic.Pointer[exchange.Life] // of the exchange in hand
	dead atomic.Bool                   // cut off
	half halfClosed                    // the sweep's own
}

// halfClosed is since when a client's half is seen to have ended, and during
// which exchange.
type halfClosed struct {
	life  *exchange.Life
	since time.Time
}

func (s *server) newConn(raw net.Conn, h host) *conn {
	c := s.bareConn(raw, h)
	c.fresh = true
	c.info = exchange.ConnInfo{Listener: s.cfg.Name, Protocol: "http/1.1"}
	c.info.Local, c.info.Remote = addresses(raw)
	if s.tls != nil {
		c.tls = s.tls.server(raw, h)
		c.nc = c.tls
	}
	return c
}

func (s *server) bareConn(raw net.Conn, h host) *conn {
	c := &conn{s: s, host: h, raw: raw, nc: raw, alarm: h.alarm(), wait: h.waiter()}
	c.early = c.informational
	c.out.turn = h.mutex()
	return c
}

// addresses are a connection's two ends.
func addresses(nc net.Conn) (local, remote netip.AddrPort) {
	if c, ok := nc.(interface {
		LocalAddrPort() netip.AddrPort
		RemoteAddrPort() netip.AddrPort
	}); ok {
		local, remote = c.LocalAddrPort(), c.RemoteAddrPort()
		return netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	}
	return addrPort(nc.LocalAddr()), addrPort(nc.RemoteAddr())
}

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	case nil:
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

// serve is called when there is something to read. It serves requests until
// nothing more has arrived, and reports whether the connection is idle again;
// if not it is closed, or somebody else's.
func (c *conn) serve() (idle bool) {
	if !c.state.CompareAndSwap(idling, serving) {
		return c.close()
	}
	if !c.started {
		if !c.start() {
			return false
		}
		if c.tls != nil && !c.tls.buffered() {
			return c.rest() // a client that connects ahead of its first request
		}
	}
	c.buf = newBuffer()
	for n := 0; ; n++ {
		if n >= fairShare {
			n = 0
			c.host.pause()
		}
		switch c.next() {
		case handedOver:
			return false
		case finished:
			c.releaseBuffer()
			return c.close()
		}
		if len(c.buf.unread()) > 0 || c.tls != nil && c.tls.buffered() {
			continue
		}
		c.releaseBuffer()
		return c.rest()
	}
}

// rest makes it idle unless everybody is to leave.
func (c *conn) rest() (idle bool) {
	if c.state.CompareAndSwap(serving, idling) && !c.s.draining.Load() {
		return true
	}
	return c.leave()
}

func (c *conn) releaseBuffer() {
	if c.buf != nil {
		c.buf.Free()
		c.buf = nil
	}
}

// start makes the TLS handshake and names the peer.
func (c *conn) start() bool {
	c.started = true
	if c.tls == nil {
		if c.s.cfg.PeerID != nil {
			c.whoFault = peerRefused(errPlainPeer)
		}
		return true
	}
	_ = c.raw.SetDeadline(c.host.now().Add(c.s.cfg.HeaderTimeout))
	err := c.tls.handshake()
	_ = c.raw.SetDeadline(time.Time{})
	if err != nil {
		c.s.log.Debug("TLS handshake failed", "listener", c.s.cfg.Name, "remote", c.info.Remote.String(), "error", err)
		if speaksPlain(err) {
			c.plainly()
			return true
		}
		return c.close()
	}
	state := c.tls.ConnectionState()
	switch state.NegotiatedProtocol {
	case "h2":
		return c.handOver(c.nc)
	case "acme-tls/1": // the handshake was all of it (RFC 8737 section 3)
		return c.close()
	}
	c.info.TLS = &state
	if c.s.cfg.PeerID != nil {
		peer, err := c.s.cfg.PeerID(&state)
		if err != nil {
			c.whoFault = peerRefused(err)
		}
		c.peer, c.info.PeerID = peer, peer.ID
	}
	if state.NegotiatedProtocol == mux.Protocol {
		return c.carry()
	}
	return true
}

func peerRefused(err error) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromPolicy, Status: 403, Code: "peer-refused",
		Title: "The connection's identity is not accepted here", Close: true, Err: err}
}

// outcome is how one request left the connection.
type outcome int

const (
	again      outcome = iota // another may follow
	finished                  // close it
	handedOver                // it is not ours any more
)

// next reads one request head and serves it.
func (c *conn) next() outcome {
	if c.plain != nil {
		return c.exchange(nil, c.plain)
	}
	head, fault := c.readHead()
	c.fresh = false
	switch {
	case fault == errNothing:
		return finished
	case fault == errPreface:
		nc := c.withBuffered()
		c.buf = nil
		c.handOver(nc)
		return handedOver
	}
	return c.exchange(head, fault)
}

// What readHead says besides faults for the client.
var (
	errNothing = &exchange.Fault{Title: "nothing"} // the connection ended between requests, or cannot be answered
	errPreface = &exchange.Fault{Title: "h2"}      // it speaks HTTP/2
)

// readHead reads until a request head is complete. It may come with a fault and
// no head.
func (c *conn) readHead() ([]byte, *exchange.Fault) {
	from, timed, skipped := 0, false, false
	began := len(c.buf.unread()) > 0
	defer func() {
		if timed {
			_ = c.raw.SetReadDeadline(time.Time{})
		}
	}()
	for {
		b := c.buf.unread()
		if skip := skipEmptyLine(b); skip > 0 && !skipped {
			skipped = true
			c.buf.r += skip
			b = b[skip:]
		}
		if len(b) > 0 && (len(b) > 1 || b[0] != '\r' || skipped) {
			http2 := c.fresh && c.s.cfg.H2C && c.tls == nil && c.s.opt.HTTP2 != nil && bytes.HasPrefix(b, preface[:min(len(b), len(preface))])
			if !http2 && !tokenByte(b[0]) {
				return nil, badRequest("bad-method", "the connection does not begin with a request line (RFC 9112 section 3)")
			}
			end, next, bad := headEnd(b, from)
			switch {
			case http2 && len(b) >= len(preface):
				return nil, errPreface
			case http2:
				next = 0 // the preface holds what would be the end of a head
			case bad:
				return nil, badRequest("bad-line", "a line does not end in CR LF (RFC 9112 section 2.2)")
			case end > c.s.lim.bytes || end == 0 && len(b) >= c.s.lim.bytes:
				return nil, headTooLarge(c.s.lim.bytes)
			case end > 0:
				c.buf.r += end
				return b[:end], nil
			}
			from = next
		}
		// The first bytes are there already, or nobody would read; those of TLS
		// may be less than a record, or none for us.
		if !timed && (began || c.tls != nil) {
			timed = true
			_ = c.raw.SetReadDeadline(c.host.now().Add(c.s.cfg.HeaderTimeout))
		}
		n, err := c.nc.Read(c.buf.room(min(1<<10, c.s.lim.bytes)))
		c.buf.w += n
		began = true
		if n > 0 {
			continue
		}
		if len(b) > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, &exchange.Fault{Source: exchange.FromClient, Status: 408, Code: "header-timeout",
				Title: "Request took too long", Detail: "the request head did not arrive within " + c.s.cfg.HeaderTimeout.String(), Close: true, Err: err}
		}
		if err != nil {
			return nil, errNothing
		}
	}
}

func headTooLarge(limit int) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: 431, Code: "head-too-large",
		Title: "Request head is too large", Detail: fmt.Sprintf("at most %d bytes are taken", limit), Close: true}
}

// close ends the connection; it always reports that it is not idle.
func (c *conn) close() bool {
	if c.state.Swap(ended) != ended {
		_ = c.nc.Close()
		c.s.forget(c)
	}
	return false
}

// leave is close between requests, when nothing of another was looked at.
func (c *conn) leave() bool {
	if c.stream != nil {
		_ = c.stream.Refuse()
	}
	return c.close()
}

// handOver gives the connection to whoever speaks HTTP/2.
func (c *conn) handOver(nc net.Conn) bool {
	c.state.Store(ended)
	if err := detach(c.raw); err != nil {
		c.s.log.Error("http1: handing a connection over to HTTP/2", "listener", c.s.cfg.Name, "error", err)
		_ = c.raw.Close()
		c.s.forget(c)
		return false
	}
	c.s.mu.Lock()
	delete(c.s.all, c) // it stays counted until it is closed
	c.s.mu.Unlock()
	var tc net.Conn = &counted{Conn: nc, s: c.s}
	if c.tls != nil {
		c.tls.wire.release(&counted{Conn: c.raw, s: c.s})
		tc = c.tls.Conn
	}
	go c.s.opt.HTTP2(tc)
	return false
}

// counted keeps a connection that was handed over in the count.
type counted struct {
	net.Conn
	s    *server
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.s.conns.Add(-1) })
	return c.Conn.Close()
}

// withBuffered is the connection with what was read ahead in front.
func (c *conn) withBuffered() net.Conn {
	return &ahead{Conn: c.raw, b: append([]byte(nil), c.buf.unread()...)}
}

type ahead struct {
	net.Conn
	b []byte
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(a.b) > 0 {
		n := copy(p, a.b)
		a.b = a.b[n:]
		return n, nil
	}
	return a.Conn.Read(p)
}

// lingering closes politely: what the client still sends is thrown away for a
// moment, or it might never see the answer.
func (c *conn) lingering() {
	_ = closeWrite(c.nc)
	_ = c.raw.SetReadDeadline(c.host.now().Add(linger))
	b := c.buf.b
	for left := lingerSize; left > 0; {
		n, err := c.nc.Read(b)
		if left -= n; err != nil {
			return
		}
	}
}

// goAway closes an idle connection; a busy one closes after its answer.
func (c *conn) goAway() {
	if m := c.session.Load(); m != nil {
		m.Drain()
		return
	}
	if c.state.CompareAndSwap(idling, ended) {
		if c.stream != nil {
			_ = c.stream.Refuse()
		}
		_ = c.raw.Close()
		c.s.forget(c)
	}
}

// cut ends the connection now, from any goroutine.
func (c *conn) cut() {
	c.dead.Store(true)
	if life := c.life.Load(); life != nil {
		life.Cancel(errCut)
	}
	_ = c.raw.Close()
}

// Why an exchange is cancelled. To others both are a client that is gone.
var (
	errCut  = fmt.Errorf("http1: cut off as the listener was shut down: %w", context.Canceled)
	errLeft = fmt.Errorf("http1: the client went away: %w", context.Canceled)
)

// hold says which exchange is in hand.
func (c *conn) hold(l *exchange.Life) {
	c.life.Store(l)
	switch {
	case l == nil:
	case c.dead.Load():
		l.Cancel(errCut)
	case hung(c.raw):
		c.leaving()
	}
}

// closeWrite ends our half of a stream, or all of it where halves are unknown.
func closeWrite(nc any) error {
	var err error
	switch nc := nc.(type) {
	case interface{ CloseWrite() error }:
		err = nc.CloseWrite()
	case net.Conn:
		err = nc.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
