package cache

import (
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// renew gives what is held at once, although it is stale, and sees to it that
// one exchange without a client renews it (RFC 5861 section 3). It reports false
// when that cannot be had: then this one asks itself, and others are given the
// stale answer meanwhile. One that must not ask is given it in any case.
func (f *cache) renew(x *exchange.Exchange, v *visit, now time.Time, onlyIfCached bool) bool {
	if x.Request.Method == http.MethodGet && !onlyIfCached {
		v.flightKey = v.renewal()
		flight, leader := f.flights.Join(v.flightKey, now, f.CoalesceTimeout)
		if leader {
			y := &visit{
				uri: v.uri, user: v.user, claims: v.claims, creds: v.creds, fwd: "stale", ifError: -1,
				lookup: true, store: true, renewing: true, held: v.held, flightKey: v.flightKey, flight: flight,
			}
			if x.Again == nil || !x.Again(x, func(second *exchange.Exchange) { f.prepare(second, y) }) {
				v.flight = flight
				return false
			}
		}
	}
	f.serve(x, v.held, &v.request, v.saw, now, "", "stale-while-revalidate")
	return true
}

// prepare makes x the renewal y.
func (f *cache) prepare(x *exchange.Exchange, y *visit) {
	h := &x.Request.Header
	y.request = h.Clone()
	unconditional(h)
	f.ask(h, y)
	x.Keep(y)
}

// settle counts how a renewal went, and lets go of an answer that nobody reads.
func (f *cache) settle(x *exchange.Exchange, v *visit, kept bool) {
	if !v.renewing {
		return
	}
	if kept {
		f.renewed.Add(1)
		return
	}
	f.failed.Add(1)
	x.DropResponse()
}
