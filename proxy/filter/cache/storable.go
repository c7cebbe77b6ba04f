package cache

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// judge says how long an answer is good for, and why it may not be stored as far
// as its status and fields go (RFC 9111 section 3), "" when it may.
func (f *cache) judge(h *exchange.Fields, age string, status int, asked, got time.Time) (fr freshness, why string) {
	fr = freshnessOf(h, f.Targets, age, asked, got)
	known := slices.Contains(understood, status)
	if fr.mustUnderstand && known {
		fr.noStore = false // RFC 9111 section 5.2.2.3
	}
	guessed := false
	if f.Heuristic > 0 && !fr.said && !fr.noCache && !f.Override {
		fr.life = fr.guess(h.Get("Last-Modified"), f.Heuristic)
		guessed = fr.life > 0
	}
	forced := f.TTL > 0 && !guessed && (f.Override || !fr.said && !fr.noCache)
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
	switch {
	case fr.noStore:
		why = "no-store"
	case fr.private:
		why = "private"
	case !slices.Contains(listed, status), fr.mustUnderstand && !known:
		why = "status"
	case h.Has("Set-Cookie") && !fr.leavesOut("Set-Cookie"):
		why = "set-cookie"
	case h.Has("Content-Range"), h.Has("Trailer"):
		why = "partial"
	case !fr.said && !forced && !guessed && !fr.always:
		why = "no-lifetime"
	case !validatable && (fr.life <= 0 && fr.whileRevalidate <= 0 && fr.ifError <= 0 || fr.always):
		why = "no-validator" // it could never be used
	}
	return fr, why
}

// storable makes the answer to keep and says for whom; nil when there is none to
// keep, and why.
func (f *cache) storable(x *exchange.Exchange, v *visit, now time.Time) (a *answer, user []byte, why string) {
	r := &x.Response
	switch {
	case !v.store:
		return nil, nil, ""
	case r.Tunnel != nil:
		return nil, nil, "upgrade"
	case r.Length > f.MaxObject:
		return nil, nil, "too-large"
	case !f.typed(r.Header.Get("Content-Type")):
		return nil, nil, "content-type"
	}
	fr, why := f.judge(&r.Header, r.Header.Get("Age"), r.Status, v.asked, now)
	if why != "" {
		return nil, nil, why
	}
	vary, ok := f.varying(&r.Header, &v.request)
	if !ok {
		return nil, nil, "vary"
	}
	tags, ok := f.tagsOf(&r.Header)
	if !ok {
		return nil, nil, "tags"
	}
	fr.open = fr.open && knowable(vary, &v.request)
	switch {
	case !v.creds && !named(x), f.share && fr.open: // known only now: by a filter behind this one
	case f.perUser && len(v.user) > 0:
		user = v.user
	default:
		return nil, nil, "credentials"
	}
	header := f.keepable(&r.Header, &fr.control)
	if !header.Has("Date") {
		header.Add("Date", now.UTC().Format(http.TimeFormat))
	}
	a = newAnswer(r.Status, header, fr)
	a.vary, a.claims, a.tags = vary, v.claims, tags
	return a, user, ""
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
