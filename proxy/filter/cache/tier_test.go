package cache

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store/redistest"
)

func TestAnotherInstanceHasTheAnswer(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			var addrs []string
			if nodes == 1 {
				addrs = []string{startRedis(t).Addr()}
			} else {
				for _, s := range redistest.Cluster(t, nodes) {
					addrs = append(addrs, s.Addr())
				}
			}
			a, b := pair(t, Config{StaleIfError: time.Minute}, addrs...)
			for i := range 8 {
				path := fmt.Sprint("GET /", i)
				page := says(200, "page"+path, "Cache-Control: public, max-age=60", "Vary: Accept", `ETag: "1"`)
				a.do(request(path, "Accept: x"), page)
				settle(t, a)
				a.advance(10 * time.Second)

				x := request(path, "Accept: x")
				if body := b.do(x, broken); body != "page"+path || x.Response.Header.Get("Age") != fmt.Sprint(10) {
					t.Errorf("%q, Age %q", body, x.Response.Header.Get("Age"))
				}
				want(t, x, 200, "lintel; hit; ttl=50; detail=redis")
				x = request(path, "Accept: x")
				b.do(x, broken)
				want(t, x, 200, "lintel; hit; ttl=50")
				x = request(path, "Accept: y")
				b.do(x, says(200, "other", "Vary: Accept"))
				want(t, x, 200, "lintel; fwd=miss; detail=no-lifetime")
				x = request(path, "Accept: x", `If-None-Match: "1"`)
				b.do(x, broken)
				want(t, x, 304, "lintel; hit; ttl=50")
				a.advance(-10 * time.Second)
			}
			if a.tier.stored.Load() != 8 || b.tier.hits.Load() != 8 {
				t.Errorf("%+v %+v", a.tier.stats(), b.tier.stats())
			}
		})
	}
}

func TestHeadAndRangeAndStaleAnswersFromRedis(t *testing.T) {
	a, b := pair(t, Config{}, startRedis(t).Addr())
	for _, path := range []string{"/head", "/range", "/check", "/error", "/behind", "/only"} {
		a.do(request("GET "+path), says(200, "0123456789", "Cache-Control: max-age=60, stale-if-error=600, stale-while-revalidate=30", `ETag: "1"`))
	}
	settle(t, a)
	x := request("HEAD /head")
	b.do(x, broken)
	want(t, x, 200, "lintel; hit; ttl=60; detail=redis")
	x = request("GET /range", "Range: bytes=2-4")
	if body := b.do(x, broken); body != "234" {
		t.Errorf("%q", body)
	}
	want(t, x, 206, "lintel; hit; ttl=60; detail=redis")
	x = request("GET /only", "Cache-Control: only-if-cached")
	b.do(x, broken)
	want(t, x, 200, "lintel; hit; ttl=60; detail=redis")

	a.advance(70 * time.Second)
	x = request("GET /behind")
	run := b.behind(x, says(304, "", `ETag: "1"`, "Cache-Control: max-age=60"))
	b.do(x, broken)
	want(t, x, 200, "lintel; hit; ttl=-10; detail=stale-while-revalidate")
	run()
	if b.renewed.Load() != 1 {
		t.Error("it was not renewed")
	}
	a.advance(30 * time.Second)
	x = request("GET /check")
	b.do(x, func(x *exchange.Exchange) *exchange.Fault {
		if x.Request.Header.Get("If-None-Match") != `"1"` {
			t.Error("the service is not asked whether it holds")
		}
		return says(304, "", `ETag: "1"`, "Cache-Control: max-age=60")(x)
	})
	want(t, x, 200, "lintel; fwd=stale; fwd-status=304; stored; ttl=60")
	x = request("GET /error")
	if body := b.do(x, broken); body != "0123456789" {
		t.Errorf("%q", body)
	}
	want(t, x, 200, "lintel; fwd=stale; ttl=-40; detail=stale-if-error")
}

