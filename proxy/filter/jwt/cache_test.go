package jwt

import (
	"fmt"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func TestARememberedTokenIsNotUsedPastItsExpiry(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}})
	now := time.Now()
	f.now = func() time.Time { return now }
	token := hs(t, claims{"exp": now.Add(time.Minute).Unix()})
	if got := ask(f, token); got != "" || f.cache.len() != 1 {
		t.Fatal(got, f.cache.len())
	}
	now = now.Add(2 * time.Minute)
	if got := ask(f, token); got != "token-expired" || f.cache.len() != 0 {
		t.Errorf("%q, %d remembered", got, f.cache.len())
	}
}

func TestOnlyTheExactBytesAreRemembered(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}})
	token := hs(t, nil)
	if got := ask(f, token); got != "" {
		t.Fatal(got)
	}
	for i := range token {
		changed := []byte(token)
		if changed[i] ^= 1; changed[i] == '.' || token[i] == '.' {
			continue
		}
		if got := ask(f, string(changed)); got == "" {
			t.Fatalf("a token changed at byte %d passed", i)
		}
	}
}

func TestTheCacheStaysWithinItsMemory(t *testing.T) {
	c := newCache(64 << 10)
	src := &source{static: &keySet{}}
	now := time.Now()
	for i := range 10000 {
		c.put(fmt.Sprintf("token-%d", i), &verified{source: src, set: src.static, until: now.Unix() + 60, identity: &exchange.Identity{}}, now)
	}
	total := 0
	for i := range c.shards {
		total += c.shards[i].cost
	}
	if total > 64<<10 || c.len() < 60 {
		t.Errorf("%d bytes in %d entries", total, c.len())
	}
	if c.put("late", &verified{source: src, set: src.static, until: now.Unix()}, now); c.get("late", now) != nil {
		t.Error("an expired token was remembered")
	}
	if c.put(string(make([]byte, 10<<10)), &verified{source: src, until: latest}, now); c.len() > 200 {
		t.Error("an entry larger than a shard was let in")
	}
}

func TestARememberedTokenCostsNoAllocation(t *testing.T) {
	f := newFilter(t, Config{Keys: []Key{{Secret: secret}}, ClaimsToHeaders: map[string]string{"X-Tenant": "tenant"}, Identity: Mapping{Consumer: "azp"}})
	value := "Bearer " + hs(t, claims{"tenant": "acme", "azp": "mobile"})
	x := &exchange.Exchange{}
	run := func() {
		x.Request.Header.Reset()
		x.Request.Header.Add("Accept", "*/*")
		x.Request.Header.Add("Authorization", value)
		x.Identity = nil
		if f.OnRequest(x) != filter.Next {
			t.Fatal("refused")
		}
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	if x.Identity == nil || x.Consumer != "mobile" || x.Request.Header.Get("X-Tenant") != "acme" {
		t.Error("the remembered token did less than a fresh one")
	}
}

func BenchmarkRemembered(b *testing.B) {
	f := newFilter(b, Config{Keys: []Key{{PublicKey: publicPEM(b, ring().rsa)}}})
	value := "Bearer " + sign(b, "RS256", ring().rsa, "", good(nil))
	x := &exchange.Exchange{}
	b.ReportAllocs()
	for b.Loop() {
		x.Request.Header.Reset()
		x.Request.Header.Add("Authorization", value)
		f.OnRequest(x)
	}
}

func BenchmarkFresh(b *testing.B) {
	f := newFilter(b, Config{Keys: []Key{{PublicKey: publicPEM(b, ring().rsa)}}})
	value := "Bearer " + sign(b, "RS256", ring().rsa, "", good(nil))
	b.ReportAllocs()
	for b.Loop() {
		x := &exchange.Exchange{Shadow: true} // not remembered
		x.Request.Header.Add("Authorization", value)
		f.OnRequest(x)
	}
}
