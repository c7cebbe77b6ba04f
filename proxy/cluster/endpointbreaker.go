package cluster

import (
	"math/rand/v2"
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// available reports whether traffic may go to the endpoint as far as its breaker
// is concerned. While that is half open it may: who comes is a trial.
func (m *member) available() bool {
	return m.trip == nil || m.trip.state() != "open"
}

// pick chooses an endpoint whose breaker is not open; nil when there is none.
func (r *run) pick(l *lineup) *member {
	m := r.draw(l, &r.seen)
	if !r.c.trips || m.available() {
		return m
	}
	avoid := r.seen
	for range 3 {
		avoid.add(m)
		if m = r.draw(l, &avoid); m.available() {
			return m
		}
	}
	return l.anyAvailable(&r.seen)
}

// anyAvailable looks at all of a lineup, which is for when many breakers are open: at
// those first that this exchange has not failed on, and at the spare ones only when
// no member is left. Nil when there is none.
func (l *lineup) anyAvailable(seen *tried) (second *member) {
	for _, list := range [...][]*member{l.members, l.spare} {
		for i, from := 0, rand.IntN(max(len(list), 1)); i < len(list); i++ {
			m := list[(from+i)%len(list)]
			if !m.available() {
				continue
			}
			if !seen.has(m) {
				return m
			}
			if second == nil {
				second = m
			}
		}
	}
	return second
}

// letIn has the endpoint's own breaker, where there is one, let the attempt
// through, and reports whether it did.
func (r *run) letIn(m *member) (in bool, err error) {
	r.serving, r.last, r.visited = m, m, false
	if m.trip == nil {
		_, err = r.visit()
	} else {
		_, err = m.trip.cb.Execute(r.call)
	}
	if !r.visited { // it opened, or has its trials, since it was picked
		r.serving = nil
		r.seen.add(m)
	}
	return r.visited, err
}

// allOpen is the fault of a service each of whose endpoints is failing.
func (c *Cluster) allOpen() *exchange.Fault {
	wait := time.Duration(0)
	for i, m := range c.lineup.Load().members {
		if m.trip != nil {
			if w := m.trip.wait(); i == 0 || w < wait {
				wait = w
			}
		}
	}
	return &exchange.Fault{
		Source: exchange.FromUpstream, Status: http.StatusServiceUnavailable, Code: "breaker-open",
		Title: "Service is failing", Detail: "the circuit breaker of every endpoint of service " + c.cfg.Service + " is open",
		RetryAfter: max(wait, time.Second), Proxy: "destination_unavailable",
	}
}
