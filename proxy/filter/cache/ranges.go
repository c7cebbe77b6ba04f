package cache

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// part is what of a body a request asks for.
type part int

const (
	whole part = iota
	some
	none // it asks for what is not there
)

// part reads the request's Range (RFC 9110 section 14.2): the bytes from start up
// to end. What it does not understand, what If-Range rules out and several ranges
// at once are answered whole, as section 14.2 allows.
func (a *answer) part(r *exchange.Request, request *exchange.Fields) (p part, start, end int) {
	spec := request.Get("Range")
	if spec == "" || r.Method != http.MethodGet || a.status != http.StatusOK || request.Count("Range") > 1 {
		return whole, 0, 0
	}
	unit, set, ok := strings.Cut(spec, "=")
	if !ok || !is(trim(unit), "bytes") || request.Has("If-Range") && !a.sameAs(request.Joined("If-Range")) {
		return whole, 0, 0
	}
	return byteRange(trim(set), len(a.body))
}

// byteRange reads one range of a body of size bytes.
func byteRange(set string, size int) (p part, start, end int) {
	first, last, ok := strings.Cut(set, "-")
	from, hasFrom := position(first)
	to, hasTo := position(last)
	switch {
	case !ok, first != "" && !hasFrom, last != "" && !hasTo, !hasFrom && !hasTo, hasFrom && hasTo && to < from:
		return whole, 0, 0 // invalid, or several
	case !hasFrom && size == 0:
		return whole, 0, 0
	case !hasFrom && to == 0, hasFrom && from >= int64(size):
		return none, 0, 0
	case !hasFrom:
		return some, size - int(min(to, int64(size))), size
	case !hasTo:
		return some, int(from), size
	}
	return some, int(from), int(min(to+1, int64(size)))
}

// position reads digits; more of them than fit are as many as there can be.
func position(s string) (n int64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = min(n*10+int64(d), 1<<53)
	}
	return n, true
}

// sameAs reports whether an If-Range names exactly this answer (RFC 9110 section
// 13.1.5): by a strong tag, or by a date old enough to be one.
func (a *answer) sameAs(validator string) bool {
	if strings.HasPrefix(validator, `"`) {
		return validator == a.etag
	}
	t, err := http.ParseTime(validator)
	return err == nil && a.lastMod != "" && t.Equal(a.modified) && a.date.Sub(t) >= time.Second
}

// servePart makes x's answer a part of the stored one, and reports false when it
// is to be whole.
func (a *answer) servePart(x *exchange.Exchange, request *exchange.Fields) bool {
	p, start, end := a.part(&x.Request, request)
	header, size := &x.Response.Header, strconv.Itoa(len(a.body))
	switch p {
	case none:
		// No cache on the way may keep it as the answer to the URL.
		header.Filter(func(name, value string) bool {
			control := len(name) >= 7 && is(name[len(name)-7:], "Control") // Cache-, CDN-Cache-, Surrogate-
			return about304(name, value) && !control && !is(name, "Expires") && !is(name, "ETag") && !is(name, "Last-Modified")
		})
		header.Add("Cache-Control", "no-store")
		header.Add("Content-Range", "bytes */"+size)
		x.Response.Status = http.StatusRequestedRangeNotSatisfiable
		return true
	case some:
		header.Add("Content-Range", "bytes "+strconv.Itoa(start)+"-"+strconv.Itoa(end-1)+"/"+size)
		x.Response.Status, x.Response.Length = http.StatusPartialContent, int64(end-start)
		x.Response.Body = exchange.NewBody(a.body[start:end])
		return true
	}
	return false
}
