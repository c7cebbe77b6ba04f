package pipe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/route"
)

// Observer sees every exchange, also the malformed and the refused.
type Observer interface {
	Begin(*exchange.Exchange)   // the head is read; nothing is routed yet
	Forward(*exchange.Exchange) // about to be forwarded: write what must be carried on
	End(*exchange.Exchange)     // everything about x is final; exactly once
}

// Config is how one listener's exchanges are treated.
type Config struct {
	Edge      bool       // clients are strangers: their forwarding headers count only from trusted addresses
	Path      route.Mode // what to do with encoded separators
	Trusted   Prefixes   // whose forwarding headers count
	Observers []Observer // in this order; End in reverse
	Log       *slog.Logger

	Shed *Shedder // nil: everything is taken

	// Challenge answers what an ACME server asks under ChallengePath, before
	// anything is routed. It may read a file. Nil answers nothing.
	Challenge func(host, path string) (body string, ok bool)
}

// Pipe serves exchanges with the live table. It is an exchange.Handler.
type Pipe struct {
	cfg    Config
	live   *Live
	Panics atomic.Int64
	Open   atomic.Int64 // exchanges in hand
	runs   sync.Pool

	seconds *seconds
	rerun   func(*exchange.Exchange, func(*exchange.Exchange)) bool // again, bound once
}

// Live holds the table in force.
type Live struct{ p atomic.Pointer[route.Table] }

// Swap puts t in force; the old table goes with its last exchange.
func (l *Live) Swap(t *route.Table) {
	if old := l.p.Swap(t); old != nil {
		old.Release()
	}
}

// Acquire takes a share in the table in force; nil before the first Swap.
func (l *Live) Acquire() *route.Table {
	for {
		t := l.p.Load()
		if t == nil || t.Acquire() {
			return t
		}
	}
}

// New returns a pipe over live.
func New(cfg Config, live *Live) *Pipe {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pipe{cfg: cfg, live: live, runs: sync.Pool{New: func() any { return new(run) }}, seconds: newSeconds()}
	p.rerun = p.again
	return p
}

// run is what Finish needs of Serve.
type run struct {
	table   *route.Table
	route   *route.Route
	begun   int // observers that saw Begin
	first   int // the filter at which it begins: 0 for a client's
	started int // filters whose OnRequest was called
	ended   bool
}

// filterAt returns filter number i of the exchange: the table's, then the
// route's.
func (r *run) filterAt(i int) *filter.Instance {
	if n := len(r.table.Always); i < n {
		return &r.table.Always[i]
	} else {
		return &r.route.Filters[i-n]
	}
}

// Serve fills x.Response. It never panics.
func (p *Pipe) Serve(x *exchange.Exchange) {
	r := p.runs.Get().(*run)
	x.Hold, x.Again = r, p.rerun
	p.Open.Add(1)
	defer func() {
		if v := recover(); v != nil {
			p.panicked(x, v)
			p.answerPanic(x, v)
			p.stamp(x)
		}
	}()
	Arrive(x, p.cfg.Trusted, p.cfg.Edge)
	for _, o := range p.cfg.Observers {
		r.begun++
		o.Begin(x)
	}
	p.serve(x, r)
	leaving(x)
	p.stamp(x)
}

// Arrive does what comes before anything looks at a request: what belongs to the
// connection is taken off, and the client's address is found. What strangers at
// the edge say of it goes too: neither matches nor filters, nor whom those ask,
// shall go by it.
func Arrive(x *exchange.Exchange, trusted Prefixes, edge bool) {
	// First of all, so that no name which Lintel adds later can be taken off
	// again by the client's nominating it.
	dropConnection(&x.Request.Header, true)
	x.ClientIP = trusted.client(x)
	if edge && !trusted.contains(x.Client.Remote.Addr()) {
		dropClaims(&x.Request.Header)
	}
}

// stamp tells a client of the edge the id by which to ask about this exchange.
func (p *Pipe) stamp(x *exchange.Exchange) {
	if p.cfg.Edge && x.ID != "" {
		x.Response.Header.Set("X-Request-ID", x.ID)
	}
}

