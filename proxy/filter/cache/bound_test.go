package cache

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// What is accounted for is what the heap holds, for many tiny answers as for
// few large ones.
func TestMemoryStaysWithinItsBytes(t *testing.T) {
	for _, size := range []int{0, 100, 5_000, 200_000} {
		const most = 8 << 20
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := newRig(t, Config{MaxBytes: most, TTL: time.Hour})
		body := string(make([]byte, size))
		n := 4 * most / (size + 1500)
		for i := range n {
			x := user(request(fmt.Sprintf("GET /some/path/%d", i)), fmt.Sprint("user", i%1000))
			r.do(x, says(200, body, "Content-Type: application/json", "X-One: 1", `ETag: "abcdef"`, fmt.Sprintf("Surrogate-Key: all item-%d user-%d", i, i%1000)))
			r.do(user(request(x.Request.Method+" "+x.Request.Path), x.Identity.Subject), nil)
			if held := r.responses.Bytes(); held > most {
				t.Fatalf("bodies of %d: %d bytes accounted, want at most %d", size, held, most)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		heap := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		if heap > most {
			t.Errorf("bodies of %d: %d bytes on the heap, want at most %d", size, heap, most)
		}
		if r.responses.Bytes() < most/2 {
			t.Errorf("bodies of %d: only %d bytes in use of %d", size, r.responses.Bytes(), most)
		}
		runtime.KeepAlive(r)
	}
}

func TestWhatIsBeingCollectedCounts(t *testing.T) {
	const most = 1 << 20
	r := newRig(t, Config{MaxBytes: most, MaxObject: 128 << 10, TTL: time.Hour})
	var open []*exchange.Exchange
	buf := make([]byte, 100<<10)
	for i := range 50 {
		x := request(fmt.Sprintf("GET /%d", i))
		r.head(x, says(200, string(make([]byte, 128<<10))))
		_, _ = x.Response.Body.Read(buf)
		open = append(open, x)
		if n := r.responses.Bytes(); n > most {
			t.Fatalf("%d bytes held with %d open, want at most %d", n, i+1, most)
		}
	}
	if r.responses.Bytes() == 0 {
		t.Fatal("nothing is being collected")
	}
	for _, x := range open {
		_ = x.Response.Body.Close()
		r.Done(x)
	}
	if n := r.responses.Bytes(); n != 0 {
		t.Fatalf("%d bytes held after all broke off", n)
	}
}

func TestAHitAllocatesOnlyItsBody(t *testing.T) {
	for name, c := range map[string]struct {
		x    *exchange.Exchange
		most float64
	}{
		"anonymous":    {request("GET /path?q=1", "Accept: text/html", "User-Agent: test"), 1},
		"user":         {user(request("GET /path?q=1", "Accept: text/html"), "u"), 1},
		"not modified": {request("GET /path?q=1", `If-None-Match: "v1"`), 0},
		"head":         {request("HEAD /path?q=1"), 0},
		"with wishes":  {request("GET /path?q=1", "Cache-Control: max-age=30, min-fresh=1", "Pragma: no-cache"), 1},
		"forwarded":    {request("GET /path?q=1", "X-Forwarded-For: 192.0.2.1", "If-None-Match: \"v2\""), 1},
		"a part":       {request("GET /path?q=1", "Range: bytes=1-2"), 2}, // and Content-Range
	} {
		r := newRig(t, Config{})
		first := request("GET /path?q=1", "Accept: text/html")
		first.Identity = c.x.Identity
		r.do(first, says(200, "hello", "Cache-Control: max-age=60", `ETag: "v1"`, "Content-Type: text/plain"))
		run := func() {
			if v := r.OnRequest(c.x); !v.Answered() {
				t.Fatal("no hit")
			}
			r.OnResponse(c.x)
			r.Done(c.x)
		}
		run()
		if n := testing.AllocsPerRun(1000, run); n > c.most {
			t.Errorf("%s: %v allocations per hit, want at most %v", name, n, c.most)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	f, _ := mustBuild(b, Config{}, store.NewSet(), "r")
	r := &rig{cache: f}
	r.do(request("GET /path?q=1"), says(200, "hello", "Cache-Control: max-age=3600", "Content-Type: text/plain"))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		x := request("GET /path?q=1", "Accept: text/html", "User-Agent: bench")
		for pb.Next() {
			r.OnRequest(x)
		}
	})
}
