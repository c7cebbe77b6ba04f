package cache

import (
	"context"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// fetched answers x with what other instances have kept, unless that must be
// confirmed first; then it is held.
func (f *cache) fetched(x *exchange.Exchange, v *visit, want *control) bool {
	if f.tier == nil || v.tiered || v.parted || want.noCache || !f.tier.ready(time.Now()) {
		return false
	}
	v.tiered = true
	if !f.refill(x, v) {
		f.tier.misses.Add(1)
		return false
	}
	f.tier.hits.Add(1)
	now := f.now()
	v.held = f.find(v.uri, v.user, v.creds, []byte(v.claims), &v.request, now)
	if v.held == nil {
		return false
	}
	switch f.usable(v.held.Value, want, now) {
	case yes:
		f.land(v, false)
		f.serve(x, v.held, &v.request, v.saw, now, "", "redis")
		return true
	case renewing:
		f.land(v, false)
		return f.renew(x, v, now, want.onlyIfCached)
	}
	return false
}

// asking is a question to Redis for the answers kept for one user.
type asking struct {
	user   []byte
	key    string
	digest [32]byte
	value  []byte
	err    error
}

// refill moves what Redis has for x to memory, and reports whether that was
// anything. The epoch is read first and the news are looked at last: whatever is
// forgotten meanwhile either is seen there or changes the epoch.
func (f *cache) refill(x *exchange.Exchange, v *visit) (any bool) {
	t, epoch, end := f.tier, f.responses.Epoch(v.uri), time.Now().Add(f.tier.timeout)
	var asks []*asking
	add := func(user []byte, vary ...exchange.Field) {
		a := &asking{user: user}
		a.key, a.digest = t.name(v.uri, user, v.claims, vary...)
		asks = append(asks, a)
	}
	if len(v.user) > 0 && f.perUser {
		add(v.user)
	}
	if !v.creds || f.share {
		add(nil)
	}
	for round := range 2 {
		if len(asks) == 0 || !t.get(x, asks, end) {
			break
		}
		got := asks
		asks = nil
		for _, a := range got {
			if a.value == nil {
				continue
			}
			kind, s, err := readSpelling(a.value, &a.digest)
			switch {
			case err != nil:
			case kind == kindVary && round == 0:
				var names []string
				if names, err = s.vary(); err == nil {
					add(a.user, valuesOf(names, &v.request)...)
				}
			case kind == kindAnswer:
				var one *filed
				if one, err = s.answer(); err == nil && f.admit(v, a.user, one, epoch) {
					any = true
				}
			default:
				err = errSpelling
			}
			if err != nil {
				t.unread.Add(1)
			}
		}
	}
	return any
}

func valuesOf(names []string, request *exchange.Fields) []exchange.Field {
	out := make([]exchange.Field, len(names))
	for i, n := range names {
		out[i] = exchange.Field{Name: n, Value: request.Joined(n)}
	}
	return out
}

// admit puts an answer from Redis in memory, if it is what v asks for and still
// good, and memory has no newer one.
func (f *cache) admit(v *visit, user []byte, one *filed, epoch uint64) bool {
	a := one.answer
	if a.claims != v.claims || !a.matches(&v.request) || a.born.After(f.now().Add(time.Minute)) ||
		int64(len(a.body)) > f.MaxObject || f.tier.news.forgotten(one.page, string(v.uri), a.tags) {
		return false
	}
	for _, h := range f.responses.Variants(v.uri, user) {
		if a.sameVariant(h.Value) && !a.born.After(h.Value.born) {
			return false
		}
	}
	return f.responses.Put(store.Entry[*answer]{URI: v.uri, User: user, Value: a, Size: a.size(), Tags: a.tags,
		Epoch: epoch, Supersedes: a.sameVariant})
}

// get asks Redis, and waits until end.
func (t *tier) get(x *exchange.Exchange, asks []*asking, end time.Time) bool {
	_ = x.Await(func(ctx context.Context) error {
		ctx, cancel := context.WithDeadline(ctx, end)
		defer cancel()
		var others sync.WaitGroup
		for _, a := range asks[1:] {
			others.Go(func() { a.ask(ctx, t) })
		}
		asks[0].ask(ctx, t)
		others.Wait()
		return nil
	})
	ok := true
	for _, a := range asks {
		if a.err != nil {
			t.stumbled(a.err)
			ok = false
		}
	}
	return ok
}

func (a *asking) ask(ctx context.Context, t *tier) {
	a.value, a.err = t.redis.GetUpTo(ctx, a.key, t.maxObject+maxHead)
}
