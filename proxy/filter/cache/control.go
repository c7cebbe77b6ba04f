package cache

import (
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// control is a Cache-Control field, a request's or an answer's (RFC 9111
// section 5.2). Durations are -1 when absent.
type control struct {
	present bool

	noStore, noCache, private, public               bool
	mustRevalidate, proxyRevalidate, mustUnderstand bool
	onlyIfCached, anyStale                          bool
	maxAge, sMaxAge, minFresh, maxStale             time.Duration
	whileRevalidate, ifError                        time.Duration // RFC 5861

	qualified bool     // private and no-cache may name fields: it is an answer's
	without   []string // what they name, which is not stored
}

func noControl() control {
	return control{maxAge: -1, sMaxAge: -1, minFresh: -1, maxStale: -1, whileRevalidate: -1, ifError: -1}
}

// maxDelta is what a delta-seconds value too large to hold counts as (RFC 9111
// section 1.2.2).
const maxDelta = (1 << 31) * time.Second

// parseControl reads every line of Cache-Control. What cannot be read errs on
// the side of not reusing: an unreadable age is 0, and of a repeated one the
// least counts.
func parseControl(h *exchange.Fields, answer bool) control {
	c := noControl()
	c.qualified = answer
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
			c.noCache = !has || !c.leaveOut(arg) || c.noCache
		case is(name, "private"):
			c.private = !has || !c.leaveOut(arg) || c.private
		case is(name, "public"):
			c.public = true
		case is(name, "must-revalidate"):
			c.mustRevalidate = true
		case is(name, "proxy-revalidate"):
			c.proxyRevalidate = true
		case is(name, "must-understand"):
			c.mustUnderstand = true
		case is(name, "only-if-cached"):
			c.onlyIfCached = true
		case is(name, "max-age"):
			c.maxAge = least(c.maxAge, delta(arg))
		case is(name, "s-maxage"):
			c.sMaxAge = least(c.sMaxAge, delta(arg))
		case is(name, "min-fresh"):
			// Here the greater asks for more.
			c.minFresh = max(c.minFresh, delta(arg))
		case is(name, "stale-while-revalidate"):
			c.whileRevalidate = least(c.whileRevalidate, delta(arg))
		case is(name, "stale-if-error"):
			c.ifError = least(c.ifError, delta(arg))
		case is(name, "max-stale"):
			if !has {
				c.anyStale = true
			} else {
				c.maxStale = least(c.maxStale, delta(arg))
			}
		}
	}
}

// maxWithout bounds the fields that directives may name.
const maxWithout = 16

// leaveOut takes the list of a qualified private or no-cache (RFC 9111 sections
// 5.2.2.4 and 5.2.2.7): those fields are not stored, so the rest may be. Where
// the list is empty or unreadable, or names what caching itself goes by, it
// reports false: the directive then counts for the whole answer.
func (c *control) leaveOut(list string) bool {
	if !c.qualified {
		return false
	}
	for name := range strings.SplitSeq(list, ",") {
		name = trim(name)
		if !token(name) || vital(name) || len(c.without) == maxWithout {
			return false
		}
		c.without = append(c.without, name)
	}
	return true
}

func (c *control) leavesOut(name string) bool {
	return slices.ContainsFunc(c.without, func(n string) bool { return is(n, name) })
}

// vital reports fields without which a stored answer is another one.
func vital(name string) bool {
	return len(name) >= 8 && is(name[:8], "content-") || len(name) >= 13 && is(name[len(name)-13:], "cache-control") ||
		is(name, "Vary") || is(name, "Expires") || is(name, "Date") || is(name, "Age") || is(name, "Pragma") ||
		is(name, "ETag") || is(name, "Last-Modified") || is(name, "Location")
}

// token reports whether s is a field name (RFC 9110 section 5.6.2).
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != ""
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
