package cache

import (
	"context"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// alone makes the exchange the only one to ask for key, or waits for the one
// that is, and reports whether that left an answer for it. Credentials that
// name no user are not waited with: their answer is hardly ever stored. What
// proved not to be shared is not waited for at all.
func (f *cache) alone(x *exchange.Exchange, v *visit, own []byte, want *control) bool {
	if v.flight != nil {
		return false // it leads already
	}
	if v.held == nil && v.creds && (len(v.user) == 0 || !f.perUser) || v.saw&sawRange != 0 {
		return false
	}
	key := own
	if v.held != nil {
		key = v.renewal() // whoever may have this one may have it again
	}
	if f.flights.Parted(key, f.now()) {
		v.parted = true
		return false
	}
	v.flightKey = key
	for end := time.Now().Add(f.CoalesceTimeout); ; {
		flight, leader := f.flights.Join(key, f.now(), f.CoalesceTimeout)
		fwd, again := "", false
		if leader {
			v.flight = flight
		} else {
			again = f.await(x, flight, end)
			fwd = "miss; collapsed"
			if v.held != nil {
				fwd = "stale; collapsed"
			}
		}
		// Looked up again also by a leader: the one before may just have landed.
		now := f.now()
		v.held = f.find(v.uri, v.user, v.creds, []byte(v.claims), &v.request, now)
		if v.held != nil && f.usable(v.held.Value, want, now) == yes {
			f.land(v, false)
			f.serve(x, v.held, &v.request, v.saw, now, fwd, "")
			return true
		}
		if leader && f.fetched(x, v, want) {
			return true
		}
		if f.tier != nil && !leader && v.held != nil && f.usable(v.held.Value, want, now) == renewing {
			return f.renew(x, v, now, want.onlyIfCached) // the leader has found it in the tier
		}
		if leader || !again || x.Ended() != nil {
			return false
		}
	}
}

// renewal is the name under which the renewal of what is held is waited for.
func (v *visit) renewal() []byte {
	key := append([]byte("renew "), v.uri...)
	key = append(key, v.held.User()...)
	return append(key, v.claims...)
}

// await waits for a leader, no longer than is bearable, and reports whether the
// exchange should try to lead in its place: it was lost, or its client is slow.
func (f *cache) await(x *exchange.Exchange, flight *store.Flight, end time.Time) (again bool) {
	_ = x.Await(func(ctx context.Context) error {
		patience := time.NewTimer(time.Until(end))
		defer patience.Stop()
		look := time.NewTicker(store.Patience / 2)
		defer look.Stop()
		for {
			select {
			case <-flight.Landed():
				again = flight.Lost()
				return nil
			case <-look.C:
				if flight.Slow() {
					again = true
					return nil
				}
			case <-patience.C:
				return nil
			case <-ctx.Done():
				return nil
			}
		}
	})
	return again
}

// land ends what others wait for. Lost says that it taught nothing.
func (f *cache) land(v *visit, lost bool) {
	if v.flight != nil {
		f.flights.Land(v.flight, lost)
		v.flight = nil
	}
}

// part lands a flight whose answer is not for others, and remembers that.
func (f *cache) part(v *visit) {
	if v.flight != nil {
		f.flights.Part(v.flightKey, f.now())
	}
	f.land(v, false)
}