func TestForgettingReachesAllInstances(t *testing.T) {
	server := startRedis(t)
	page := says(200, "old", "Cache-Control: max-age=600", "Surrogate-Key: red")
	purge := func(p Purge) func(t *testing.T, in *instance) {
		return func(t *testing.T, in *instance) {
			if got, err := (Caches{Stores: in.set}).Purge(p); err != nil || got.Untold || got.Here < 1 {
				t.Errorf("%+v %v", got, err)
			}
		}
	}
	for name, forget := range map[string]func(*testing.T, *instance){
		"url": purge(Purge{URL: "https://api.example/a?b"}), "any host": purge(Purge{URL: "/a?b"}),
		"prefix": purge(Purge{Prefix: "/a"}), "tag": purge(Purge{Tag: "red"}), "all": purge(Purge{All: true}),
		"unsafe": func(_ *testing.T, in *instance) { in.do(request("POST /a?b"), says(204, "")) },
	} {
		t.Run(name, func(t *testing.T) {
			server.Do("FLUSHALL")
			a, b := pair(t, Config{}, server.Addr())
			c := newInstance(t, a.Config, a, server.Addr())
			eventually(t, "Redis is ready", func() bool { return c.tier.ready(time.Now()) })
			a.do(request("GET /a?b"), page)
			a.do(request("GET /other"), says(200, "other", "Cache-Control: max-age=600", "Surrogate-Key: blue"))
			settle(t, a)
			b.do(request("GET /a?b"), broken)
			forget(t, a)
			// At once here, also what Redis has; at the others once they have heard.
			x := request("GET /a?b")
			a.do(x, says(200, "new"))
			want(t, x, 200, "lintel; fwd=miss; detail=no-lifetime")
			settle(t, a, b, c)
			for i, in := range []*instance{b, c} {
				x := request("GET /a?b")
				if in.do(x, says(200, "new")); x.CacheInfo != "lintel; fwd=miss; detail=no-lifetime" {
					t.Errorf("instance %d: %s", i, x.CacheInfo)
				}
				x = request("GET /other")
				in.do(x, says(200, "new"))
				if hit := strings.Contains(x.CacheInfo, "hit"); hit != (name != "all") {
					t.Errorf("instance %d, what was not to be forgotten: %s", i, x.CacheInfo)
				}
			}
			// What is asked for afterwards is shared again, once it is forgotten that
			// it was not to be kept.
			a.advance(20 * time.Second)
			b.do(request("GET /a?b"), page)
			settle(t, b)
			x = request("GET /a?b")
			c.do(x, broken)
			want(t, x, 200, "lintel; hit; ttl=600; detail=redis")
		})
	}
}

// While one instance waits for the service another purges: what it is given then
// is of no use to anybody.
func TestAPurgeWhileAnotherInstanceAsks(t *testing.T) {
	a, b := pair(t, Config{}, startRedis(t).Addr())
	for i, p := range []Purge{{URL: "/0"}, {URL: "https://api.example/1"}, {Prefix: "/2"}, {Tag: "red"}, {All: true}} {
		path := fmt.Sprint("GET /", i)
		b.do(request(path), func(x *exchange.Exchange) *exchange.Fault {
			if _, err := (Caches{Stores: a.set}).Purge(p); err != nil {
				t.Error(err)
			}
			return says(200, "old", "Cache-Control: max-age=600", "Surrogate-Key: red")(x)
		})
		settle(t, a, b)
		for _, in := range []*instance{a, b} {
			x := request(path)
			in.do(x, says(200, "new"))
			want(t, x, 200, "lintel; fwd=miss; detail=no-lifetime")
		}
	}
}

func TestNewsAreToldAgainToARedisThatLostThem(t *testing.T) {
	server := startRedis(t)
	a, b := pair(t, Config{}, server.Addr())
	a.do(request("GET /"), says(200, "old", "Cache-Control: max-age=600"))
	settle(t, a)
	b.do(request("GET /"), broken)
	server.Stop()
	got, err := (Caches{Stores: a.set}).Purge(Purge{URL: "/"})
	if err != nil || got.Here != 1 || !got.Untold {
		t.Errorf("%+v %v", got, err)
	}
	x := request("GET /")
	b.do(x, broken)
	want(t, x, 200, "lintel; hit; ttl=600") // it cannot know
	server.Restart()
	eventually(t, "it is told", func() bool { return b.responses.Len() == 0 })

	// Told, and lost before anybody read it: the teller tells it again.
	settle(t, a, b)
	a.do(request("GET /2"), says(200, "old", "Cache-Control: max-age=600"))
	settle(t, a)
	b.do(request("GET /2"), broken)
	a.forget(b.appendURI(nil, &request("GET /2").Request))
	if !a.tier.heardBy(a.tier.news.posted, time.Minute) {
		t.Fatal("not told")
	}
	server.Do("FLUSHALL")
	eventually(t, "it is told again", func() bool { return b.responses.Len() == 0 })
}

