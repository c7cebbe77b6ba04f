package examples_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/proxy/store/redistest"
)

// sharesCache waits until a gateway asks Redis.
func sharesCache(t *testing.T, adminAddr string) {
	t.Helper()
	until(t, "it asks Redis", func() bool {
		return strings.Contains(fetchText(t, "http://"+adminAddr+"/cache?compact"), `"ready":true`)
	})
}

func TestCachingIsSharedThroughRedis(t *testing.T) {
	redis := redistest.Start(t)
	s := newShop(t, func(n int64, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Surrogate-Key", "products")
		_, _ = fmt.Fprintf(w, "page %d", n)
	})
	env := map[string]string{"CATALOGUE_ADDR": s.addr(), "REDIS_ADDR": redis.Addr(), "CACHE_TIMEOUT": "1s"}
	one, oneAdmin := startCaching(t, "caching-redis.yaml", env)
	two, twoAdmin := startCaching(t, "caching-redis.yaml", env)
	// They are asked for the same host, not each for its own.
	get := func(g *gateway) (body, info string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.base+"/products/7", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.example"
		res, err := g.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%d %s %v", res.StatusCode, b, err)
		}
		return string(b), res.Header.Get("Cache-Status")
	}
	sharesCache(t, oneAdmin)
	sharesCache(t, twoAdmin)
	first, _ := get(one)
	until(t, "it is in Redis", func() bool { return redis.Do("DBSIZE") == "2" })
	body, info := get(two)
	if body != first || !strings.HasPrefix(info, "lintel; hit; ttl=") || !strings.HasSuffix(info, "; detail=redis") {
		t.Errorf("%q %s, want %q", body, info, first)
	}
	if body, info = get(two); body != first || strings.Contains(info, "redis") {
		t.Errorf("from memory: %q %s", body, info)
	}
	got, err := admin.AskPurge(t.Context(), oneAdmin, admin.PurgeRequest{Tag: "products"})
	if err != nil || got != (admin.PurgeResult{Purged: 1}) {
		t.Errorf("%+v %v", got, err)
	}
	until(t, "the other has forgotten", func() bool { body, _ := get(two); return body != first })
	if text := fetchText(t, "http://"+twoAdmin+"/metrics"); !strings.Contains(text, `lintel_cache_shared_total{name="name:catalogue",outcome="hit"} 1`) {
		t.Error("/metrics does not count the hit in Redis")
	}
	redis.Stop()
	for range 20 {
		get(one)
		get(two)
	}
}
