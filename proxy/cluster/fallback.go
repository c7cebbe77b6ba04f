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
func (c *Cluster) instead(f *exchange.Fault) *exchange.Fault {
	if f != nil && c.cfg.Fallback != nil && c.cfg.Fallback.fits(f) {
		f.Instead = &c.cfg.Fallback.Answer
	}
	return f
}

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
