package cache

import (
	"time"

	"lintel.dev/lintel/proxy/store"
)

// Purged is what came of a purge.
type Purged struct {
	Here   int  // answers that were kept in memory
	Untold bool // the other instances will hear of it once Redis answers
}

// TierStats is how an instance does with a tier in Redis.
type TierStats struct {
	Redis   string `json:"redis"`   // of the configuration
	Ready   bool   `json:"ready"`   // it is asked at the moment
	Hits    int64  `json:"hits"`    // of the requests that memory could not answer, those for which it had an answer
	Misses  int64  `json:"misses"`  // the others
	Stored  int64  `json:"stored"`  // answers written
	Dropped int64  `json:"dropped"` // not written: too many at once, too large, or Redis not asked at the moment
	Failed  int64  `json:"failed"`  // questions and writes that failed or took too long
	Unread  int64  `json:"unread"`  // found, but not what this version writes
	Untold  int    `json:"untold"`  // things forgotten here that the others have not been told yet
}

func (c Caches) tiers(s *shared) (out []*tier) {
	for _, n := range store.All[*tier](c.Stores) {
		if n.Value.memory == s {
			out = append(out, n.Value)
		}
	}
	return out
}

func (c Caches) tierStats(s *shared) (out []TierStats) {
	for _, t := range c.tiers(s) {
		out = append(out, t.stats())
	}
	return out
}

func (t *tier) stats() TierStats {
	t.news.mu.RLock()
	untold := len(t.news.pending)
	t.news.mu.RUnlock()
	return TierStats{Redis: t.redis.Name(), Ready: t.ready(time.Now()), Hits: t.hits.Load(), Misses: t.misses.Load(), Stored: t.stored.Load(),
		Dropped: t.dropped.Load(), Failed: t.failed.Load(), Unread: t.unread.Load(), Untold: untold}
}

// purgePatience is how long a purge waits for Redis to have it.
const purgePatience = time.Second

// waits are tiers that were told something, and its numbers.
type waits []struct {
	t      *tier
	number int64
}

func (w *waits) tell(tiers []*tier, p Purge, u target, ignore []string) {
	var notes []string
	switch {
	case p.Tag != "":
		notes = append(notes, newsTag(p.Tag))
	case p.All:
		notes = append(notes, newsAll)
	case p.Prefix != "":
		notes = append(notes, newsTarget('p', u))
	case u.authority == "":
		notes = append(notes, newsTarget('n', u.thinned(ignore)))
	default:
		for _, key := range u.thinned(ignore).keys() {
			notes = append(notes, newsURI(key))
		}
	}
	for _, t := range tiers {
		*w = append(*w, struct {
			t      *tier
			number int64
		}{t, t.tell(notes...)})
	}
}

// heard waits until all have been told.
func (w waits) heard() bool {
	ok, end := true, time.Now().Add(purgePatience)
	for _, one := range w {
		ok = one.t.heardBy(one.number, time.Until(end)) && ok
	}
	return ok
}

func (t target) thinned(ignore []string) target {
	t.query = thinned(t.query, ignore)
	return t
}

// keys are those of a URL with a host.
func (t target) keys() (out [][]byte) {
	for _, scheme := range []string{"http", "https"} {
		out = append(out, appendPart(appendTarget(nil, scheme, t.authority, t.path), t.query))
	}
	return out
}
