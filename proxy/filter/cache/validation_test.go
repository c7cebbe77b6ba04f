package cache

import (
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func TestClientConditionsAreAnsweredFromTheStore(t *testing.T) {
	for _, c := range []struct {
		name, condition string
		status          int
	}{
		{"same tag", `If-None-Match: "v1"`, 304},
		{"weakly the same", `If-None-Match: W/"v1"`, 304},
		{"in a list", `If-None-Match: "a,b" , W/"v1"`, 304},
		{"any", `If-None-Match: *`, 304},
		{"other tag", `If-None-Match: "v2"`, 200},
		{"not a tag", `If-None-Match: v1`, 200},
		{"not changed since", "If-Modified-Since: Tue, 31 Dec 2024 00:00:00 GMT", 304},
		{"changed since", "If-Modified-Since: Mon, 30 Dec 2024 00:00:00 GMT", 200},
		{"unreadable date", "If-Modified-Since: yesterday", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.do(request("GET /"), says(200, "a", "Cache-Control: max-age=60", `ETag: "v1"`,
				"Last-Modified: Tue, 31 Dec 2024 00:00:00 GMT", "Content-Type: text/plain", "Vary: Accept"))
			x := request("GET /", c.condition)
			body := r.do(x, nil)
			want(t, x, c.status, "lintel; hit; ttl=60")
			if c.status == 304 && (body != "" || x.Response.Header.Has("Content-Type") ||
				!x.Response.Header.Has("ETag") || !x.Response.Header.Has("Vary")) {
				t.Errorf("304 with body %q and %v", body, x.Response.Header)
			}
		})
	}
}

func TestAStaleAnswerIsValidated(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "a", "Cache-Control: max-age=60", `ETag: "v1"`, "X-Version: 1", "Content-Type: text/plain"))
	r.advance(2 * time.Minute)
	var sent exchange.Fields
	x := request("GET /", `If-None-Match: "mine"`)
	body := r.do(x, func(x *exchange.Exchange) *exchange.Fault {
		sent = x.Request.Header.Clone()
		return says(304, "", "X-Version: 2", "Cache-Control: max-age=30", "Content-Type: wrong/type")(x)
	})
	if sent.Joined("If-None-Match") != `"v1"` {
		t.Errorf("asked with %v", sent)
	}
	want(t, x, 200, "lintel; fwd=stale; fwd-status=304; stored; ttl=30")
	if body != "a" || x.Response.Header.Joined("X-Version") != "2" || x.Response.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("body %q, header %v", body, x.Response.Header)
	}
	x = request("GET /")
	if r.do(x, nil) != "a" {
		t.Error("the freshened answer is gone")
	}
	want(t, x, 200, "lintel; hit; ttl=30")
	r.advance(time.Minute)
	x = request("GET /", `If-None-Match: "v1"`)
	r.do(x, says(304, ""))
	want(t, x, 304, "lintel; fwd=stale; fwd-status=304; stored; ttl=30")
	r.advance(time.Minute)
	x = request("GET /")
	if r.do(x, says(200, "new", "Cache-Control: max-age=60")) != "new" {
		t.Error("a new answer was not given")
	}
	want(t, x, 200, "lintel; fwd=stale; fwd-status=200; stored")
	if r.responses.Len() != 1 {
		t.Errorf("%d answers kept, want 1", r.responses.Len())
	}
}

func TestNoCacheIsValidatedEveryTime(t *testing.T) {
	r := newRig(t, Config{StaleIfError: time.Hour})
	r.do(request("GET /"), says(200, "a", "Cache-Control: no-cache", `ETag: "v1"`))
	for range 2 {
		x := request("GET /")
		if r.do(x, says(304, "")) != "a" {
			t.Fatal("not given after validation")
		}
	}
	x := request("GET /")
	if r.do(x, broken); x.Response.Status != 503 {
		t.Errorf("given unvalidated: %s", x.CacheInfo)
	}
	if r.do(request("GET /"), says(304, "", "Cache-Control: no-store")) != "a" {
		t.Error("what was just confirmed was not given")
	}
	if r.responses.Len() != 0 {
		t.Error("kept although the service forbade it")
	}
}

func TestStaleIfError(t *testing.T) {
	refused := func(*exchange.Exchange) *exchange.Fault {
		return &exchange.Fault{Source: exchange.FromPolicy, Status: 403, Code: "forbidden"}
	}
	for _, c := range []struct {
		name   string
		sie    time.Duration
		header string
		after  time.Duration
		origin origin
		stale  bool
	}{
		{"breaker open", time.Minute, "max-age=60", 90 * time.Second, broken, true},
		{"503", time.Minute, "max-age=60", 90 * time.Second, says(503, "down"), true},
		{"429 is no failure", time.Minute, "max-age=60", 90 * time.Second, says(429, "slow"), false},
		{"refused by a filter", time.Minute, "max-age=60", 90 * time.Second, refused, false},
		{"too stale", time.Minute, "max-age=60", 121 * time.Second, broken, false},
		{"off", 0, "max-age=60", 61 * time.Second, broken, false},
		{"must-revalidate", time.Minute, "max-age=60, must-revalidate", 90 * time.Second, broken, false},
		{"proxy-revalidate", time.Minute, "max-age=60, proxy-revalidate", 90 * time.Second, says(500, ""), false},
		{"s-maxage", time.Minute, "s-maxage=60", 90 * time.Second, broken, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{StaleIfError: c.sie})
			r.do(request("GET /"), says(200, "a", "Cache-Control: "+c.header))
			r.advance(c.after)
			x := request("GET /")
			body := r.do(x, c.origin)
			if got := body == "a" && x.Response.Status == 200; got != c.stale {
				t.Fatalf("%d %q %q", x.Response.Status, body, x.CacheInfo)
			}
			if c.stale && x.Response.Header.Get("Age") != "90" {
				t.Errorf("Age: %s", x.Response.Header.Get("Age"))
			}
		})
	}
}

// A user who is told that an answer for all still holds, and no longer that it
// is for all, leaves none for all.
func TestWhatIsConfirmedForOneIsNotConfirmedForAll(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "for all", "Cache-Control: public, max-age=60", `ETag: "1"`))
	r.advance(time.Hour)
	if got := r.do(user(request("GET /"), "a"), says(304, "", "Cache-Control: max-age=60")); got != "for all" {
		t.Errorf("a got %q", got)
	}
	if r.responses.Len() != 0 {
		t.Error("it is kept for all")
	}
}