// Whatever Redis does, an exchange loses no more than the timeout, and then for a
// while nothing.
func TestRedisAbsentSlowAndBack(t *testing.T) {
	server := startRedis(t)
	server.Stop()
	in := newInstance(t, Config{Shared: &Shared{Timeout: 50 * time.Millisecond}}, nil, server.Addr())
	n := 0
	miss := func() time.Duration {
		n++
		x, began := request(fmt.Sprint("GET /", n)), time.Now()
		in.do(x, says(200, "page", "Cache-Control: max-age=60"))
		took := time.Since(began)
		want(t, x, 200, "lintel; fwd=miss; stored")
		return took
	}
	for range 100 {
		miss()
	}
	if s := in.tier.stats(); s.Ready || s.Misses != 0 || s.Failed != 0 || s.Dropped != 0 {
		t.Errorf("absent: %+v", s)
	}
	server.Restart()
	eventually(t, "it is asked", func() bool { return in.tier.ready(time.Now()) })
	miss()
	settle(t, in)
	if s := in.tier.stats(); s.Misses != 1 || s.Stored != 1 {
		t.Errorf("there: %+v", s)
	}
	server.Freeze()
	if took := miss(); took < 50*time.Millisecond {
		t.Errorf("%v: it was not asked", took)
	}
	for range 100 {
		miss()
	}
	if s := in.tier.stats(); s.Ready || s.Failed < 1 || s.Failed > 2 {
		t.Errorf("slow: %+v", s)
	}
	server.Thaw()
	eventually(t, "it is asked again", func() bool { return in.tier.ready(time.Now()) })
	miss()
	settle(t, in)
	server.Stop()
	for range 100 {
		miss()
	}
	server.Restart()
	eventually(t, "it is asked after all", func() bool { return in.tier.ready(time.Now()) })
	before := in.tier.stored.Load()
	miss()
	settle(t, in)
	if in.tier.stored.Load() != before+1 {
		t.Errorf("back: %+v", in.tier.stats())
	}
}

func TestOneAsksRedisForAll(t *testing.T) {
	a, b := pair(t, Config{}, startRedis(t).Addr())
	a.do(request("GET /"), says(200, "page", "Cache-Control: max-age=60"))
	settle(t, a)
	var hold = make(chan struct{})
	done := make(chan string)
	for range 20 {
		go func() {
			x := request("GET /")
			x.Waiter = func(ctx context.Context, wait func(context.Context) error) error { <-hold; return wait(ctx) }
			done <- b.do(x, broken)
		}()
	}
	close(hold)
	for range 20 {
		if got := <-done; got != "page" {
			t.Errorf("%q", got)
		}
	}
	if b.tier.hits.Load() != 1 {
		t.Errorf("%+v", b.tier.stats())
	}
}

func TestWhatIsNotSharedThroughRedis(t *testing.T) {
	server := startRedis(t)
	a, _ := pair(t, Config{Shared: &Shared{Timeout: time.Second, MaxObject: 10}}, server.Addr())
	for _, o := range []origin{
		says(200, "more than ten bytes", "Cache-Control: max-age=60"),
		says(200, "small", "Cache-Control: private, max-age=60"),
		says(200, "small", "Cache-Control: max-age=60", "Set-Cookie: a=b"),
		says(200, "small", "Cache-Control: max-age=0", `ETag: "1"`),
	} {
		a.do(request("GET /"), o)
	}
	x := request("GET /shadow")
	x.Shadow = true
	a.OnRequest(x)
	settle(t, a)
	if n := server.Do("DBSIZE"); n != "1" { // the ledger
		t.Errorf("%s keys in Redis", n)
	}
	if s := a.tier.stats(); s.Hits+s.Stored != 0 || s.Misses != 1 { // then the path was parted
		t.Errorf("%+v", s)
	}
	no := Config{Shared: &Shared{}}
	if _, err := build(&no, envWithoutRedis()); err == nil || !strings.Contains(err.Error(), "there is no section redis") {
		t.Errorf("%v", err)
	}
}

