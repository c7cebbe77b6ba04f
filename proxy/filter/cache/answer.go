package cache

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"lintel.dev/lintel/proxy/exchange"
)

// answer is a stored response. It is never changed: freshening makes another.
type answer struct {
	status   int
	header   exchange.Fields // end-to-end fields, without Age; copies
	body     []byte
	etag     string
	modified time.Time // Last-Modified, else when it was made
	lastMod  string    // Last-Modified as sent
	vary     []exchange.Field
	claims   string // of the request, as appendClaims spells them: like vary
	tags     []string
	date     time.Time

	born time.Time     // now minus this is the current age (RFC 9111 section 4.2.3)
	life time.Duration // freshness lifetime (section 4.2.1)

	always bool // no-cache: validate before every use
	must   bool // must-revalidate, proxy-revalidate or s-maxage: never stale
	open   bool // explicitly for a shared cache, also when asked with credentials

	// How long past its life it may be given while it is renewed, and when the
	// service fails; -1 when the service does not say.
	whileRevalidate, ifError time.Duration

	line atomic.Pointer[line]
}

// line is what a hit says of the answer's age; it holds for one second.
type line struct {
	age, ttl int64
	ageText  string
	status   string
}

func (a *answer) age(now time.Time) time.Duration { return max(0, now.Sub(a.born)) }

// left is how much longer it is fresh, negative once it is stale.
func (a *answer) left(now time.Time) time.Duration { return a.life - a.age(now) }

// lineAt spells Age and Cache-Status of a hit.
func (a *answer) lineAt(now time.Time) *line {
	age, left := a.age(now), a.left(now)
	secs, ttl := int64(age/time.Second), int64(left/time.Second)
	if l := a.line.Load(); l != nil && l.age == secs && l.ttl == ttl {
		return l
	}
	l := &line{secs, ttl, strconv.FormatInt(secs, 10), "lintel; hit; ttl=" + strconv.FormatInt(ttl, 10)}
	a.line.Store(l)
	return l
}

// matches reports whether the answer may be given to a request with these
// fields (RFC 9111 section 4.1).
func (a *answer) matches(request *exchange.Fields) bool {
	for i := range a.vary {
		if request.Joined(a.vary[i].Name) != a.vary[i].Value {
			return false
		}
	}
	return true
}

// sameVariant reports whether old was chosen by the same request fields, so
// that a replaces it.
func (a *answer) sameVariant(old *answer) bool {
	if a.claims != old.claims || len(a.vary) != len(old.vary) {
		return false
	}
	for i := range a.vary {
		if !is(a.vary[i].Name, old.vary[i].Name) || a.vary[i].Value != old.vary[i].Value {
			return false
		}
	}
	return true
}

// size is the bytes it holds on to, none of it too low.
func (a *answer) size() int64 {
	// The allocator rounds small blocks up by at most an eighth, large ones to a page.
	body := int64(cap(a.body))
	n := int64(unsafe.Sizeof(*a)) + body + min(body/8, 8192) + int64(len(a.etag)+len(a.lastMod)+len(a.claims)+len(a.claims)/8) + 128 // the line
	for name, value := range a.header.All() {
		n += int64(len(name)+len(value)) + fieldCost
	}
	for _, f := range a.vary {
		n += int64(len(f.Name)+len(f.Value)) + fieldCost
	}
	for _, t := range a.tags {
		n += int64(len(t)/8) + 32 // the store counts their bytes
	}
	return n
}

// fieldCost is a Field and what the allocator rounds its two strings up by.
const fieldCost = int64(unsafe.Sizeof(exchange.Field{})) + 32

// hop are the fields that are about one connection or one exchange (RFC 9110
// section 7.6.1, RFC 9111 section 3.1), and Age, which is computed.
var hop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authentication-Info",
	"Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Age",
	"RateLimit", "RateLimit-Policy", "X-Request-ID", "Traceresponse", "Proxy-Status", "Txn-Token",
}

// keepable copies those fields of h that may be stored.
func (f *cache) keepable(h *exchange.Fields, c *control) exchange.Fields {
	var kept exchange.Fields
	for name, value := range h.All() {
		if !about(name) && !h.HasToken("Connection", name) && !c.leavesOut(name) && (f.KeepTags || !f.tagged(name)) {
			kept.Add(strings.Clone(name), strings.Clone(value))
		}
	}
	return kept
}

// about reports whether the field is about the connection or exchange only.
func about(name string) bool {
	for _, n := range hop {
		if is(n, name) {
			return true
		}
	}
	return false
}

// newAnswer reads status, validators and times of a stored header.
func newAnswer(status int, header exchange.Fields, f freshness) *answer {
	a := &answer{
		status: status, header: header, born: f.born, life: f.life,
		always: f.always, must: f.must, open: f.open, date: f.date,
		whileRevalidate: f.whileRevalidate, ifError: f.ifError,
		etag: header.Get("ETag"), lastMod: header.Get("Last-Modified"),
	}
	if !validTag(a.etag) {
		a.etag = ""
	}
	a.modified = f.date
	if t, err := http.ParseTime(a.lastMod); err == nil {
		a.modified = t
	} else {
		a.lastMod = ""
	}
	return a
}

// content reports whether the field describes the bytes of the body, which a
// 304 cannot change.
func content(name string) bool {
	return is(name, "Content-Encoding") || is(name, "Content-Type") || is(name, "Content-Range") || is(name, "Content-Length")
}
