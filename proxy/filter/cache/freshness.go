package cache

import (
	"net/http"
	"strings"
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
func freshnessOf(h *exchange.Fields, targets []string, ageField string, asked, got time.Time) freshness {
	c, targeted := answerControl(h, targets)
	f := freshness{control: c, date: got}
	dated := false
	if t, err := http.ParseTime(h.Get("Date")); err == nil {
		f.date, dated = t, true
	}
	var age time.Duration
	if dated {
		age = max(0, got.Sub(f.date))
	}
	// Of several ages the first counts (RFC 9111 section 5.1).
	ageField, _, _ = strings.Cut(ageField, ",")
	age = max(age, delta(trim(ageField))+got.Sub(asked))
	f.born = got.Add(-age)

	expires, hasExpires := h.Get("Expires"), h.Has("Expires") && !targeted
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
	if f.mustRevalidate || f.proxyRevalidate || f.noCache {
		// Stronger than what RFC 5861 allows. What s-maxage implies is not: who
		// says both means both.
		f.whileRevalidate, f.ifError = 0, 0
	}
	f.open = f.public || f.mustRevalidate || f.sMaxAge >= 0
	return f
}

// guess is how long an answer is fresh of which nothing says how long: a tenth
// of how old its Last-Modified was, and no longer than most (RFC 9111 section
// 4.2.2).
func (f *freshness) guess(lastModified string, most time.Duration) time.Duration {
	t, err := http.ParseTime(lastModified)
	if err != nil || f.date.Sub(t) <= 0 {
		return 0
	}
	return min(f.date.Sub(t)/10, most)
}
