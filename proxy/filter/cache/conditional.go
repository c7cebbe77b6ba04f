package cache

import (
	"net/http"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// unmodified reports whether the request's own condition is answered by a 304
// (RFC 9110 section 13.2.2, RFC 9111 section 4.3.2).
func (a *answer) unmodified(request *exchange.Fields) bool {
	if a.status < 200 || a.status > 299 {
		return false
	}
	if request.Has("If-None-Match") {
		for i := range request.Len() {
			if f := request.At(i); is(f.Name, "If-None-Match") && tagListed(f.Value, a.etag) {
				return true
			}
		}
		return false // If-Modified-Since does not count beside it
	}
	since := request.Get("If-Modified-Since")
	if since == "" {
		return false
	}
	t, err := http.ParseTime(since)
	return err == nil && !a.modified.After(t)
}

// tagListed compares weakly (RFC 9110 section 8.8.3.2).
func tagListed(list, tag string) bool {
	if trim(list) == "*" {
		return true
	}
	if tag == "" {
		return false
	}
	tag = strings.TrimPrefix(tag, "W/")
	for list != "" {
		list = strings.TrimLeft(list, " \t,")
		list = strings.TrimPrefix(list, "W/")
		if list == "" || list[0] != '"' {
			return false
		}
		end := strings.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		if list[:end+2] == tag {
			return true
		}
		list = list[end+2:]
	}
	return false
}

// validTag reports whether s is one entity tag.
func validTag(s string) bool {
	s = strings.TrimPrefix(s, "W/")
	return len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' && !strings.Contains(s[1:len(s)-1], `"`)
}

// validatable reports whether the service can be asked if it still holds.
func (a *answer) validatable() bool { return a.etag != "" || a.lastMod != "" }

// condition makes the request ask whether a still holds, in place of whatever
// the client asked.
func (a *answer) condition(h *exchange.Fields) {
	h.Del("If-None-Match")
	h.Del("If-Modified-Since")
	if a.etag != "" {
		h.Add("If-None-Match", a.etag)
	}
	if a.lastMod != "" {
		h.Add("If-Modified-Since", a.lastMod)
	}
}

// unconditional takes off what a request asks only for itself: for the renewal of
// an answer that others are given too.
func unconditional(h *exchange.Fields) {
	h.Filter(func(name, _ string) bool {
		return !is(name, "If-None-Match") && !is(name, "If-Modified-Since") && !is(name, "If-Range") && !is(name, "Range")
	})
}
