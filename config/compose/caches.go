package compose

import (
	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/proxy/filter/cache"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/tracing"
)

// Caches lets the admin API look into the caches that tables lease from stores.
func Caches(stores *store.Set) admin.Caches {
	return caches{cache.Caches{Stores: stores, Path: canonical}}
}

type caches struct{ all cache.Caches }

// Stats implements admin.Caches.
func (c caches) Stats() any { return c.all.Stats() }

// Purge implements admin.Caches.
func (c caches) Purge(r admin.PurgeRequest) (admin.PurgeResult, error) {
	p, err := c.all.Purge(cache.Purge{URL: r.URL, Prefix: r.Prefix, Tag: r.Tag, All: r.All, Cache: r.Cache})
	return admin.PurgeResult{Purged: p.Here, Untold: p.Untold}, err
}

func canonical(path string) (string, error) { return route.NormalizePath(path, route.KeepEncoded) }

// cacheEntries counts the answers held, by cache. While a reload is under way two
// caches may have one name.
func cacheEntries(stores *store.Set) map[string]int {
	out := map[string]int{}
	for _, s := range (cache.Caches{Stores: stores}).Stats() {
		out["cache "+s.Name] += s.Entries
	}
	return out
}

// sharedCaches counts what instances do with answers in Redis.
func sharedCaches(stores *store.Set, m *tracing.Metrics) error {
	return m.RegisterCounter("lintel_cache_shared_total",
		"What became of answers in Redis that instances share: hit, miss, stored, dropped (not written), failed (error or timeout), unread (not of this version).",
		[]string{"name", "outcome"}, func(emit tracing.Emit) {
			counts := map[string]map[string]int64{} // during a reload a cache may have two tiers
			for _, s := range (cache.Caches{Stores: stores}).Stats() {
				for _, t := range s.Shared {
					if counts[s.Name] == nil {
						counts[s.Name] = map[string]int64{}
					}
					for outcome, n := range map[string]int64{"hit": t.Hits, "miss": t.Misses, "stored": t.Stored,
						"dropped": t.Dropped, "failed": t.Failed, "unread": t.Unread} {
						counts[s.Name][outcome] += n
					}
				}
			}
			for name, c := range counts {
				for outcome, n := range c {
					emit(float64(n), name, outcome)
				}
			}
		})
}
