package http1

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

type waiter = func(context.Context, func(context.Context) error) error

// exchange serves one request from its head to the end of its answer.
func (c *conn) exchange(head []byte, fault *exchange.Fault) outcome {
	s := c.s
	s.open.Add(1)
	defer s.open.Add(-1)
	c.buf.pin()
	x := s.xs.Get().(*exchange.Exchange)
	x.Start = c.host.now()
	x.Engine, x.Alarm, x.Waiter = c, c.alarm, c.wait
	f := c.fill(x, head, fault)
	refused := x.Fault != nil
	c.out.begin(&x.Request, f)
	c.hold(x.Life())
	if v := c.guard("serve", func() { s.h.Serve(x) }); v != nil {
		x.Fault = &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError,
			Code: "panic", Title: "Internal error", Close: true, Err: fmt.Errorf("http1: panic: %v", v)}
		x.DropResponse()
	}
	if x.Response.Status == 0 {
		c.lastResort(x)
	}
	if v := c.guard("write", func() { x.Abort = c.respond(x) }); v != nil {
		x.Abort = fmt.Errorf("http1: panic while writing: %v", v)
	}
	c.hold(nil)
	c.in.finish()
	x.Request.Read = c.in.n.Load()
	if v := c.guard("close", func() {
		if x.Response.Body != nil {
			_ = x.Response.Body.Close()
		}
	}); v != nil {
		c.out.close = true
	}
	sound := x.Abort == nil && !c.out.close && c.settle(x)
	panicked := c.guard("finish", func() { s.h.Finish(x) })
	c.in.x = nil
	abort := x.Abort
	if panicked == nil {
		x.Reset()
		s.xs.Put(x)
	}
	c.buf.unpin()
	switch {
	case sound && panicked == nil:
		return again
	case abort == nil && (refused || !c.in.over() || len(c.buf.unread()) > 0):
		c.lingering() // closing on what the client still sends would cost it the answer
	}
	return finished
}

// guard runs f and returns what it panicked with.
func (c *conn) guard(doing string, f func()) (v any) {
	defer func() {
		if v = recover(); v != nil {
			c.s.log.Error("panic", "listener", c.s.cfg.Name, "doing", doing, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f()
	return nil
}

// lastResort answers when the handler left nothing to write. The pipe never
// does; this keeps the engine sound without it.
func (c *conn) lastResort(x *exchange.Exchange) {
	status := http.StatusInternalServerError
	if x.Fault != nil && x.Fault.Status >= 400 && x.Fault.Status <= 599 {
		status = x.Fault.Status
	}
	x.Answer(status, "", nil)
}

// fill turns a request head into an exchange; x.Fault says why it is refused,
// and x is filled as far as possible all the same, for those who observe it.
func (c *conn) fill(x *exchange.Exchange, head []byte, fault *exchange.Fault) framing {
	req := &x.Request
	x.Client = c.info
	x.ClientIP = c.info.Remote.Addr()
	x.Peer = c.peer
	var f framing
	if fault == nil {
		f, fault = parseRequest(head, c.s.lim, req)
	}
	if req.Scheme = "http"; c.info.TLS != nil {
		req.Scheme = "https"
	}
	if req.Proto == "" {
		req.Proto = "HTTP/1.1"
	}
	limit := c.s.cfg.BodyBytes
	switch {
	case fault != nil:
	case c.whoFault != nil:
		fault = c.whoFault
	case limit > 0 && req.Length > limit:
		fault = tooLarge(limit)
	}
	if fault != nil {
		f.close = true
	}
	if x.Fault = fault; req.Proto != "HTTP/1.0" {
		x.Informational = c.early
	}
	c.in.begin(c, x, f)
	return f
}

func badRequest(code, detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: code,
		Title: "Bad request", Detail: detail, Close: true}
}

func tooLarge(limit int64) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusRequestEntityTooLarge, Code: "body-too-large",
		Title: "Request body is too large", Detail: fmt.Sprintf("at most %d bytes are taken", limit), Close: true}
}

// settle deals with a request body that was not read to its end, after the
// answer: what has arrived already is thrown away; if that is not all of it,
// the connection cannot be used again.
func (c *conn) settle(x *exchange.Exchange) bool {
	return c.in.over() || c.in.discard()
}

// informational writes a 1xx answer at once. Those after the final head are
// dropped.
func (c *conn) informational(status int, header *exchange.Fields) {
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		return
	}
	if status == http.StatusContinue && c.in.expects() {
		c.in.sendContinue()
		return
	}
	c.out.interim(c, status, header)
}

// tokenByte reports whether c may begin a method.
func tokenByte(c byte) bool {
	letter := c|0x20 >= 'a' && c|0x20 <= 'z'
	return letter || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