func (p *Pipe) serve(x *exchange.Exchange, r *run) {
	if r.table = p.live.Acquire(); r.table != nil {
		r.table.Hide(x)
	} else {
		x.Original.Query = "" // nobody knows yet what of it is a credential
	}
	if x.Fault != nil {
		answer(x, x.Fault)
		return
	}
	if p.cfg.Challenge != nil && p.challenge(x) {
		return
	}
	if r.table == nil {
		answer(x, &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable,
			Code: "starting", Title: "Not ready yet"})
		return
	}
	fault, answered := p.request(x, r)
	if fault == nil && !answered {
		fault = p.act(x, r.route)
	}
	if fault == nil && x.Response.Status == 0 {
		fault = noAnswer()
	}
	if fault != nil {
		x.Fault = fault
		x.DropResponse()
		if p.rescue(x, r, fault) && x.Response.Status != 0 {
			x.Fault, x.Rescued = nil, fault // there is an ordinary answer after all
		} else if instead(x, fault) {
			x.Fault, x.Rescued = nil, fault
		} else {
			answer(x, fault)
		}
	}
	p.back(x, r)
}

// back runs the filters that saw the request, in reverse.
func (p *Pipe) back(x *exchange.Exchange, r *run) {
	for i := r.started - 1; i >= r.first; i-- {
		if f := r.filterAt(i); f.Response != nil {
			x.UseSlot(i)
			before := x.Fault
			f.Response.OnResponse(x)
			if x.Fault != before && x.Fault != nil { // it cannot let the answer pass
				answer(x, x.Fault)
			}
		}
	}
}

// request runs the filters that need no route, matches, and runs the route's
// filters, until one answers or refuses.
func (p *Pipe) request(x *exchange.Exchange, r *run) (*exchange.Fault, bool) {
	if fault, done := p.filters(x, r, len(r.table.Always)); fault != nil || done {
		return fault, done
	}
	host, fault := p.target(x)
	if fault != nil {
		return fault, false
	}
	if r.route = r.table.Match(x, host); r.route == nil {
		return noRoute(x, r.table, host), false
	}
	x.Route, x.Pattern = r.route.Name, r.route.PathMatch()
	if r.route.Priority != exchange.Default {
		x.Priority = r.route.Priority
	}
	if !p.cfg.Shed.Admit(x.Priority) {
		return shedFault(), false
	}
	return p.filters(x, r, len(r.table.Always)+len(r.route.Filters))
}

func (p *Pipe) filters(x *exchange.Exchange, r *run, until int) (*exchange.Fault, bool) {
	for r.started < until {
		i := r.started
		f := r.filterAt(i)
		r.started++
		if f.Request == nil {
			continue
		}
		x.UseSlot(i)
		v := f.Request.OnRequest(x)
		if v.Fault() != nil || v.Answered() {
			return v.Fault(), v.Answered()
		}
	}
	return nil, false
}

// target checks and normalises what is routed on.
func (p *Pipe) target(x *exchange.Exchange) (string, *exchange.Fault) {
	if x.Request.Method == http.MethodTrace || x.Request.Method == http.MethodConnect {
		// TRACE would show the client what was added for the service.
		return "", &exchange.Fault{Source: exchange.FromClient, Status: http.StatusMethodNotAllowed,
			Code: "method-not-allowed", Title: "Method not allowed", Detail: x.Request.Method + " is not served here",
			Header: []exchange.Field{{Name: "Allow", Value: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}}}
	}
	if x.Request.Path == "*" && x.Request.Method == http.MethodOptions {
		x.Request.Path = "/"
	}
	path, err := route.NormalizePath(x.Request.Path, p.cfg.Path)
	if err != nil {
		return "", &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "bad-path",
			Title: "Request path is not acceptable", Detail: strings.TrimPrefix(err.Error(), "route: "), Proxy: "http_request_error"}
	}
	x.Request.Path = path
	if i := badQuery(x.Request.Query); i >= 0 {
		return "", &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "bad-query",
			Title: "Query is not acceptable", Detail: fmt.Sprintf("byte %#02x in the query must be percent-encoded", x.Request.Query[i]), Proxy: "http_request_error"}
	}
	host, ok := route.Host(x.Request.Authority)
	if !ok {
		return "", &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "bad-host",
			Title: "Host is not acceptable", Detail: "the Host field is missing or not a valid authority", Proxy: "http_request_error"}
	}
	return host, nil
}