// What the service does not let be kept any more, no instance finds in Redis.
func TestWhatTheServiceTakesBackIsTakenFromRedis(t *testing.T) {
	server := startRedis(t)
	a, b := pair(t, Config{}, server.Addr())
	a.do(request("GET /"), says(200, "page", "Cache-Control: max-age=60"))
	settle(t, a)
	a.do(request("GET /", "Cache-Control: no-cache"), says(http.StatusNotFound, "", "Cache-Control: no-store"))
	eventually(t, "it is gone", func() bool { return server.Do("DBSIZE") == "1" })
	x := request("GET /")
	if b.do(x, broken); x.Response.Status != 503 {
		t.Errorf("%d %s", x.Response.Status, x.CacheInfo)
	}
}

// A reload that does not touch the cache keeps its tier; one that changes only
// how Redis is asked keeps what is in memory.
func TestAReloadKeepsTheTier(t *testing.T) {
	in, _ := pair(t, Config{}, startRedis(t).Addr())
	again := func(s Shared) *cache {
		lease := in.set.Lease()
		t.Cleanup(lease.Release)
		c := Config{Shared: &s}
		f, err := build(&c, envOf(lease))
		if err != nil {
			t.Fatal(err)
		}
		return f.(*cache)
	}
	if f := again(Shared{Timeout: time.Second}); f.tier != in.tier || f.shared != in.shared {
		t.Error("the same settings made another")
	}
	if f := again(Shared{Timeout: time.Minute / 100}); f.tier == in.tier || f.shared != in.shared || f.tier.space != in.tier.space {
		t.Error("another timeout made another cache, or no other tier")
	}
	stats := Caches{Stores: in.set}.Stats()
	if len(stats) != 1 || len(stats[0].Shared) != 2 || stats[0].Shared[0].Redis != "default" {
		t.Errorf("%+v", stats)
	}
	if f := again(Shared{Redis: "other"}); f.shared == in.shared {
		t.Error("another Redis has the same answers")
	}
}

func TestNamesInRedisAreEachForTheirOwn(t *testing.T) {
	in, _ := pair(t, Config{}, startRedis(t).Addr())
	seen := map[string]string{}
	for what, key := range map[string]func() (string, [32]byte){
		"all":     func() (string, [32]byte) { return in.tier.name([]byte("u"), nil, "") },
		"a user":  func() (string, [32]byte) { return in.tier.name([]byte("u"), []byte("x"), "") },
		"claims":  func() (string, [32]byte) { return in.tier.name([]byte("u"), nil, "x") },
		"another": func() (string, [32]byte) { return in.tier.name([]byte("ux"), nil, "") },
		"variant": func() (string, [32]byte) {
			return in.tier.name([]byte("u"), nil, "", exchange.Field{Name: "A", Value: "x"})
		},
		"variant of two": func() (string, [32]byte) {
			return in.tier.name([]byte("u"), nil, "", exchange.Field{Name: "A", Value: ""}, exchange.Field{Name: "x", Value: ""})
		},
	} {
		k, _ := key()
		if other, twice := seen[k]; twice {
			t.Errorf("%s and %s have one key", what, other)
		}
		seen[k] = what
	}
	a, _ := in.tier.name([]byte("u"), nil, "", exchange.Field{Name: "Accept", Value: "x"})
	b, _ := in.tier.name([]byte("u"), nil, "", exchange.Field{Name: "accept", Value: "x"})
	if a != b {
		t.Error("a field's name counts as it is written")
	}
	for name, c := range map[string]Config{"ttl": {TTL: time.Hour}, "authorized": {Authorized: "private"}, "cookies": {Cookies: "ignore"}, "name": {Name: "n"}} {
		c.Shared = &Shared{}
		if other := newInstance(t, c, nil, in.addr...); other.tier.space == in.tier.space {
			t.Errorf("%s: another cache has the same place in Redis", name)
		}
	}
	if same := newInstance(t, Config{MaxBytes: 1 << 20, Shared: &Shared{}, CoalesceTimeout: time.Second}, nil, in.addr...); same.tier.space != in.tier.space {
		t.Error("sizes and times of serving make another place in Redis")
	}
}
