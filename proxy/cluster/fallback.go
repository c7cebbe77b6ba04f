package cluster

import (
	"slices"

	"lintel.dev/lintel/proxy/exchange"
)

// Fallback is a fixed answer in place of some faults.
type Fallback struct {
	Answer exchange.Instead
	On     []string // codes; "unreachable" is any other fault of the way to the service
}

// instead offers the fallback answer in place of a fault.
func (r *run) instead(f *exchange.Fault) *exchange.Fault {
	if f != nil && r.fallback() && r.c.cfg.Fallback.fits(f) {
		f.Instead = &r.c.cfg.Fallback.Answer
	}
	return f
}

// fallback reports whether there is one for the exchange: a gRPC caller could not
// read it.
func (r *run) fallback() bool { return r.c.cfg.Fallback != nil && !r.x.IsGRPC() }

func (b *Fallback) fits(f *exchange.Fault) bool {
	if f.Source != exchange.FromUpstream {
		return false
	}
	switch f.Code {
	case "breaker-open", "no-endpoint", "service-overloaded", "timeout":
		return slices.Contains(b.On, f.Code)
	}
	return slices.Contains(b.On, "unreachable")
}
