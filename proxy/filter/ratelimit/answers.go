package ratelimit

import (
	"strconv"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/store"
)

// answers spells the two fields of draft-ietf-httpapi-ratelimit-headers-10:
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
	recent [1024]atomic.Pointer[answer]
}

type answer struct {
	remaining, seconds int64
	text               string
}

func newAnswers(name string, requests int, window time.Duration) *answers {
	policy := `"` + name + `";q=` + strconv.Itoa(requests)
	if window%time.Second == 0 { // w counts whole seconds and is optional
		policy += ";w=" + strconv.FormatInt(int64(window/time.Second), 10)
	}
	return &answers{policy: policy, prefix: `"` + name + `";r=`}
}

func (a *answers) of(t store.Taken) *answer {
	wait := t.Full
	if t.Remaining == 0 {
		wait = t.Retry
	}
	r, s := t.Remaining, seconds(wait)
	place := &a.recent[uint64(r*31+s)%uint64(len(a.recent))]
	if found := place.Load(); found != nil && found.remaining == r && found.seconds == s {
		return found
	}
	b := append(make([]byte, 0, 96), a.prefix...)
	b = strconv.AppendInt(b, r, 10)
	b = append(b, ";t="...)
	b = strconv.AppendInt(b, s, 10)
	made := &answer{r, s, string(b)}
	place.Store(made)
	return made
}

// seconds rounds up: who waits that long has waited long enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
