package cache

import (
	"fmt"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// stocked is two caches with some answers: one of a name, one of a route.
func stocked(t *testing.T) (named, route *rig, all Caches) {
	set := store.NewSet()
	f, _ := mustBuild(t, Config{Name: "api", IgnoreQuery: []string{"utm_*", "ref"}}, set, "r")
	g, _ := mustBuild(t, Config{}, set, "pages")
	named, route = &rig{cache: f}, &rig{cache: g}
	f.now, g.now = named.time, route.time
	tagged := func(tags string) origin { return says(200, "x", "Cache-Control: max-age=60", "Surrogate-Key: "+tags) }
	named.do(request("GET /orders/1"), tagged("orders order-1"))
	named.do(user(request("GET /orders/1"), "a"), tagged("orders order-1"))
	named.do(request("GET /orders/2?page=1&utm_source=x"), tagged("orders order-2"))
	named.do(request("GET /ordersX"), tagged("other"))
	x := request("GET /orders/1")
	x.Request.Scheme, x.Request.Authority = "http", "other.example:80"
	route.do(x, tagged("orders,order-1"))
	return named, route, Caches{Stores: set}
}

func TestPurge(t *testing.T) {
	for _, c := range []struct {
		purge Purge
		gone  int
	}{
		{Purge{URL: "https://api.example/orders/1"}, 2},
		{Purge{URL: "http://API.example:80/orders/1"}, 2},
		{Purge{URL: "https://api.example/orders"}, 0},
		{Purge{URL: "https://other.example/orders/1"}, 1},
		{Purge{URL: "/orders/1"}, 3},
		{Purge{URL: "/orders/2?page=1"}, 1},
		{Purge{URL: "/orders/2?page=1&ref=7"}, 1},
		{Purge{URL: "https://api.example/orders/2?utm_medium=y&page=1"}, 1},
		{Purge{URL: "/orders/2"}, 0},
		{Purge{Prefix: "https://api.example"}, 4},
		{Purge{Prefix: "https://api.example/orders/"}, 3},
		{Purge{Prefix: "/orders"}, 5},
		{Purge{Prefix: "/orders/2?pa"}, 1},
		{Purge{Prefix: "/orders/2?pb"}, 0},
		{Purge{Tag: "orders"}, 4},
		{Purge{Tag: "order-1"}, 3},
		{Purge{Tag: "order"}, 0},
		{Purge{Tag: "orders", Cache: "name:api"}, 3},
		{Purge{Tag: "orders", Cache: "route:pages"}, 1},
		{Purge{All: true}, 5},
		{Purge{All: true, Cache: "route:pages"}, 1},
	} {
		t.Run(fmt.Sprintf("%+v", c.purge), func(t *testing.T) {
			named, route, all := stocked(t)
			n, err := all.Purge(c.purge)
			if left := named.responses.Len() + route.responses.Len(); err != nil || n.Here != c.gone || n.Untold || left != 5-c.gone {
				t.Errorf("%+v purged, %d left of 5, %v; want %d gone", n, left, err, c.gone)
			}
			if got := named.purged.Load() + route.purged.Load(); got != int64(c.gone) {
				t.Errorf("%d counted", got)
			}
		})
	}
}

func TestWrongPurgesAreRefused(t *testing.T) {
	_, _, all := stocked(t)
	for _, p := range []Purge{
		{}, {URL: "/a", Tag: "b"}, {URL: "/a", Prefix: "/b"}, {URL: "a/b"}, {URL: "ftp://a/b"}, {URL: "https:///b"}, {URL: "https://u@a/b"},
		{URL: "//a/b"}, {URL: "https://a/b#c"}, {URL: "https://a/%zz"}, {Tag: "a", Cache: "name:none"},
	} {
		if n, err := all.Purge(p); err == nil {
			t.Errorf("%+v: %+v purged", p, n)
		} else if !strings.HasPrefix(err.Error(), "cache: ") {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestAnAnswerOnItsWayWhileThereIsAPurgeIsNotKept(t *testing.T) {
	for _, p := range []Purge{{URL: "https://api.example/"}, {URL: "/"}, {Prefix: "/"}, {Tag: "t"}, {All: true}} {
		set := store.NewSet()
		f, _ := mustBuild(t, Config{}, set, "r")
		r := &rig{cache: f}
		r.do(request("GET /"), func(x *exchange.Exchange) *exchange.Fault {
			if _, err := (Caches{Stores: set}).Purge(p); err != nil {
				t.Error(err)
			}
			return says(200, "old", "Cache-Control: max-age=60", "Cache-Tag: t")(x)
		})
		if r.responses.Len() != 0 {
			t.Errorf("%+v: kept", p)
		}
	}
}

func TestTagsAreKeptFromClientsAndSurviveRevalidation(t *testing.T) {
	for _, keep := range []bool{false, true} {
		r := newRig(t, Config{KeepTags: keep})
		o := says(200, "a", "Cache-Control: no-cache", `ETag: "1"`, "Surrogate-Key: a b", "cache-tag: c, a")
		for i, x := range []*exchange.Exchange{request("GET /"), request("GET /"), request("HEAD /"), request("POST /x")} {
			if i == 1 {
				o = says(304, "")
			}
			r.do(x, o)
			if has := x.Response.Header.Has("Surrogate-Key"); i < 2 && has != keep {
				t.Errorf("keep_tags %v, exchange %d: the client sees tags: %v", keep, i, has)
			}
		}
		if n := r.responses.PurgeTag("c"); n != 1 {
			t.Errorf("keep_tags %v: %d purged by a tag from before the validation", keep, n)
		}
	}
	r := newRig(t, Config{Tags: []string{}})
	x := request("GET /")
	r.do(x, says(200, "a", "Cache-Control: max-age=9", "Surrogate-Key: a"))
	if !x.Response.Header.Has("Surrogate-Key") {
		t.Error("a field that lists no tags here was taken off")
	}
}

func TestNewTagsOfA304Count(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "a", "Cache-Control: no-cache", `ETag: "1"`, "Cache-Tag: old"))
	r.do(request("GET /"), says(304, "", "Cache-Tag: new"))
	if old, now := r.responses.PurgeTag("old"), r.responses.PurgeTag("new"); old != 0 || now != 1 {
		t.Errorf("purged %d by the old tag, %d by the new", old, now)
	}
}

func TestStats(t *testing.T) {
	named, _, all := stocked(t)
	named.do(request("GET /orders/1"), nil)
	s := all.Stats()
	if len(s) != 2 || s[0].Name != "name:api" || s[1].Name != "route:pages" || s[0].Entries != 4 || s[0].Hits != 1 || s[0].Misses != 4 || s[0].Stored != 4 ||
		s[0].Bytes <= 0 || s[0].MaxBytes != 64<<20 {
		t.Errorf("%+v", s)
	}
}

func TestIgnoredQueryParametersChooseNoAnswer(t *testing.T) {
	r := newRig(t, Config{IgnoreQuery: []string{"utm_*", "ref"}})
	r.do(request("GET /?a=1"), says(200, "one", "Cache-Control: max-age=60"))
	for target, hit := range map[string]bool{"/?a=1&utm_source=x": true, "/?ref&a=1&utm_=": true, "/?a=2": false, "/?a=1&referrer=x": false, "/?a=1&xutm_a=1": false, "/": false} {
		if got := r.do(request("GET "+target), says(200, "two")); (got == "one") != hit {
			t.Errorf("%s: %q", target, got)
		}
	}
}

func TestTheKeyIsShownOnlyWhenAskedFor(t *testing.T) {
	for _, show := range []bool{false, true} {
		r := newRig(t, Config{ShowKey: show, IgnoreQuery: []string{"u"}})
		x := user(request(`GET /a"b?c&u=1`), "secret")
		r.do(x, says(200, "a", "Cache-Control: max-age=60"))
		line := x.Response.Header.Get("Cache-Status")
		if got := strings.HasSuffix(line, `; key="https://api.example/a\"b?c"`); got != show || strings.Contains(line, "secret") {
			t.Errorf("show_key %v: %s", show, line)
		}
	}
}
