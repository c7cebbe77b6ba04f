package cache

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// serve answers x with what is kept; request has the client's own conditions.
// An empty info is a plain hit.
func (f *cache) serve(x *exchange.Exchange, h *held, request *exchange.Fields, now time.Time, info string) {
	h.Touch()
	a := h.Value
	line := a.lineAt(now)
	if info == "" {
		info = line.status
	} else {
		info += "; ttl=" + strconv.FormatInt(line.ttl, 10)
	}
	unmodified := a.unmodified(request)
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
	x.Response.Header.Add("Cache-Status", info)
}

// OnResponse stores what the service answered, or gives what is kept in its
// place. Answers of filters and faults are left alone.
func (f *cache) OnResponse(x *exchange.Exchange) {
	v, ok := x.Kept().(*visit)
	if !ok || v.served {
		return
	}
	if x.Fault != nil || x.Attempts == 0 {
		f.land(v)
		return
	}
	status, now := x.Response.Status, f.now()
	if !v.lookup {
		if v.unsafe && status >= 200 && status < 400 {
			f.responses.Invalidate(v.uri)
		}
		f.say(x, "lintel; fwd="+v.fwd)
		return
	}
	info := "lintel; fwd=" + v.fwd
	if v.fwd != "miss" {
		info += "; fwd-status=" + strconv.Itoa(status)
	}
	switch {
	case v.validating && status == http.StatusNotModified:
		f.validated(x, v, now, info)
		f.land(v)
		return
	case v.held != nil && failed(status) && f.tolerates(v.held.Value, now):
		f.serve(x, v.held, &v.request, now, info)
		v.served = true
		f.land(v)
		return
	}
	a, user := f.storable(x, v, now)
	if a == nil {
		if v.held != nil && v.store && (status < 300 || status == http.StatusNotFound || status == http.StatusGone) {
			f.responses.Remove(v.held) // the service says something else now
		}
		f.say(x, info)
		f.land(v)
		return
	}
	f.say(x, info+"; stored")
	f.collect(x, v, a, user)
}

// OnFault gives a stale answer when the service cannot (RFC 5861 section 4, as
// far as stale_if_error goes). A refusal by a filter stays one.
func (f *cache) OnFault(x *exchange.Exchange, fault *exchange.Fault) bool {
	v, ok := x.Kept().(*visit)
	if !ok || !v.lookup || v.held == nil || fault.Source != exchange.FromUpstream {
		return false
	}
	now := f.now()
	if !f.tolerates(v.held.Value, now) {
		return false
	}
	f.serve(x, v.held, &v.request, now, "lintel; fwd="+v.fwd+"; detail=stale-if-error")
	v.served = true
	f.land(v)
	return true
}

// failed are the statuses that stale-if-error speaks of (RFC 5861 section 4).
func failed(status int) bool {
	return status == 500 || status == 502 || status == 503 || status == 504
}

// validated keeps and gives what the service just confirmed (RFC 9111 sections
// 4.3.3 and 4.3.4).
func (f *cache) validated(x *exchange.Exchange, v *visit, now time.Time, info string) {
	old, said := v.held.Value, &x.Response.Header
	tag := said.Get("ETag")
	header := old.freshened(said, now)
	fr, keep := f.judge(&header, said.Get("Age"), old.status, v.asked, now)
	fr.open = fr.open && knowable(old.vary, &v.request)
	if tag != "" && old.etag != "" && !tagListed(tag, old.etag) {
		keep = false // it confirmed something else than we asked about
	}
	if v.held.User() == "" && v.creds && !fr.open {
		keep = false // it is not for everybody any more
	}
	a := newAnswer(old.status, header, fr)
	a.body, a.vary, a.claims = old.body, old.vary, old.claims
	if !keep {
		f.responses.Remove(v.held)
	} else if f.responses.Put(v.uri, []byte(v.held.User()), a, a.size(), v.epoch, a.sameVariant) {
		info += "; stored"
	}
	v.served = true
	f.serve(x, &held{Value: a}, &v.request, now, info)
}

