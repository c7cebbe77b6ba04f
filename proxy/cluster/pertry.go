package cluster

import (
	"errors"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// errTryTimeout is the cancellation cause of an attempt that took longer than
// Options.PerTry.
var errTryTimeout = errors.New("cluster: the attempt took too long")

// next makes attempt n, counted from 0.
func (r *run) next(n int) *exchange.Fault {
	if !r.hasty(n) {
		return r.either()
	}
	x := r.x
	whole := x.Life()
	try := whole.Branch()
	x.Live(try)
	defer x.Live(whole) // also after a panic
	timer := time.AfterFunc(r.o.PerTry, func() { try.Cancel(errTryTimeout) })
	defer timer.Stop()
	fault := r.either()
	if !timer.Stop() && fault == nil {
		// The head came just too late: reading the body would fail.
		fault = r.tooLate()
	}
	return fault
}

// hasty reports whether attempt n is given up after Options.PerTry.
func (r *run) hasty(n int) bool {
	return r.o.PerTry > 0 && r.left(n) > 0 && r.replayable() && r.twice()
}

// either makes one attempt, or two at once where the route hedges.
func (r *run) either() *exchange.Fault {
	if r.o.Hedge == nil || r.single() != 0 {
		return r.once()
	}
	return r.twofold()
}

// tooLate is the fault of an attempt that took longer than PerTry.
func (r *run) tooLate() *exchange.Fault {
	f := timeoutFault(r.c.cfg.Service, "no answer within retries.per_try_timeout")
	f.Err = errTryTimeout
	return f
}
