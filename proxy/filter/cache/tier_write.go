package cache

import "time"

// errand is something to be written behind the client's back. Errands for one
// URI are done in their order.
type errand struct {
	uri, user []byte
	a         *answer
	page      page
	ttl       time.Duration // 0: delete it
	bytes     int64
}

const (
	// stillGood is how long past all that an answer with a validator is kept: as
	// long as it was fresh, and at most so long.
	stillGood = time.Hour
	// markerLasts is how long it is known what answers to a URI vary by.
	markerLasts = 24 * time.Hour
	maxTTL      = 7 * 24 * time.Hour
	minTTL      = time.Second
)

// lasts is how long an answer may be of use.
func (f *cache) lasts(a *answer, now time.Time) time.Duration {
	past := max(a.window(a.whileRevalidate, f.StaleWhileRevalidate), a.window(a.ifError, f.StaleIfError))
	if a.validatable() {
		past = max(past, min(a.life, stillGood))
	}
	return min(a.left(now)+past, maxTTL)
}

// shareOut has an answer written that memory keeps.
func (t *tier) shareOut(f *cache, v *visit, user []byte, a *answer) {
	ttl := f.lasts(a, f.now())
	if v.page.seq == 0 || ttl < minTTL || int64(len(a.body)) > t.maxObject || a.header.Len() > maxFields {
		return
	}
	t.send(errand{uri: v.uri, user: user, a: a, page: v.page, ttl: ttl, bytes: a.size()})
}

// send queues an errand, or drops it when there is no room or Redis is down.
func (t *tier) send(e errand) {
	if !t.ready(time.Now()) {
		t.dropped.Add(1)
		return
	}
	if t.queued.Add(e.bytes) > maxQueued {
		t.queued.Add(-e.bytes)
		t.dropped.Add(1)
		return
	}
	line := uint(0)
	for _, c := range e.uri {
		line = line*31 + uint(c)
	}
	select {
	case t.lines[line%writers] <- e:
	default:
		t.queued.Add(-e.bytes)
		t.dropped.Add(1)
	}
}

// write does errands.
func (t *tier) write(line <-chan errand) {
	for {
		select {
		case e := <-line:
			if err := t.do(e); err != nil {
				t.stumbled(err)
			}
			t.queued.Add(-e.bytes)
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *tier) do(e errand) error {
	key, digest := t.name(e.uri, e.user, e.a.claims)
	first, firstDigest := key, digest
	if len(e.a.vary) > 0 {
		key, digest = t.name(e.uri, e.user, e.a.claims, e.a.vary...)
	}
	if e.ttl == 0 {
		return t.redis.Delete(t.ctx, key)
	}
	value := spellAnswer(&digest, e.a, e.page)
	if int64(len(value)) > t.maxObject+maxHead {
		t.dropped.Add(1)
		return nil
	}
	if err := t.redis.Set(t.ctx, key, value, e.ttl); err != nil {
		return err
	}
	t.stored.Add(1)
	if len(e.a.vary) > 0 {
		return t.redis.Set(t.ctx, first, spellVary(&firstDigest, e.a.vary), max(e.ttl, markerLasts))
	}
	return nil
}

// drop forgets what is held, in memory and in the tier.
func (f *cache) drop(v *visit) {
	f.responses.Remove(v.held)
	if f.tier != nil {
		f.tier.send(errand{uri: v.uri, user: []byte(v.held.User()), a: v.held.Value})
	}
}

// forget forgets a URI, here and at all instances.
func (f *cache) forget(uri []byte) {
	if f.tier != nil {
		f.tier.tell(newsURI(uri))
	}
	f.responses.Invalidate(uri)
}
