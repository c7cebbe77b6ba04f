package cache

import (
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// find returns what is kept for this user, or else for everybody, that the
// request fields choose; a fresh one before a stale one.
func (f *cache) find(uri, user []byte, creds bool, claims []byte, request *exchange.Fields, now time.Time) *held {
	var own *held
	if len(user) > 0 && f.perUser {
		own = choose(f.responses.Variants(uri, user), request, claims, false)
		if own != nil && own.Value.left(now) > 0 {
			return own
		}
	}
	if creds && !f.share {
		return own
	}
	all := choose(f.responses.Variants(uri, nil), request, claims, creds)
	if own == nil || all != nil && all.Value.left(now) > 0 {
		return all
	}
	return own
}

// choose takes the newest that fits; one that is not explicitly for a shared
// cache is not for who came with credentials.
func choose(list []*held, request *exchange.Fields, claims []byte, explicit bool) *held {
	for _, h := range list {
		if (h.Value.open || !explicit) && h.Value.claims == string(claims) && h.Value.matches(request) {
			return h
		}
	}
	return nil
}

// use says whether a kept answer may be given.
type use int

const (
	no       use = iota
	yes          // as it is
	renewing     // if it is renewed meanwhile
)

// usable says whether a may be given without waiting for the service (RFC 9111
// section 4), as the request wants it (section 5.2.1).
func (f *cache) usable(a *answer, want *control, now time.Time) use {
	if want.noCache || a.always || want.maxAge >= 0 && a.age(now) > want.maxAge {
		return no
	}
	left := a.left(now)
	switch {
	case left > 0 && left >= want.minFresh:
		return yes
	case left > 0 || want.minFresh > 0:
		return no
	}
	if !a.must && (want.anyStale || want.maxStale >= 0) {
		bound := *f.MaxStale
		if want.maxStale >= 0 {
			bound = min(bound, want.maxStale)
		}
		if -left <= bound {
			return yes
		}
	}
	if -left < a.window(a.whileRevalidate, f.StaleWhileRevalidate) {
		return renewing
	}
	return no
}

// window is how long past its life an answer may be given in some case: as the
// service said, or else as configured, unless it forbids that.
func (a *answer) window(said, otherwise time.Duration) time.Duration {
	switch {
	case a.always:
		return 0
	case said >= 0:
		return said
	case a.must:
		return 0
	}
	return otherwise
}

// tolerates reports whether a may stand in for an answer that the service
// failed to give. A client may ask for more than the service says (RFC 5861
// section 4), unless that forbids it.
func (f *cache) tolerates(a *answer, asked time.Duration, now time.Time) bool {
	most := a.window(a.ifError, f.StaleIfError)
	if !a.must && !a.always {
		most = max(most, min(asked, *f.MaxStale))
	}
	return most > 0 && -a.left(now) <= most
}
