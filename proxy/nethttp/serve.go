package nethttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// inbound is one request on its way through net/http.
type inbound struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	rc   *http.ResponseController
	body *inBody // nil when there is none

	mu          sync.Mutex // orders 1xx answers, which come from a transport's goroutine, before the final head
	headWritten bool
	continued   bool
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.open.Add(1)
	defer s.open.Add(-1)
	in := &inbound{s: s, w: w, r: r, rc: http.NewResponseController(w)}
	if !in.run() {
		// The one way to tell net/http that the answer is not complete: HTTP/1
		// connections are cut, HTTP/2 streams reset.
		panic(http.ErrAbortHandler)
	}
}

// run reports whether the answer was written to its end.
func (in *inbound) run() (complete bool) {
	x := in.s.xs.Get().(*exchange.Exchange)
	x.Start = time.Now()
	x.Begin(in.r.Context())
	x.Fault = in.fill(x)
	in.patience(0) // of the connection's request before
	if in.r.Body != nil && in.r.Body != http.NoBody {
		in.openBody(x)
	}
	if in.r.ProtoAtLeast(1, 1) {
		x.Informational = in.informational
	}
	if v := in.guard("serve", func() { in.s.h.Serve(x) }); v != nil {
		x.Fault = &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError,
			Code: "panic", Title: "Internal error", Close: true, Err: fmt.Errorf("nethttp: panic: %v", v)}
		x.DropResponse()
	}
	if x.Response.Status == 0 {
		in.lastResort(x)
	}
	if v := in.guard("write", func() { x.Abort = in.respond(x) }); v != nil {
		x.Abort = fmt.Errorf("nethttp: panic while writing: %v", v)
	}
	complete = x.Abort == nil
	in.mu.Lock()
	in.headWritten = true // from here on nobody touches w
	in.mu.Unlock()
	quiet := true
	if in.body != nil {
		quiet = in.body.finish()
		x.Request.Read = in.body.n.Load()
	}
	closed := in.guard("close", func() {
		if x.Response.Body != nil {
			_ = x.Response.Body.Close()
		}
	})
	v := in.guard("finish", func() { in.s.h.Finish(x) })
	if quiet && v == nil && closed == nil && complete {
		x.Reset()
		in.s.xs.Put(x)
	}
	return complete
}

// guard runs f and returns what it panicked with.
func (in *inbound) guard(doing string, f func()) (v any) {
	defer func() {
		if v = recover(); v != nil {
			in.s.log.Error("panic", "listener", in.s.cfg.Name, "doing", doing, "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f()
	return nil
}

// lastResort answers when the handler left nothing to write. The pipe never
// does; this keeps the engine sound without it.
func (in *inbound) lastResort(x *exchange.Exchange) {
	status := http.StatusInternalServerError
	if x.Fault != nil && x.Fault.Status >= 400 && x.Fault.Status <= 599 {
		status = x.Fault.Status
	}
	x.Answer(status, "", nil)
}

func (in *inbound) openBody(x *exchange.Exchange) {
	in.body = &inBody{in: in, src: in.r.Body, limit: in.s.cfg.BodyBytes, x: x}
	if d := in.s.cfg.RequestTimeout; d > 0 {
		in.body.timed = in.rc.SetReadDeadline(x.Start.Add(d)) == nil
	}
	if in.body.timed {
		x.Begin(in.withCause(in.body))
	}
	x.Request.Body = in.body
}

// withCause returns the request's context, but where a body that came too late
// is told from a client that left: net/http cancels on every read error.
func (in *inbound) withCause(b *inBody) context.Context {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(in.r.Context()))
	context.AfterFunc(in.r.Context(), func() {
		b.mu.Lock()
		err := b.err
		b.mu.Unlock()
		var f *exchange.Fault
		if !errors.As(err, &f) || f.Status != http.StatusRequestTimeout {
			err = context.Canceled
		}
		cancel(err)
	})
	return ctx
}

// informational writes a 1xx answer. Calls after the final head are ignored.
func (in *inbound) informational(status int, header *exchange.Fields) {
	if status < 100 || status > 199 || status == http.StatusSwitchingProtocols {
		return
	}
	if status == http.StatusContinue && in.expects() {
		// Over HTTP/2 net/http says it by itself when the body is first read,
		// which is what follows.
		in.sendContinue()
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.headWritten {
		return
	}
	h := in.w.Header()
	if header != nil {
		for name, value := range header.All() {
			h.Add(strings.Clone(name), strings.Clone(value))
		}
	}
	in.w.WriteHeader(status)
	clear(h)
}

func (in *inbound) expects() bool { return in.body != nil && in.r.Header.Get("Expect") != "" }

// sendContinue sends the client's 100 once, in order with other 1xx answers.
// net/http would do so on the first read of the body, but without regard to a
// 103 that is being written by another goroutine.
func (in *inbound) sendContinue() {
	if in.r.ProtoMajor != 1 || !in.r.ProtoAtLeast(1, 1) || !in.expects() {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.headWritten && !in.continued {
		in.continued = true
		in.w.WriteHeader(http.StatusContinue)
	}
}
