package cache

import (
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

func TestFreshnessAndAge(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		want   []string // request fields
		after  time.Duration
		info   string // "" when it has to be forwarded
		age    string
	}{
		{"fresh", []string{"Cache-Control: max-age=60"}, nil, 59 * time.Second, "lintel; hit; ttl=1", "59"},
		{"stale at its lifetime", []string{"Cache-Control: max-age=60"}, nil, 60 * time.Second, "", ""},
		{"came with an Age", []string{"Cache-Control: max-age=60", "Age: 30"}, nil, 10 * time.Second, "lintel; hit; ttl=20", "40"},
		{"came too old", []string{"Cache-Control: max-age=60", "Age: 30"}, nil, 30 * time.Second, "", ""},
		{"dated in the past", []string{"Cache-Control: max-age=60", "Date: Tue, 31 Dec 2024 23:59:40 GMT"}, nil, 10 * time.Second, "lintel; hit; ttl=30", "30"},
		{"dated in the future", []string{"Cache-Control: max-age=60", "Date: Thu, 02 Jan 2025 00:00:00 GMT"}, nil, 10 * time.Second, "lintel; hit; ttl=50", "10"},
		{"huge max-age", []string{"Cache-Control: max-age=99999999999999999999"}, nil, time.Hour, "lintel; hit; ttl=2147480048", "3600"},
		{"unreadable max-age", []string{"Cache-Control: max-age=1m"}, nil, 0, "", ""},
		{"quoted max-age", []string{`Cache-Control: max-age="60"`}, nil, time.Second, "lintel; hit; ttl=59", "1"},
		{"two max-ages, the least counts", []string{"Cache-Control: max-age=600, max-age=10"}, nil, 10 * time.Second, "", ""},
		{"max-age of the request", []string{"Cache-Control: max-age=60"}, []string{"Cache-Control: max-age=5"}, 6 * time.Second, "", ""},
		{"within max-age of the request", []string{"Cache-Control: max-age=60"}, []string{"Cache-Control: max-age=5"}, 5 * time.Second, "lintel; hit; ttl=55", "5"},
		{"min-fresh", []string{"Cache-Control: max-age=60"}, []string{"Cache-Control: min-fresh=20"}, 41 * time.Second, "", ""},
		{"no-cache of the request", []string{"Cache-Control: max-age=60"}, []string{"Cache-Control: no-cache"}, 0, "", ""},
		{"Pragma of the request", []string{"Cache-Control: max-age=60"}, []string{"Pragma: no-cache"}, 0, "", ""},
		{"max-stale", []string{"Cache-Control: max-age=60"}, []string{"Cache-Control: max-stale=20"}, 70 * time.Second, "lintel; hit; ttl=-10", "70"},
		{"past max-stale", []string{"Cache-Control: max-age=60"}, []string{"Cache-Control: max-stale=20"}, 81 * time.Second, "", ""},
		{"any max-stale is bounded", []string{"Cache-Control: max-age=60"}, []string{"Cache-Control: max-stale"}, 121 * time.Second, "", ""},
		{"max-stale against must-revalidate", []string{"Cache-Control: max-age=60, must-revalidate"}, []string{"Cache-Control: max-stale=20"}, 70 * time.Second, "", ""},
		{"max-stale against s-maxage", []string{"Cache-Control: s-maxage=60"}, []string{"Cache-Control: max-stale=20"}, 70 * time.Second, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.do(request("GET /"), says(200, "a", c.header...))
			r.advance(c.after)
			x := request("GET /", c.want...)
			r.do(x, says(200, "b"))
			if hit := r.calls.Load() == 1; hit != (c.info != "") {
				t.Fatalf("hit %v: %s", hit, x.CacheInfo)
			}
			if c.info != "" {
				want(t, x, 200, c.info)
				if got := x.Response.Header.Joined("Age"); got != c.age {
					t.Errorf("Age: %s, want %s", got, c.age)
				}
			}
		})
	}
}

func TestTimeOnTheWayCountsAsAge(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), func(x *exchange.Exchange) *exchange.Fault {
		r.advance(4 * time.Second)
		return says(200, "a", "Cache-Control: max-age=60", "Age: 1")(x)
	})
	x := request("GET /")
	r.do(x, says(200, "b"))
	want(t, x, 200, "lintel; hit; ttl=55")
}

func TestOnlyIfCached(t *testing.T) {
	r := newRig(t, Config{})
	x := request("GET /", "Cache-Control: only-if-cached")
	r.do(x, says(200, "a"))
	if r.calls.Load() != 0 || x.Fault == nil || x.Fault.Status != 504 {
		t.Fatalf("asked %d times, fault %v", r.calls.Load(), x.Fault)
	}
}

