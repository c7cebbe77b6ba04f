package cache

import (
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

const swr = "Cache-Control: max-age=60, stale-while-revalidate=30"

func TestAStaleAnswerIsGivenAtOnceAndRenewedBehind(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "old", swr, `ETag: "1"`))
	r.advance(70 * time.Second)
	x := request("GET /", `If-None-Match: "mine"`, "Accept: text/plain", "Range: bytes=0-0")
	var sent exchange.Fields
	renew := r.behind(x, func(y *exchange.Exchange) *exchange.Fault {
		sent = y.Request.Header.Clone()
		return says(200, "new", swr)(y)
	})
	if got := r.do(x, nil); got != "o" {
		t.Fatalf("got %q", got)
	}
	want(t, x, 206, "lintel; hit; ttl=-10; detail=stale-while-revalidate")
	// Until it is renewed everybody is given the stale one, and nobody else asks.
	other := request("GET /")
	r.behind(other, func(*exchange.Exchange) *exchange.Fault { t.Error("asked twice"); return nil })
	if got := r.do(other, nil); got != "old" {
		t.Fatalf("meanwhile: %q", got)
	}
	renew()
	if sent.Joined("If-None-Match") != `"1"` || sent.Has("Range") || sent.Get("Accept") != "text/plain" {
		t.Errorf("renewed with %v", sent)
	}
	x = request("GET /")
	if got := r.do(x, nil); got != "new" {
		t.Fatalf("after: %q", got)
	}
	want(t, x, 200, "lintel; hit; ttl=60")
	if r.renewed.Load() != 1 || r.failed.Load() != 0 || r.calls.Load() != 2 {
		t.Errorf("renewed %d, failed %d, asked %d", r.renewed.Load(), r.failed.Load(), r.calls.Load())
	}
}

func TestWhenAStaleAnswerIsGivenWhileItIsRenewed(t *testing.T) {
	for _, c := range []struct {
		name    string
		config  Config
		control string
		request []string
		after   time.Duration
		stale   bool
	}{
		{"as the service says", Config{}, "max-age=60, stale-while-revalidate=30", nil, 89 * time.Second, true},
		{"no longer than that", Config{}, "max-age=60, stale-while-revalidate=30", nil, 90 * time.Second, false},
		{"as configured", Config{StaleWhileRevalidate: time.Minute}, "max-age=60", nil, 100 * time.Second, true},
		{"the service beats the configuration", Config{StaleWhileRevalidate: time.Hour}, "max-age=60, stale-while-revalidate=0", nil, 61 * time.Second, false},
		{"beside s-maxage", Config{}, "s-maxage=60, stale-while-revalidate=30", nil, 80 * time.Second, true},
		{"s-maxage against the configuration", Config{StaleWhileRevalidate: time.Hour}, "s-maxage=60", nil, 61 * time.Second, false},
		{"must-revalidate", Config{StaleWhileRevalidate: time.Hour}, "max-age=60, must-revalidate, stale-while-revalidate=30", nil, 61 * time.Second, false},
		{"proxy-revalidate", Config{}, "max-age=60, proxy-revalidate, stale-while-revalidate=30", nil, 61 * time.Second, false},
		{"no-cache", Config{StaleWhileRevalidate: time.Hour}, "max-age=60, no-cache, stale-while-revalidate=30", nil, 61 * time.Second, false},
		{"the client's max-age", Config{}, "max-age=60, stale-while-revalidate=30", []string{"Cache-Control: max-age=70"}, 80 * time.Second, false},
		{"the client's min-fresh", Config{}, "max-age=60, stale-while-revalidate=30", []string{"Cache-Control: min-fresh=1"}, 80 * time.Second, false},
		{"the client's no-cache", Config{}, "max-age=60, stale-while-revalidate=30", []string{"Cache-Control: no-cache"}, 80 * time.Second, false},
		{"only-if-cached", Config{}, "max-age=60, stale-while-revalidate=30", []string{"Cache-Control: only-if-cached"}, 80 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.config)
			r.do(request("GET /"), says(200, "old", "Cache-Control: "+c.control, `ETag: "1"`))
			r.advance(c.after)
			x := request("GET /", c.request...)
			r.behind(x, says(200, "new"))
			if got := r.do(x, says(200, "own")); (got == "old") != c.stale {
				t.Errorf("got %q: %s", got, x.CacheInfo)
			}
		})
	}
}

// Where nothing can run behind, the first asks and the others are given the
// stale answer meanwhile.
func TestWithoutAnythingBehindTheFirstAsks(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "old", swr))
	r.advance(70 * time.Second)
	x := request("GET /")
	got := r.do(x, func(x *exchange.Exchange) *exchange.Fault {
		if got := r.do(request("GET /"), nil); got != "old" {
			t.Errorf("meanwhile: %q", got)
		}
		return says(200, "new", swr)(x)
	})
	if got != "new" {
		t.Errorf("the first got %q", got)
	}
	want(t, x, 200, "lintel; fwd=stale; fwd-status=200; stored")
	if got := r.do(request("GET /"), nil); got != "new" {
		t.Errorf("after: %q", got)
	}
}

func TestARenewalThatFailsLeavesTheStaleAnswer(t *testing.T) {
	for name, o := range map[string]origin{"fault": broken, "503": says(503, "down"), "403": says(403, "no"), "429": says(429, "slow")} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.do(request("GET /"), says(200, "old", swr))
			r.advance(70 * time.Second)
			x := request("GET /")
			renew := r.behind(x, o)
			r.do(x, nil)
			renew()
			if r.failed.Load() != 1 {
				t.Errorf("%d failed", r.failed.Load())
			}
			// It is tried again, and the stale answer still given.
			x = request("GET /")
			renew = r.behind(x, says(304, "", swr))
			if got := r.do(x, nil); got != "old" {
				t.Errorf("got %q", got)
			}
			renew()
			if r.responses.Len() != 1 || r.responses.Bytes() == 0 {
				t.Errorf("%d answers", r.responses.Len())
			}
		})
	}
}

// What one user's renewal brings is not for others unless it says so.
func TestARenewalIsForWhomItWasMade(t *testing.T) {
	r := newRig(t, Config{})
	r.do(user(request("GET /"), "a"), says(200, "for all", "Cache-Control: public, max-age=60, stale-while-revalidate=60"))
	r.advance(70 * time.Second)
	x := user(request("GET /"), "a")
	renew := r.behind(x, says(200, "for a", "Cache-Control: max-age=60"))
	r.do(x, nil)
	renew()
	if got := r.do(user(request("GET /"), "b"), says(200, "for b", "Cache-Control: max-age=60")); got == "for a" {
		t.Error("b was given what was made for a")
	}
	if got := r.do(user(request("GET /"), "a"), nil); got != "for a" {
		t.Errorf("a got %q", got)
	}
}
