package cache

import (
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// freshness is what an answer's fields say about how long it may be reused.
type freshness struct {
	control
	date   time.Time
	born   time.Time
	life   time.Duration
	said   bool // the origin said how long
	always bool
	must   bool
	open   bool
}

// freshnessOf applies RFC 9111 sections 4.2.1 and 4.2.3: ageField is the Age
// that came with it, asked and got are when the request was forwarded and its
// answer came.
func freshnessOf(h *exchange.Fields, ageField string, asked, got time.Time) freshness {
	f := freshness{control: parseControl(h), date: got}
	dated := false
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		f.date, dated = t, true
	}
	var age time.Duration
	if dated {
		age = max(0, got.Sub(f.date))
	}
	age = max(age, delta(ageField)+got.Sub(asked))
	f.born = got.Add(-age)

	expires, hasExpires := h.Get("Expires"), h.Has("Expires")
	switch {
	case f.sMaxAge >= 0:
		f.life, f.said = f.sMaxAge, true
	case f.maxAge >= 0:
		f.life, f.said = f.maxAge, true
	case hasExpires:
		f.said = true
		if t, err := http.ParseTime(expires); err == nil { // otherwise already expired
			f.life = max(0, t.Sub(f.date))
		}
	}
	if !f.present && h.HasToken("Pragma", "no-cache") {
		f.noCache = true
	}
	f.always = f.noCache
	f.must = f.mustRevalidate || f.proxyRevalidate || f.sMaxAge >= 0
	f.open = f.public || f.mustRevalidate || f.sMaxAge >= 0
	return f
}
