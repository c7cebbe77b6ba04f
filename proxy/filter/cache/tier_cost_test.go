package cache

import (
	"fmt"
	"strings"
	"testing"
)

// A hit in memory costs what it costs without Redis.
func TestAHitWithATierAllocatesNoMore(t *testing.T) {
	a, _ := pair(t, Config{}, startRedis(t).Addr())
	a.do(request("GET /path?q=1"), says(200, "hello", "Cache-Control: max-age=60", `ETag: "v1"`))
	settle(t, a)
	asked := a.tier.stats()
	x := request("GET /path?q=1", `If-None-Match: "v1"`)
	if n := testing.AllocsPerRun(1000, func() {
		if v := a.OnRequest(x); !v.Answered() {
			t.Fatal("no hit")
		}
		a.OnResponse(x)
		a.Done(x)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if now := a.tier.stats(); now.Hits != asked.Hits || now.Misses != asked.Misses {
		t.Errorf("Redis was asked: %+v", now)
	}
}

func BenchmarkHitInMemoryBeforeRedis(b *testing.B) {
	in, _ := pair(b, Config{}, startRedis(b).Addr())
	in.do(request("GET /path?q=1"), says(200, "hello", "Cache-Control: max-age=3600", "Content-Type: text/plain"))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		x := request("GET /path?q=1", "Accept: text/html", "User-Agent: bench")
		for pb.Next() {
			in.OnRequest(x)
		}
	})
}

// From Redis, read, checked and moved to memory; serving it included.
func BenchmarkHitInRedis(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, vary := range []string{"X-No: Vary", "Vary: Accept"} {
			b.Run(fmt.Sprintf("%d bytes %s", size, vary), func(b *testing.B) {
				in, _ := pair(b, Config{}, startRedis(b).Addr())
				in.do(request("GET /path"), says(200, strings.Repeat("x", size), "Cache-Control: max-age=3600", "Content-Type: text/plain", vary))
				settle(b, in)
				b.ReportAllocs()
				b.ResetTimer()
				for b.Loop() {
					in.responses.Purge(func(string) bool { return true })
					if v := in.OnRequest(request("GET /path")); !v.Answered() {
						b.Fatal("no hit")
					}
				}
			})
		}
	}
}
