package extauthz

import (
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Whatever the authorizer sees makes another question, and what it does not see
// makes none.
func TestAnswersAreRememberedByExactlyWhatTheAuthorizerSaw(t *testing.T) {
	base := func() *exchange.Exchange { return request("GET", "/a", "q=1", "Cookie", "c", "X-Other", "o") }
	body := func(x *exchange.Exchange, s string) *exchange.Exchange {
		x.Request.Body, x.Request.Length = exchange.NewBody([]byte(s)), int64(len(s))
		return x
	}
	change := func(f func(x *exchange.Exchange)) *exchange.Exchange { x := base(); f(x); return x }
	for _, c := range []struct {
		name  string
		cfg   Config
		other *exchange.Exchange
		again bool
	}{
		{"the same", Config{}, base(), false},
		{"another method", Config{}, request("POST", "/a", "q=1", "Cookie", "c"), true},
		{"another path", Config{}, request("GET", "/b", "q=1", "Cookie", "c"), true},
		{"another query", Config{}, request("GET", "/a", "q=2", "Cookie", "c"), true},
		{"query spelt into the path", Config{}, request("GET", "/a?q=1", "", "Cookie", "c"), false}, // the same X-Forwarded-Uri; no engine makes it
		{"another host", Config{}, change(func(x *exchange.Exchange) { x.Request.Authority = "b" }), true},
		{"another scheme", Config{}, change(func(x *exchange.Exchange) { x.Request.Scheme = "http" }), true},
		{"another address", Config{}, change(func(x *exchange.Exchange) { x.ClientIP = netip.MustParseAddr("192.0.2.8") }), true},
		{"another cookie", Config{}, request("GET", "/a", "q=1", "Cookie", "d"), true},
		{"no cookie", Config{}, request("GET", "/a", "q=1"), true},
		{"two cookies", Config{}, request("GET", "/a", "q=1", "Cookie", "c", "Cookie", ""), true},
		{"the cookie in another header", Config{}, request("GET", "/a", "q=1", "Authorization", "c"), true},
		{"a header it is not given", Config{}, request("GET", "/a", "q=1", "Cookie", "c", "X-Other", "p"), false},
		{"told nothing: another method and path", Config{Tell: []string{}}, request("POST", "/b", "", "Cookie", "c"), false},
		{"told the path: another query", Config{Tell: []string{"path"}}, request("GET", "/a", "q=2", "Cookie", "c"), false},
		{"told the path: another path", Config{Tell: []string{"path"}}, request("GET", "/b", "q=1", "Cookie", "c"), true},
		{"a body it is not shown", Config{}, body(base(), "b"), false},
		{"a body", Config{Body: 9}, body(base(), "b"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthorizer(t, allow("U", "ada"))
			c.cfg.URL, c.cfg.Cache.TTL = a.URL, time.Hour
			f := newFilter(t, c.cfg)
			passes(t, f, base())
			passes(t, f, c.other)
			if want := map[bool]int{false: 1, true: 2}[c.again]; a.count() != want {
				t.Errorf("asked %d times, want %d", a.count(), want)
			}
		})
	}
}

func TestWhatIsRemembered(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		fields []string
		ttl    time.Duration
		kept   bool
	}{
		{"yes", 200, nil, time.Hour, true},
		{"no", 403, nil, time.Hour, true},
		{"not known", 401, nil, time.Hour, true},
		{"off", 200, nil, 0, false},
		{"to a login", 302, nil, time.Hour, false},
		{"throttled", 429, nil, time.Hour, false},
		{"a cookie for one", 200, []string{"Set-Cookie", "s=1"}, time.Hour, false},
		{"a cookie for one who may not", 401, []string{"Set-Cookie", "s=1"}, time.Hour, false},
		{"as it says itself", 200, []string{"Cache-Control", "private, NO-STORE"}, time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthorizer(t, func(w http.ResponseWriter, r *http.Request) {
				allow(c.fields...)(w, r)
				w.WriteHeader(c.status)
			})
			f := newFilter(t, Config{URL: a.URL, Cache: Cache{TTL: c.ttl}})
			for range 2 {
				f.OnRequest(request("GET", "/", ""))
			}
			if want := map[bool]int{true: 1, false: 2}[c.kept]; a.count() != want {
				t.Errorf("asked %d times, want %d", a.count(), want)
			}
		})
	}
}

