package ratelimit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

type limiter struct {
	Config
	log    *slog.Logger
	parts  []part
	by     string
	costs  map[string]int64 // by method
	usual  *tier
	others map[string]*tier // by consumer; nil is no limit
	redis  *store.Redis     // nil: in memory
	told   bool             // clients are, by RateLimit
}

// OnRequest takes one request from the client's quota.
func (f *limiter) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Shadow {
		x.NotAsked("how much of the limit is used")
		return filter.Next
	}
	t := f.usual
	if len(f.others) > 0 && x.Consumer != "" {
		if other, ok := f.others[x.Consumer]; ok {
			t = other
		}
	}
	if t == nil {
		return filter.Next
	}
	cost := int64(f.Cost)
	if len(f.costs) > 0 {
		if c, ok := f.costs[x.Request.Method]; ok {
			cost = c
		}
	}
	var room [256]byte
	key := keyed(room[:0], f.parts, x, f.IPv6Prefix)
	if t.shared == nil {
		return f.decide(x, t, t.memory.Take(key, cost))
	}
	if taken, ok := t.shared.Try(key, cost); ok {
		return f.decide(x, t, taken)
	}
	return f.ask(x, t, key, cost)
}

// ask lets Redis decide, and on_store_error if it cannot.
func (f *limiter) ask(x *exchange.Exchange, t *tier, key []byte, cost int64) filter.Verdict {
	err := store.ErrRedisDown
	if t.shared.Ready() {
		var taken store.Taken
		copied := bytes.Clone(key)
		err = x.Await(func(ctx context.Context) (err error) {
			taken, err = t.shared.Take(ctx, copied, cost)
			return err
		})
		if err == nil {
			return f.decide(x, t, taken)
		}
		if cause := x.Ended(); cause != nil {
			return filter.Refuse(&exchange.Fault{Source: exchange.FromClient, Status: 499, Code: "client-gone",
				Title: "Client went away", Close: true, Err: cause})
		}
	}
	f.redis.Missed(f.OnStoreError, f.log, err)
	switch f.OnStoreError {
	case "open":
		return filter.Next
	case "closed":
		return filter.Refuse(&exchange.Fault{Source: exchange.FromSelf, Status: 503, Code: "limit-unknown",
			Title: "Limit cannot be checked", Detail: "the store of the rate limit cannot be asked at the moment",
			RetryAfter: time.Second, Err: err})
	}
	return f.decide(x, t, t.memory.Take(key, cost))
}

func (f *limiter) decide(x *exchange.Exchange, t *tier, taken store.Taken) filter.Verdict {
	if f.told || f.Legacy != "off" {
		x.Keep(newTold(t.answers, &taken))
	}
	if taken.OK {
		return filter.Next
	}
	return filter.Refuse(refusal(t.limits[taken.By], taken.Retry))
}

// OnResponse tells the client, on whatever answer it gets, the 429 included.
func (f *limiter) OnResponse(x *exchange.Exchange) {
	k, ok := x.Kept().(*told)
	if !ok {
		return
	}
	if f.told {
		k.write(&x.Response.Header)
	}
	if f.Legacy != "off" {
		k.legacy(&x.Response.Header, f.Legacy, time.Now())
	}
}

// Done gives back what OnRequest took from the pool.
func (f *limiter) Done(x *exchange.Exchange) {
	if k, ok := x.Kept().(*told); ok {
		x.Keep(nil)
		k.free()
	}
}

func refusal(l store.Limit, retry time.Duration) *exchange.Fault {
	wait := max(1, seconds(retry))
	return &exchange.Fault{
		Source:     exchange.FromPolicy,
		Status:     429,
		Code:       "rate-limited",
		Title:      "Too many requests",
		Detail:     fmt.Sprintf("more than %d requests per %s; the next is let through in %d s", l.Requests, exchange.ShortDuration(l.Window), wait),
		RetryAfter: time.Duration(wait) * time.Second,
		Proxy:      "http_request_denied",
	}
}

// Explain says what is limited, in one line.
func (f *limiter) Explain() string {
	text := "no limit"
	if f.usual != nil {
		text = describe(f.usual.limits, f.Algorithm)
	}
	text += ", by " + f.by
	if n := len(f.others); n > 0 {
		text += fmt.Sprintf("; %d consumers have limits of their own", n)
	}
	if f.redis != nil {
		text += fmt.Sprintf("; counted in redis %s, %s when it cannot be asked", f.redis.Name(), f.OnStoreError)
	}
	return text
}

func describe(limits []store.Limit, algorithm string) string {
	list := make([]string, len(limits))
	for i, l := range limits {
		list[i] = fmt.Sprintf("%d requests per %s", l.Requests, exchange.ShortDuration(l.Window))
		if algorithm == string(store.GCRA) {
			list[i] += fmt.Sprintf(", burst %d", l.Burst)
		}
	}
	text := strings.Join(list, " and ")
	if algorithm != string(store.GCRA) {
		text += ", " + algorithm
	}
	return text
}
