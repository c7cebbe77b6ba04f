package ratelimit

import (
	"fmt"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

type limiter struct {
	limits  *store.Limits
	limit   store.Limit
	parts   []part
	v6      int
	by      string
	answers *answers // nil: clients are not told
}

// OnRequest takes one request from the client's quota.
func (f *limiter) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Shadow {
		x.NotAsked("how much of the limit is used")
		return filter.Next
	}
	var room [256]byte
	key := room[:0]
	for _, p := range f.parts {
		key = p.appendTo(key, x, f.v6)
	}
	taken := f.limits.Take(key)
	if f.answers != nil {
		x.Keep(f.answers.of(taken))
	}
	if taken.OK {
		return filter.Next
	}
	return filter.Refuse(f.refusal(taken))
}

// OnResponse tells the client, on whatever answer it gets, the 429 included.
// What the service or another limit says stands beside it: both fields are
// lists, and several lines are one list.
func (f *limiter) OnResponse(x *exchange.Exchange) {
	a, ok := x.Kept().(*answer)
	if !ok {
		return
	}
	x.Response.Header.Add("RateLimit-Policy", f.answers.policy)
	x.Response.Header.Add("RateLimit", a.text)
}

func (f *limiter) refusal(t store.Taken) *exchange.Fault {
	wait := max(1, seconds(t.Retry))
	return &exchange.Fault{
		Source:     exchange.FromPolicy,
		Status:     429,
		Code:       "rate-limited",
		Title:      "Too many requests",
		Detail:     fmt.Sprintf("more than %d requests per %s; the next is let through in %d s", f.limit.Requests, short(f.limit.Window), wait),
		RetryAfter: time.Duration(wait) * time.Second,
		Proxy:      "http_request_denied",
	}
}

// Explain says what is limited, in one line.
func (f *limiter) Explain() string {
	return fmt.Sprintf("%d requests per %s, burst %d, by %s", f.limit.Requests, short(f.limit.Window), f.limit.Burst, f.by)
}
