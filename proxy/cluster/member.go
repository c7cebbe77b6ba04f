package cluster

import (
	"sync/atomic"
	"time"
)

// member is one endpoint while it is in service. One whose weight or tags
// changed is a new member with the vitals of the old, which the exchanges still
// in flight there go on counting.
type member struct {
	Endpoint
	*vitals
}

// vitals are what is learnt of an endpoint while it is in service.
type vitals struct {
	busy atomic.Int64 // exchanges in flight
	trip *breaker     // nil: it has none of its own
	cost latency      // kept for peak_ewma only

	row, gateway atomic.Int32  // failures in a row, see Outlier
	good, bad    atomic.Uint32 // answers since the last sweep, for Outlier.FailureRate

	// What follows is under Cluster.mu.
	probed  probed
	streak  int         // probes in a row that contradict probed
	why     string      // of the last probe that failed
	probe   *time.Timer // the next probe
	ejected time.Time   // until when it is left out; zero when it is not
	fault   string      // why it was ejected
	until   time.Time   // end of the last ejection
	times   int         // ejections that count for the length of the next
	since   time.Time   // eased in from then on; zero once it has its whole weight
}

// probed is what probes say of an endpoint.
type probed uint8

const (
	unprobed probed = iota // nothing yet: it is used meanwhile
	well
	sick
)

// usable reports whether traffic may go there.
func (v *vitals) usable(now time.Time) bool {
	return v.probed != sick && !now.Before(v.ejected)
}

func (m *member) weight() int {
	if m.Weight <= 0 {
		return 1
	}
	return m.Weight
}
