package compose

import (
	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/proxy/filter/cache"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
)

// Caches lets the admin API look into the caches that tables lease from stores.
func Caches(stores *store.Set) admin.Caches {
	return caches{cache.Caches{Stores: stores, Path: canonical}}
}

type caches struct{ all cache.Caches }

// Stats implements admin.Caches.
func (c caches) Stats() any { return c.all.Stats() }

// Purge implements admin.Caches.
func (c caches) Purge(r admin.PurgeRequest) (int, error) {
	return c.all.Purge(cache.Purge{URL: r.URL, Prefix: r.Prefix, Tag: r.Tag, All: r.All, Cache: r.Cache})
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