// judge says how long an answer is good for, and whether it may be stored at
// all as far as its status and fields go (RFC 9111 section 3).
func (f *cache) judge(h *exchange.Fields, age string, status int, asked, got time.Time) (freshness, bool) {
	fr := freshnessOf(h, age, asked, got)
	forced := f.TTL > 0 && (f.Override || !fr.said && !fr.noCache)
	if forced {
		fr.life, fr.born = f.TTL, got
	}
	listed := understood
	switch {
	case len(f.Statuses) > 0:
		listed = f.Statuses
	case forced:
		listed = understood[:1] // 200
	}
	validatable := h.Has("ETag") || h.Has("Last-Modified")
	reusable := validatable || fr.life > 0 && !fr.always
	ok := !fr.noStore && !fr.private && slices.Contains(listed, status) && (fr.said || forced || fr.always) && reusable &&
		!h.Has("Set-Cookie") && !h.Has("Content-Range") && !h.Has("Trailer")
	return fr, ok
}

// storable makes the answer to keep and says for whom, nil when there is none
// to keep.
func (f *cache) storable(x *exchange.Exchange, v *visit, now time.Time) (*answer, []byte) {
	r := &x.Response
	if !v.store || r.Tunnel != nil || r.Length > f.MaxObject || !f.typed(r.Header.Get("Content-Type")) {
		return nil, nil
	}
	fr, ok := f.judge(&r.Header, r.Header.Get("Age"), r.Status, v.asked, now)
	if !ok {
		return nil, nil
	}
	vary, ok := f.varying(&r.Header, &v.request)
	if !ok {
		return nil, nil
	}
	var user []byte
	fr.open = fr.open && knowable(vary, &v.request)
	switch {
	case !v.creds, f.share && fr.open:
	case f.perUser && len(v.user) > 0:
		user = v.user
	default:
		return nil, nil
	}
	header := keepable(&r.Header)
	if !header.Has("Date") {
		header.Add("Date", now.UTC().Format(http.TimeFormat))
	}
	a := newAnswer(r.Status, header, fr)
	a.vary, a.claims = vary, v.claims
	return a, user
}

// maxVary bounds the fields one answer may vary by.
const maxVary = 16

// varying lists the request fields that chose the answer; not ok when nothing
// in the request says what did (RFC 9111 section 4.1).
func (f *cache) varying(h, request *exchange.Fields) (vary []exchange.Field, ok bool) {
	add := func(name string) {
		if name == "" || slices.ContainsFunc(vary, func(o exchange.Field) bool { return is(o.Name, name) }) {
			return
		}
		vary = append(vary, exchange.Field{Name: strings.Clone(name), Value: strings.Clone(request.Joined(name))})
	}
	for name, value := range h.All() {
		if !is(name, "Vary") {
			continue
		}
		for one := range strings.SplitSeq(value, ",") {
			if one = trim(one); one == "*" {
				return nil, false
			}
			add(one)
		}
	}
	for _, name := range f.Vary {
		add(name)
	}
	return vary, len(vary) <= maxVary
}

// neutral are fields that clients send about themselves and that nobody's
// identity is turned into on the way to the service.
var neutral = [...]string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Origin", "User-Agent", "Referer",
	"Access-Control-Request-Method", "Access-Control-Request-Headers", "Save-Data", "Prefer",
	"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site",
}

// knowable reports whether all that chose the answer stood in the request as it
// came. A service that varies by Authorization, which a filter took off, or by
// X-User-Id, which is added later, tells users apart in a way the request
// fields do not show here.
func knowable(vary []exchange.Field, request *exchange.Fields) bool {
	for _, f := range vary {
		if !request.Has(f.Name) && !slices.ContainsFunc(neutral[:], func(n string) bool { return is(n, f.Name) }) {
			return false
		}
	}
	return true
}

// typed reports whether answers of that content type are stored.
func (f *cache) typed(contentType string) bool {
	if len(f.ContentTypes) == 0 {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = trim(media)
	return slices.ContainsFunc(f.ContentTypes, func(want string) bool {
		if all, ok := strings.CutSuffix(want, "*"); ok && strings.HasSuffix(all, "/") {
			return len(media) >= len(all) && is(media[:len(all)], all)
		}
		return is(want, media)
	})
}
