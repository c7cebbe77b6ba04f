package http1

import (
	"errors"
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// maxInterim bounds the 1xx answers to one request.
const maxInterim = 16

var (
	errTooManyInterim = errors.New("http1: too many 1xx answers")
	errUnasked        = errors.New("http1: it switched protocols without being asked")
	errOtherProtocol  = errors.New("http1: it switched to a protocol that was not asked for")
)

// attempt is one request on a link.
type attempt struct {
	l      *link
	x      *exchange.Exchange
	upload *upload // nil unless the body is sent beside
	sent   bool    // something went out
	heard  bool    // something came back
	begun  bool    // the request body was read from
}

// RoundTrip implements exchange.Upstream.
func (l *link) RoundTrip(x *exchange.Exchange) error {
	if err := l.begin(); err != nil {
		return err
	}
	a := attempt{l: l, x: x}
	l.buf = newBuffer()
	l.watch(x.Life())
	over := false
	defer func() {
		if !over { // a filter's body or answer to a 1xx panicked
			_ = a.failed(nil)
		}
	}()
	err := a.send()
	if err == nil {
		err = a.receive()
	}
	if over = true; err != nil {
		return a.failed(err)
	}
	return nil
}

// send writes the request, and with it a body that is there already. Any other
// body is sent beside, so that an early answer is heard.
func (a *attempt) send() error {
	x, l := a.x, a.l
	f := framing{length: x.Request.Length}
	if x.Request.Body == nil || x.Request.Length == 0 {
		f.length = 0
	} else if f.length < 0 || x.Request.Header.Has("Trailer") {
		f.length, f.chunked = -1, true
	}
	b := l.buf // until the answer comes nobody needs it
	out, err := appendRequest(b.b[:0], &x.Request, f)
	if err != nil {
		return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "internal",
			Title: "Internal error", Err: err}
	}
	if f.length == 0 {
		return a.write(out)
	}
	u := &upload{l: l, body: x.Request.Body, chunked: f.chunked, left: f.length, trailer: &x.Request.Trailer, expects: x.Request.Expect}
	// What has arrived goes out together with the head, and a body that proves
	// malformed before anything was sent is none of the service's business.
	for !u.expects && len(b.b)-len(out) >= 1<<10 && exchange.Ready(u.body) {
		a.begun = true
		piece, last, err := u.next(b.b[len(out):])
		if err != nil {
			return err
		}
		if out = append(out, piece...); last {
			return a.write(out)
		}
	}
	if err := a.write(out); err != nil {
		return err
	}
	if whole, memory := u.body.(*exchange.Bytes); memory {
		// It may be sent again while this attempt is still about to notice that it
		// was given up: each has its own place in it.
		own := *whole
		u.body = &own
	}
	a.begun, a.upload = true, u
	u.start(l.host)
	x.OnDone(u.over)
	return nil
}

func (a *attempt) write(p []byte) error {
	n, err := a.l.nc.Write(p)
	a.sent = a.sent || n > 0
	return err
}

// receive reads the answer's head; 1xx answers before it are passed on.
func (a *attempt) receive() error {
	l, x := a.l, a.x
	for n := 0; ; n++ {
		head, err := a.readHead()
		if err != nil {
			return err
		}
		f, fault := parseResponse(head, l.t.lim, x.Request.Method, &x.Response)
		if fault != nil {
			x.Response.Header.Reset()
			fault.Err = l.annotate(fault.Err)
			return fault
		}
		switch status := x.Response.Status; {
		case status == http.StatusSwitchingProtocols:
			return a.switched()
		case status >= 200:
			return a.answered(f)
		case n >= maxInterim:
			return errTooManyInterim
		default:
			if a.upload != nil {
				a.upload.permit(status == http.StatusContinue)
			}
			x.Inform(status, &x.Response.Header)
			x.Response.Header.Reset()
			x.Response.Status, x.Response.Length, x.Response.Proto = 0, 0, ""
		}
	}
}

func (a *attempt) readHead() ([]byte, error) {
	l, from := a.l, 0
	for {
		if b := l.buf.unread(); len(b) > 0 {
			end, next, bad := headEnd(b, from)
			switch {
			case bad:
				return nil, &answerError{"a line of its head does not end in CR LF"}
			case end > l.t.lim.bytes || end == 0 && len(b) >= l.t.lim.bytes:
				return nil, errAnswerHead
			case end > 0:
				l.buf.r += end
				l.buf.pin()
				return b[:end], nil
			}
			from = next
		}
		n, err := l.nc.Read(l.buf.room(1 << 10))
		l.buf.w += n
		a.heard = a.heard || n > 0
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// answered makes the rest of the connection x.Response.Body.
func (a *attempt) answered(f framing) error {
	l, x := a.l, a.x
	if a.upload != nil && a.upload.held() {
		a.upload.refuse() // the client keeps its body
	}
	x.Borrow(l.buf)
	b := &l.buf.body // it lasts as long as the buffer is lent to x
	*b = outBody{l: l, x: x, buf: l.buf, upload: a.upload, left: f.length, chunked: f.chunked, untilClose: f.untilClose, reusable: !f.close, named: f.connection}
	l.buf = nil
	l.bare = f.length == 0 && !f.chunked && (x.Request.Method == "HEAD" || x.Response.Status == http.StatusNoContent ||
		x.Response.Status == http.StatusNotModified)
	if f.length == 0 && !f.chunked && !f.untilClose {
		b.finish()
		return nil
	}
	x.Response.Body = b
	return nil
}

func (a *attempt) switched() error {
	l, x := a.l, a.x
	switch to := x.Response.Header.Get("Upgrade"); {
	case x.Request.Upgrade == "":
		x.Response.Header.Reset()
		return errUnasked
	case to != "" && !exchange.EqualFold(to, x.Request.Upgrade):
		x.Response.Header.Reset()
		return errOtherProtocol
	}
	if l.unwatch() {
		return errLeft
	}
	_ = l.raw.SetDeadline(time.Time{})
	x.Response.Length = -1
	x.Borrow(l.buf)
	x.Response.Tunnel = &linkTunnel{l: l, buf: l.buf}
	l.buf = nil
	return nil
}

// linkTunnel is the service's side of a tunnel.
type linkTunnel struct {
	l   *link
	buf *buffer
}

func (t *linkTunnel) Read(p []byte) (int, error) {
	if n := t.buf.take(p); n > 0 {
		return n, nil
	}
	return t.l.nc.Read(p)
}

func (t *linkTunnel) Write(p []byte) (int, error) { return t.l.nc.Write(p) }

func (t *linkTunnel) CloseWrite() error { return closeWrite(t.l.nc) }

func (t *linkTunnel) Close() error {
	t.l.discard()
	return nil
}