func TestCacheStatusTellsWhatHappened(t *testing.T) {
	r := newRig(t, Config{})
	x := request("GET /")
	r.do(x, says(200, "a", "Cache-Control: max-age=60", "Cache-Status: origin; hit"))
	want(t, x, 200, "lintel; fwd=miss; stored")
	if got := x.Response.Header.Joined("Cache-Status"); got != "origin; hit, lintel; fwd=miss; stored" {
		t.Errorf("Cache-Status: %s", got)
	}
	x = request("GET /")
	r.do(x, nil)
	want(t, x, 200, "lintel; hit; ttl=60")
	if got := x.Response.Header.Joined("Cache-Status"); got != "origin; hit, lintel; hit; ttl=60" {
		t.Errorf("Cache-Status: %s", got)
	}
	for line, info := range map[string]string{"PUT /x": "lintel; fwd=method", "OPTIONS /x": "lintel; fwd=method", "HEAD /x": "lintel; fwd=miss"} {
		x = request(line)
		r.do(x, says(200, ""))
		want(t, x, 200, info)
	}
	x = request("GET /", "Range: bytes=0-0")
	r.do(x, says(206, "a"))
	want(t, x, 206, "lintel; hit; ttl=60")
	x = request("GET /", "If-Match: \"v1\"")
	r.do(x, says(412, ""))
	want(t, x, 412, "lintel; fwd=bypass")
	x = request("GET /", "Cache-Control: no-store")
	r.do(x, says(200, "a"))
	want(t, x, 200, "lintel; fwd=request")
	x = request("GET /", "Cache-Control: no-cache")
	r.do(x, says(200, "a"))
	want(t, x, 200, "lintel; fwd=request; fwd-status=200; detail=no-lifetime")
}

func TestHeadIsAnsweredFromGet(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "hello", "Cache-Control: max-age=60"))
	x := request("HEAD /")
	if body := r.do(x, nil); body != "" || x.Response.Length != 5 {
		t.Fatalf("body %q, length %d", body, x.Response.Length)
	}
	want(t, x, 200, "lintel; hit; ttl=60")
}

func TestUnsafeSuccessInvalidatesForEveryone(t *testing.T) {
	fill := func(r *rig) {
		r.do(request("GET /"), says(200, "old", "Cache-Control: max-age=60"))
		r.do(user(request("GET /"), "u"), says(200, "old", "Cache-Control: max-age=60"))
	}
	for _, c := range []struct {
		line   string
		status int
		gone   bool
	}{{"POST /", 201, true}, {"DELETE /", 204, true}, {"PATCH /", 303, true}, {"PUT /", 500, false}, {"PUT /", 403, false}, {"POST /other", 200, false}, {"OPTIONS /", 200, false}} {
		r := newRig(t, Config{})
		fill(r)
		r.do(request(c.line), says(c.status, ""))
		if got := r.responses.Len() == 0; got != c.gone {
			t.Errorf("%s %d: gone %v", c.line, c.status, got)
		}
	}
	r := newRig(t, Config{})
	x := request("GET /")
	r.do(x, func(x *exchange.Exchange) *exchange.Fault {
		r.do(request("PUT /"), says(204, ""))
		return says(200, "old", "Cache-Control: max-age=60")(x)
	})
	if r.responses.Len() != 0 {
		t.Error("an answer asked for before the change was kept after it")
	}
}

func TestShadowTouchesNothing(t *testing.T) {
	r := newRig(t, Config{TTL: time.Minute})
	x := request("GET /")
	x.Shadow = true
	r.do(x, says(200, "a"))
	if r.responses.Len() != 0 || x.CacheInfo != "" {
		t.Error("a shadow request was stored")
	}
}

func TestAReloadKeepsTheAnswers(t *testing.T) {
	set := store.NewSet()
	f, old := mustBuild(t, Config{}, set, "r")
	(&rig{cache: f}).do(request("GET /"), says(200, "a", "Cache-Control: max-age=60"))
	g, _ := mustBuild(t, Config{StaleIfError: time.Minute}, set, "r")
	old.Release()
	if got := (&rig{cache: g}).do(request("GET /"), says(200, "b")); got != "a" {
		t.Errorf("got %q after a reload", got)
	}
	h, _ := mustBuild(t, Config{Authorized: "private"}, set, "r")
	if got := (&rig{cache: h}).do(request("GET /"), says(200, "b")); got != "b" {
		t.Error("answers were kept under other rules")
	}
	i, _ := mustBuild(t, Config{}, set, "other")
	if got := (&rig{cache: i}).do(request("GET /"), says(200, "b")); got != "b" {
		t.Error("routes without a name share their answers")
	}
}

func TestWrongConfigIsRefusedAtItsKey(t *testing.T) {
	for key, c := range map[string]Config{
		"max_bytes":   {MaxBytes: 1},
		"max_object":  {MaxObject: 64 << 20},
		"methods[0]":  {Methods: []string{"POST"}},
		"statuses[1]": {Statuses: []int{200, 206}},
		"vary[0]":     {Vary: []string{"*"}},
		"authorized":  {Authorized: "all"},
		"cookies":     {Cookies: "eat"},
		"override":    {Override: true},
		"ttl":         {TTL: -1},
	} {
		_, err := Kind().Build(&c, nil)
		if err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: got %v", key, err)
		}
	}
}
