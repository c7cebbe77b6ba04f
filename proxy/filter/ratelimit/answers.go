package ratelimit

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// answers spells the two fields of draft-ietf-httpapi-ratelimit-headers-10 for
// one limit:
//
//	RateLimit-Policy: "name";q=100;w=60
//	RateLimit: "name";r=50;t=30
//
// q requests per w seconds; r may be made now; t is the seconds until the whole
// burst is there again, or, when r is 0, until the next request is let through,
// the same point in time as Retry-After.
//
// Under one policy the same few hundred values come again and again, so the
// latest spelling of each is kept.
type answers struct {
	policy string
	prefix string // `"name";r=`
	limit  string // q
	recent [1024]atomic.Pointer[answer]
}

type answer struct {
	remaining, seconds int64
	text               string // of RateLimit
	left, wait         string // r and t
}

func newAnswers(name string, l store.Limit) *answers {
	limit := strconv.FormatInt(l.Requests, 10)
	policy := `"` + name + `";q=` + limit
	if l.Window%time.Second == 0 { // w counts whole seconds and is optional
		policy += ";w=" + strconv.FormatInt(int64(l.Window/time.Second), 10)
	}
	return &answers{policy: policy, prefix: `"` + name + `";r=`, limit: limit}
}

func (a *answers) of(q store.Quota) *answer {
	wait := q.Full
	if q.Remaining == 0 {
		wait = q.Retry
	}
	r, s := q.Remaining, seconds(wait)
	place := &a.recent[uint64(r*31+s)%uint64(len(a.recent))]
	if found := place.Load(); found != nil && found.remaining == r && found.seconds == s {
		return found
	}
	b := append(make([]byte, 0, 96), a.prefix...)
	from := len(b)
	b = strconv.AppendInt(b, r, 10)
	to := len(b)
	b = append(b, ";t="...)
	b = strconv.AppendInt(b, s, 10)
	text := string(b)
	made := &answer{r, s, text, text[from:to], text[to+len(";t="):]}
	place.Store(made)
	return made
}

// told is what an exchange's client is told. One goes back to the pool when the
// exchange is over; what it pointed to stays.
type told struct {
	tier *tier
	each [store.MaxLimits]*answer
	by   int // the limit with least left
}

var tolds = sync.Pool{New: func() any { return new(told) }}

// newTold picks the answers. A refused request is told what it waits for.
func newTold(t *tier, taken *store.Taken) *told {
	k := tolds.Get().(*told)
	k.tier, k.by = t, taken.By
	for i := range t.limits {
		q := taken.Each[i]
		if !taken.OK && i == taken.By {
			q.Remaining, q.Retry = 0, max(q.Retry, taken.Retry)
		}
		k.each[i] = t.answers[i].of(q)
	}
	return k
}

func (k *told) free() {
	*k = told{}
	tolds.Put(k)
}

// write adds a line per limit: both fields are lists, and several lines are one
// list. So what the service or another limit says stands beside it.
func (k *told) write(h *exchange.Fields) {
	for i, a := range k.tier.answers {
		h.Add("RateLimit-Policy", a.policy)
		h.Add("RateLimit", k.each[i].text)
	}
}

// legacy sets the fields of old, which know one limit only.
func (k *told) legacy(h *exchange.Fields, form string, now time.Time) {
	a := k.each[k.by]
	reset := a.wait
	if form == "epoch" {
		reset = strconv.FormatInt(now.Unix()+a.seconds, 10)
	}
	h.Set("X-RateLimit-Limit", k.tier.answers[k.by].limit)
	h.Set("X-RateLimit-Remaining", a.left)
	h.Set("X-RateLimit-Reset", reset)
}

// seconds rounds up: who waits that long has waited long enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
