package pipe

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Exchanges without a client are bounded in number and in time: nobody would
// notice if they piled up. The number of copies is bounded by who makes them.
const (
	againMost    = 256
	againLongest = time.Minute
)

// seconds are the exchanges that run for no client.
type seconds struct {
	ctx     context.Context
	end     context.CancelCauseFunc
	mu      sync.Mutex
	running int
	ended   bool
	all     sync.WaitGroup
}

var errEnding = errors.New("pipe: the process is ending")

func newSeconds() *seconds {
	s := &seconds{}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	return s
}

func (s *seconds) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.running >= againMost {
		return false
	}
	s.running++
	s.all.Add(1)
	return true
}

// apart counts one no more that has entered, while it runs on.
func (s *seconds) apart() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
}

func (s *seconds) leave() {
	s.apart()
	s.all.Done()
}

// EndAgain cancels the exchanges that run for no client, waits for their end and
// begins no more. Clients' exchanges are not touched.
func (p *Pipe) EndAgain() {
	s := p.seconds
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.end(errEnding)
	s.all.Wait()
}

// again is Exchange.Again: the filters behind the running one, the service, and
// the filters back including the running one see a second exchange, which ends
// when its body is read. It is the table's that x began with.
func (p *Pipe) again(x *exchange.Exchange, prepare func(*exchange.Exchange)) bool {
	r, ok := x.Hold.(*run)
	if !ok || r.route == nil || !p.seconds.enter() {
		return false
	}
	if !r.table.Acquire() {
		p.seconds.leave()
		return false
	}
	first := x.Slot()
	y := x.Detached()
	own := p.runs.Get().(*run)
	*own = run{table: r.table, route: r.route, first: first, started: first + 1}
	y.Hold = own
	p.Open.Add(1)
	y.UseSlot(first)
	if !p.guard(y, func() { prepare(y) }) {
		p.Finish(y)
		p.seconds.leave()
		return false
	}
	leave := p.seconds.leave
	if y.Mirror {
		p.seconds.apart()
		leave = p.seconds.all.Done
	}
	go func() {
		defer leave()
		p.second(y, own)
	}()
	return true
}

func (p *Pipe) second(y *exchange.Exchange, r *run) {
	ctx, cancel := context.WithTimeout(p.seconds.ctx, againLongest)
	defer cancel()
	y.Begin(ctx)
	if !p.guard(y, func() { p.ask(y, r) }) {
		y.Fault = panicFault("in an exchange without a client")
	}
	p.guard(y, func() { y.DropResponse() })
	p.Finish(y)
}

// ask is serve without an answer to anybody: a fault is only told.
func (p *Pipe) ask(y *exchange.Exchange, r *run) {
	fault, answered := p.filters(y, r, len(r.table.Always)+len(r.route.Filters))
	if fault == nil && !answered {
		fault = p.act(y, r.route)
	}
	if fault == nil && y.Response.Status == 0 {
		fault = noAnswer()
	}
	if fault != nil {
		y.Fault = fault
		y.DropResponse()
		p.cfg.Log.Debug("pipe: an exchange without a client failed", "route", y.Route, "request_id", y.ID, "error", fault)
	}
	p.back(y, r)
	if y.Response.Body != nil {
		_, _ = io.Copy(io.Discard, y.Response.Body) // whoever wraps it has seen the error
	}
}
