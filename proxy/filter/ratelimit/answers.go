package ratelimit

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// answers spells the two fields of draft-ietf-httpapi-ratelimit-headers-10 for
// the limits of a tier:
//
//	RateLimit-Policy: "name";q=100;w=60
//	RateLimit: "name";r=50;t=30
//
// q requests per w seconds; r may be made now; t is the seconds until the whole
// burst is there again, or, when r is 0, until the next request is let through,
// the same point in time as Retry-After. Both are lists with a member per limit.
type answers struct {
	policy string
	names  []string // `"name";r=`
	limits []string // q
}

func newAnswers(limits []store.Limit, name func(store.Limit) string) *answers {
	a := &answers{}
	var policies []string
	for _, l := range limits {
		quoted, q := `"`+name(l)+`"`, strconv.FormatInt(l.Requests, 10)
		policy := quoted + ";q=" + q
		if l.Window%time.Second == 0 { // w counts whole seconds and is optional
			policy += ";w=" + strconv.FormatInt(int64(l.Window/time.Second), 10)
		}
		policies = append(policies, policy)
		a.names, a.limits = append(a.names, quoted+";r="), append(a.limits, q)
	}
	a.policy = strings.Join(policies, ", ")
	return a
}

// told is what an exchange's client is told. It goes back to the pool when the
// exchange is over.
type told struct {
	answers *answers
	taken   store.Taken
	text    []byte
}

var tolds = sync.Pool{New: func() any { return new(told) }}

func newTold(a *answers, taken *store.Taken) *told {
	k := tolds.Get().(*told)
	k.answers, k.taken = a, *taken
	if q := &k.taken.Each[taken.By]; !taken.OK { // it waits for as much as it costs
		q.Remaining, q.Retry = 0, max(q.Retry, taken.Retry)
	}
	return k
}

func (k *told) free() {
	k.answers = nil
	tolds.Put(k)
}

// write adds both fields beside what the service or another limit says.
func (k *told) write(h *exchange.Fields) {
	b := k.text[:0]
	for i, name := range k.answers.names {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, name...)
		b = strconv.AppendInt(b, k.taken.Each[i].Remaining, 10)
		b = append(b, ";t="...)
		b = strconv.AppendInt(b, reset(k.taken.Each[i]), 10)
	}
	k.text = b
	h.Add("RateLimit-Policy", k.answers.policy)
	h.Add("RateLimit", h.Own(b))
}

// legacy sets the fields of old, which know one limit only.
func (k *told) legacy(h *exchange.Fields, form string, now time.Time) {
	q := k.taken.Each[k.taken.By]
	at := reset(q)
	if form == "epoch" {
		at += now.Unix()
	}
	h.Set("X-RateLimit-Limit", k.answers.limits[k.taken.By])
	k.text = strconv.AppendInt(k.text[:0], q.Remaining, 10)
	h.Set("X-RateLimit-Remaining", h.Own(k.text))
	k.text = strconv.AppendInt(k.text[:0], at, 10)
	h.Set("X-RateLimit-Reset", h.Own(k.text))
}

func reset(q store.Quota) int64 {
	if q.Remaining == 0 {
		return seconds(q.Retry)
	}
	return seconds(q.Full)
}

// seconds rounds up: who waits that long has waited long enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
