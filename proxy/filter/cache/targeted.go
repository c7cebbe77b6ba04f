package cache

import (
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// answerControl reads what an answer says about its caching: the first of the
// targeted fields that is valid and not empty, and then nothing else, or else
// Cache-Control (RFC 9213 section 2.2).
func answerControl(h *exchange.Fields, targets []string) (c control, targeted bool) {
	for _, name := range targets {
		if value := h.Joined(name); value != "" {
			if c, ok := parseTargeted(value); ok {
				return c, true
			}
		}
	}
	return parseControl(h, true), false
}

// parseTargeted reads a Dictionary of cache directives (RFC 9213 section 2.1).
// Of a member given twice the last counts, as everywhere in structured fields. A
// value of the wrong type errs on the side of not reusing.
func parseTargeted(value string) (control, bool) {
	c := noControl()
	c.qualified = true
	members := 0
	ok := readDictionary(value, func(key string, v item) {
		members++
		on := v.kind != boolean || v.number == 1
		switch key {
		case "no-store":
			c.noStore = on
		case "no-cache":
			c.noCache = on && !(v.kind == text && c.leaveOut(v.text))
		case "private":
			c.private = on && !(v.kind == text && c.leaveOut(v.text))
		case "public":
			c.public = v.kind == boolean && on
		case "must-revalidate":
			c.mustRevalidate = on
		case "proxy-revalidate":
			c.proxyRevalidate = on
		case "must-understand":
			c.mustUnderstand = on
		case "max-age":
			c.maxAge = v.seconds()
		case "s-maxage":
			c.sMaxAge = v.seconds()
		case "stale-while-revalidate":
			c.whileRevalidate = v.seconds()
		case "stale-if-error":
			c.ifError = v.seconds()
		}
	})
	c.present = true
	return c, ok && members > 0
}

// seconds of an Integer; anything else, and less than nothing, is none.
func (v item) seconds() time.Duration {
	if v.kind != integer || v.number < 0 {
		return 0
	}
	return time.Duration(min(v.number, int64(maxDelta/time.Second))) * time.Second
}
