package cache

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// serve answers x with what is kept; request has the client's own conditions.
// Without fwd, why it was forwarded nevertheless, it is a hit.
func (f *cache) serve(x *exchange.Exchange, h *held, request *exchange.Fields, saw saw, now time.Time, fwd, detail string) {
	h.Touch()
	a := h.Value
	line := a.lineAt(now)
	info := line.status
	if fwd != "" {
		info = "lintel; fwd=" + fwd + "; ttl=" + strconv.FormatInt(line.ttl, 10)
	}
	if line.ttl < 0 {
		f.stale.Add(1)
	}
	if detail != "" {
		info += "; detail=" + detail
	}
	unmodified := saw&sawCondition != 0 && a.unmodified(request)
	x.DropResponse()
	header := &x.Response.Header
	header.Replace(&a.header)
	header.Add("Age", line.ageText)
	f.say(x, info)
	if unmodified {
		header.Filter(about304)
		x.Response.Status = http.StatusNotModified
		return
	}
	if saw&sawRange != 0 && a.servePart(x, request) {
		return
	}
	x.Response.Status = a.status
	x.Response.Length = int64(len(a.body))
	if len(a.body) > 0 && x.Request.Method != http.MethodHead {
		x.Response.Body = exchange.NewBody(a.body)
	}
}

// about304 keeps what a 304 says again (RFC 9110 section 15.4.5): not what
// describes a body it does not have.
func about304(name, _ string) bool {
	return !content(name) && !is(name, "Content-Language") && !is(name, "Content-Disposition")
}

// say appends this hop to Cache-Status (RFC 9211 section 2).
func (f *cache) say(x *exchange.Exchange, info string) {
	x.CacheInfo = info
	if f.ShowKey {
		info += keyParam(f, &x.Request)
	}
	x.Response.Header.Add("Cache-Status", info)
}

// keyParam tells the URL an answer is kept by, as a String (RFC 9651 section
// 3.3.3).
func keyParam(f *cache, r *exchange.Request) string {
	query := thinned(r.Query, f.IgnoreQuery)
	if query != "" {
		query = "?" + query
	}
	var b strings.Builder
	b.WriteString(`; key="`)
	for _, c := range []byte(r.Scheme + "://" + r.Authority + r.Path + query) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		}
	}
	return b.String() + `"`
}

// OnResponse stores what the service answered, or gives what is kept in its
// place. Answers of filters and faults are left alone.
func (f *cache) OnResponse(x *exchange.Exchange) {
	v, ok := x.Kept().(*visit)
	if !ok || v.served {
		return
	}
	if x.Fault != nil || x.Rescued != nil || x.Attempts == 0 { // Rescued: a configured answer, not the service's
		f.land(v, true)
		f.settle(x, v, false)
		return
	}
	if !v.lookup {
		f.passed(x, v)
	} else {
		f.answered(x, v)
	}
	if !v.served {
		f.untag(&x.Response.Header)
	}
}

// answered is what a looked-up exchange comes to.
func (f *cache) answered(x *exchange.Exchange, v *visit) {
	status, now := x.Response.Status, f.now()
	info := "lintel; fwd=" + v.fwd
	if v.fwd != "miss" {
		info += "; fwd-status=" + strconv.Itoa(status)
	}
	switch {
	case v.validating && status == http.StatusNotModified:
		f.validated(x, v, now)
		f.land(v, false)
		f.settle(x, v, true)
		return
	case v.held != nil && failed(status) && f.tolerates(v.held.Value, v.ifError, now):
		v.served = true
		x.Rescued = &exchange.Fault{Source: exchange.FromUpstream, Status: status, Title: "Service failed"} // only told: it is not given
		f.serve(x, v.held, &v.request, v.saw, now, info[len("lintel; fwd="):], "stale-if-error")
		f.land(v, true)
		f.settle(x, v, false)
		return
	}
	a, user, why := f.storable(x, v, now)
	if a == nil {
		if v.held != nil && v.store && (status < 300 || status == http.StatusNotFound || status == http.StatusGone) {
			f.drop(v) // the service says something else now
		}
		if v.held != nil && x.Request.Method == http.MethodHead && status == http.StatusOK {
			f.compared(x, v, now)
		}
		if why != "" {
			info += "; detail=" + why
		}
		f.say(x, info)
		if status < 500 && status != http.StatusNotModified && status != http.StatusPartialContent {
			f.part(v)
		} else {
			f.land(v, false)
		}
		f.settle(x, v, false)
		return
	}
	f.say(x, info+"; stored")
	f.collect(x, v, a, user)
	f.settle(x, v, true)
}

// OnFault gives a stale answer when the service cannot (RFC 5861 section 4, as
// far as stale_if_error goes). A refusal by a filter stays one.
func (f *cache) OnFault(x *exchange.Exchange, fault *exchange.Fault) bool {
	v, ok := x.Kept().(*visit)
	if !ok || !v.lookup || v.held == nil || fault.Source != exchange.FromUpstream {
		return false
	}
	now := f.now()
	if !f.tolerates(v.held.Value, v.ifError, now) {
		return false
	}
	f.serve(x, v.held, &v.request, v.saw, now, v.fwd, "stale-if-error")
	v.served = true
	f.land(v, true)
	return true
}

// failed are the statuses that stale-if-error speaks of (RFC 5861 section 4).
func failed(status int) bool {
	return status == 500 || status == 502 || status == 503 || status == 504
}