// badQuery finds a byte that no query may have (RFC 3986 section 3.4): HTTP/2
// carries what would end or alter a request line in HTTP/1.
func badQuery(q string) int {
	for i := 0; i < len(q); i++ {
		if q[i] <= ' ' || q[i] >= 0x7f || q[i] == '#' {
			return i
		}
	}
	return -1
}

func noRoute(x *exchange.Exchange, t *route.Table, host string) *exchange.Fault {
	f := &exchange.Fault{Source: exchange.FromClient, Status: http.StatusNotFound, Code: "no-route",
		Title: "No such route", Detail: "nothing is configured for this host and path", Proxy: "destination_not_found"}
	if allow := t.Allowed(x, host); len(allow) > 0 {
		f.Status, f.Code, f.Title = http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed"
		f.Detail = "this path takes " + strings.Join(allow, ", ")
		f.Header = append(f.Header, exchange.Field{Name: "Allow", Value: strings.Join(allow, ", ")})
	}
	return f
}

// rescue lets filters supply an answer in place of the fault.
func (p *Pipe) rescue(x *exchange.Exchange, r *run, fault *exchange.Fault) bool {
	for i := r.started - 1; i >= 0; i-- {
		if f := r.filterAt(i); f.Fault != nil {
			x.UseSlot(i)
			if f.Fault.OnFault(x, fault) {
				return true
			}
		}
	}
	return false
}

// Finish ends the exchange: filters and observers are told, shares are given
// back. It never panics.
func (p *Pipe) Finish(x *exchange.Exchange) {
	r, ok := x.Hold.(*run)
	if !ok || r.ended {
		return
	}
	r.ended = true
	for !p.finish(x, r) { // a step that panicked is not run again
	}
	x.Hold = nil
	*r = run{}
	p.runs.Put(r)
	p.Open.Add(-1)
}

// finish takes the steps that are left and reports whether it got through. Each
// is counted before it is taken, so that one defer serves them all.
func (p *Pipe) finish(x *exchange.Exchange, r *run) (through bool) {
	defer func() {
		if !through {
			p.panicked(x, recover())
		}
	}()
	for r.started > r.first {
		r.started--
		if f := r.filterAt(r.started); f.Done != nil {
			x.UseSlot(r.started)
			f.Done.Done(x)
		}
	}
	x.RunDone()
	for r.begun > 0 {
		r.begun--
		p.cfg.Observers[r.begun].End(x)
	}
	if t := r.table; t != nil {
		r.table = nil
		if end := t.Leave(); end != nil {
			_ = x.Await(func(context.Context) error { end(); return nil })
		}
	}
	return true
}

// guard runs f and reports whether it returned without a panic.
func (p *Pipe) guard(x *exchange.Exchange, f func()) (fine bool) {
	defer func() {
		if v := recover(); v != nil {
			p.panicked(x, v)
		}
	}()
	f()
	return true
}

// answerPanic answers 500, even when what a filter left in the response panics
// as it is closed.
func (p *Pipe) answerPanic(x *exchange.Exchange, v any) {
	fault := panicFault(v)
	if !p.guard(x, func() { answer(x, fault) }) {
		x.Response.Body, x.Response.Tunnel = nil, nil
		answer(x, fault)
	}
}

func noAnswer() *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "no-answer",
		Title: "Internal error", Err: errors.New("pipe: a filter said it had answered, but set no status")}
}

func (p *Pipe) panicked(x *exchange.Exchange, v any) {
	p.Panics.Add(1)
	p.cfg.Log.Error("pipe: a filter panicked; the request is answered with 500", "panic", fmt.Sprint(v),
		"route", x.Route, "request_id", x.ID, "stack", string(debug.Stack()))
}

func panicFault(v any) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "panic",
		Title: "Internal error", Close: true, Err: fmt.Errorf("panic: %v", v)}
}
