package cache

import (
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// control is a Cache-Control field, a request's or an answer's (RFC 9111
// section 5.2). Durations are -1 when absent.
type control struct {
	present bool

	noStore, noCache, private, public   bool
	mustRevalidate, proxyRevalidate     bool
	onlyIfCached, anyStale              bool
	maxAge, sMaxAge, minFresh, maxStale time.Duration
}

// maxDelta is what a delta-seconds value too large to hold counts as (RFC 9111
// section 1.2.2).
const maxDelta = (1 << 31) * time.Second

// parseControl reads every line of Cache-Control. What cannot be read errs on
// the side of not reusing: an unreadable age is 0, of a repeated one the least
// counts, and a qualified private or no-cache is an unqualified one.
func parseControl(h *exchange.Fields) control {
	c := control{maxAge: -1, sMaxAge: -1, minFresh: -1, maxStale: -1}
	for i := range h.Len() {
		if f := h.At(i); exchange.EqualFold(f.Name, "Cache-Control") {
			c.present = true
			c.read(f.Value)
		}
	}
	return c
}

func (c *control) read(s string) {
	for s != "" {
		var name, arg string
		var has bool
		name, arg, has, s = nextDirective(s)
		switch {
		case is(name, "no-store"):
			c.noStore = true
		case is(name, "no-cache"):
			c.noCache = true
		case is(name, "private"):
			c.private = true
		case is(name, "public"):
			c.public = true
		case is(name, "must-revalidate"):
			c.mustRevalidate = true
		case is(name, "proxy-revalidate"):
			c.proxyRevalidate = true
		case is(name, "only-if-cached"):
			c.onlyIfCached = true
		case is(name, "max-age"):
			c.maxAge = least(c.maxAge, delta(arg))
		case is(name, "s-maxage"):
			c.sMaxAge = least(c.sMaxAge, delta(arg))
		case is(name, "min-fresh"):
			// Here the greater asks for more.
			c.minFresh = max(c.minFresh, delta(arg))
		case is(name, "max-stale"):
			if !has {
				c.anyStale = true
			} else {
				c.maxStale = least(c.maxStale, delta(arg))
			}
		}
	}
}

func is(a, b string) bool { return exchange.EqualFold(a, b) }

func least(a, b time.Duration) time.Duration {
	if a < 0 {
		return b
	}
	return min(a, b)
}

// delta reads delta-seconds, quoted or not.
func delta(s string) time.Duration {
	var n time.Duration // in seconds
	for i := 0; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return 0
		}
		n = min(n*10+time.Duration(d), maxDelta/time.Second)
	}
	return n * time.Second
}

// nextDirective cuts the first directive off a list, minding quoted strings.
func nextDirective(s string) (name, arg string, has bool, rest string) {
	end, quoted := len(s), false
scan:
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			end = i
			break scan
		}
	}
	if quoted { // never closed: let it hide nothing that follows
		if i := strings.IndexByte(s, ','); i >= 0 {
			end = i
		}
	}
	one := s[:end]
	if end < len(s) {
		rest = s[end+1:]
	}
	name, arg, has = strings.Cut(one, "=")
	return trim(name), strings.Trim(trim(arg), `"`), has, rest
}

func trim(s string) string { return exchange.Trim(s) }