func TestRememberedAnswersExpireAndAreBounded(t *testing.T) {
	a := newAuthorizer(t, allow())
	f := newFilter(t, Config{URL: a.URL, Cache: Cache{TTL: time.Hour, Max: 3}})
	for i := range 10 {
		passes(t, f, request("GET", "/"+strconv.Itoa(i), ""))
	}
	if n := f.verdicts.Len(); n != 3 {
		t.Errorf("%d are kept, at most 3 are allowed", n)
	}
	passes(t, f, request("GET", "/9", ""))
	before := a.count()
	f.now = func() time.Time { return time.Now().Add(time.Hour) }
	if passes(t, f, request("GET", "/9", "")); a.count() != before+1 {
		t.Error("an answer counts past its time")
	}
}

func TestConcurrentIdenticalQuestionsAreAskedOnce(t *testing.T) {
	const clients = 20
	open := make(chan struct{})
	a := newAuthorizer(t, func(w http.ResponseWriter, r *http.Request) {
		<-open
		w.Header().Set("U", r.Header.Get("Cookie"))
	})
	f := newFilter(t, Config{URL: a.URL, Timeout: time.Minute, Identity: Mapping{Subject: "U"}})
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			user := strconv.Itoa(i % 2)
			x := request("GET", "/", "", "Cookie", user)
			if f.OnRequest(x); x.Identity == nil || x.Identity.Subject != user {
				t.Errorf("user %s was given %+v", user, x.Identity)
			}
		})
	}
	close(open)
	wg.Wait()
	if n := a.count(); n < 2 || n > clients {
		t.Errorf("asked %d times by %d clients", n, clients)
	}
}

// A login's state belongs to one browser: of two anonymous ones that ask at the
// same time, each gets its own.
func TestCookiesAreNeverShared(t *testing.T) {
	var mu sync.Mutex
	n := 0
	a := newAuthorizer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		w.Header().Set("Set-Cookie", "state="+strconv.Itoa(n))
		mu.Unlock()
		w.Header().Set("Location", "/login")
		w.WriteHeader(http.StatusFound)
	})
	f := newFilter(t, Config{URL: a.URL, Cache: Cache{TTL: time.Hour}})
	var wg sync.WaitGroup
	seen := make(chan string, 20)
	for range cap(seen) {
		wg.Go(func() {
			x := request("GET", "/", "")
			f.OnRequest(x)
			seen <- x.Response.Header.Get("Set-Cookie")
		})
	}
	wg.Wait()
	close(seen)
	states := map[string]bool{}
	for s := range seen {
		if s == "" || states[s] {
			t.Errorf("%q was given twice", s)
		}
		states[s] = true
	}
}

func TestARememberedAnswerAllocatesNothing(t *testing.T) {
	a := newAuthorizer(t, allow("Remote-User", "ada"))
	f := newFilter(t, Config{URL: a.URL, Cache: Cache{TTL: time.Hour}, ToService: []string{"Remote-User"}, Identity: Mapping{Subject: "Remote-User"}})
	x := request("GET", "/orders/7", "a=b", "Cookie", "session=0123456789abcdef", "Accept", "*/*")
	passes(t, f, x)
	if n := testing.AllocsPerRun(1000, func() { f.OnRequest(x) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkRemembered(b *testing.B) {
	a := newAuthorizer(b, allow("Remote-User", "ada"))
	f := newFilter(b, Config{URL: a.URL, Cache: Cache{TTL: time.Hour}, ToService: []string{"Remote-User"}, Identity: Mapping{Subject: "Remote-User"}})
	x := request("GET", "/orders/7", "a=b", "Cookie", "session=0123456789abcdef", "Accept", "*/*")
	passes(b, f, x)
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}

func BenchmarkAsked(b *testing.B) {
	a := newAuthorizer(b, func(w http.ResponseWriter, r *http.Request) {})
	f := newFilter(b, Config{URL: a.URL})
	x := request("GET", "/orders/7", "a=b", "Cookie", "session=0123456789abcdef", "Accept", "*/*")
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}
