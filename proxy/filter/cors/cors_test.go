package cors

import (
	"errors"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := Kind().Build(&c, &filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func request(method string, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Method, x.Request.Scheme, x.Request.Authority, x.Request.Path = method, "https", "api.example.com", "/"
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

// run does what the pipe does; the service answers with fields of its own.
func run(f *Filter, x *exchange.Exchange, service ...string) string {
	v := f.OnRequest(x)
	switch {
	case v.Fault() != nil:
		x.Fault = v.Fault()
		x.Answer(x.Fault.Status, "", nil)
	case !v.Answered():
		x.Answer(200, "", nil)
		for _, l := range service {
			name, value, _ := strings.Cut(l, ": ")
			x.Response.Header.Add(name, value)
		}
	}
	f.OnResponse(x)
	var s []string
	for n, v := range x.Response.Header.All() {
		s = append(s, n+": "+v)
	}
	return strings.Join(s, "|")
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		configured string
		origin     string
		allowed    bool
	}{
		{"https://app.example.com", "https://app.example.com", true},
		{"HTTPS://App.Example.com:443", "https://app.example.com", true},
		{"http://app.example.com:80", "http://app.example.com", true},
		{"https://app.example.com", "http://app.example.com", false},
		{"https://app.example.com", "https://app.example.com:8443", false},
		{"https://app.example.com", "https://app.example.com.evil.com", false},
		{"https://app.example.com", "https://xapp.example.com", false},
		{"https://app.example.com", "null", false},
		{"https://*.example.com", "https://a.example.com", true},
		{"https://*.example.com", "https://a.b.example.com", true},
		{"https://*.example.com", "https://example.com", false},
		{"https://*.example.com", "https://evilexample.com", false},
		{"https://*.example.com", "https://.example.com", false},
		{"https://*.example.com", "https://a.example.com:444", false},
		{"https://*.example.com", "https://evil.com/.example.com", false},
		{"https://*.example.com", "https://evil.com:443.example.com", false},
		{"https://*.example.com", "https://u@evil.com?.example.com", false},
		{"https://*.example.com", "https://a..example.com", false},
		{"https://*.example.com", "https://A.example.com", false}, // no browser says so
		{"https://*.example.com", "http://a.example.com", false},
		{"https://*.example.com:8443", "https://a.example.com:8443", true},
		{"https://*.example.com:8443", "https://a.example.com", false},
		{"http://localhost:*", "http://localhost:5173", true},
		{"http://localhost:*", "http://localhost", true},
		{"http://localhost:*", "http://localhost:evil", false},
		{"http://localhost:*", "http://localhost.evil.com:80", false},
		{"https://*.example.com:*", "https://a.example.com:1", true},
		{"http://[::1]:8080", "http://[::1]:8080", true},
		{"http://[::1]:*", "http://[::1]:8080", true},
		{"chrome-extension://abcdef", "chrome-extension://abcdef", true},
		{"null", "null", true},
		{"*", "https://anything.example", true},
	} {
		f := newFilter(t, Config{Origins: []string{c.configured}})
		x := request("GET", "Origin: "+c.origin)
		run(f, x)
		if got := x.Response.Header.Has("Access-Control-Allow-Origin"); got != c.allowed {
			t.Errorf("%s lets %s call: %t, want %t", c.configured, c.origin, got, c.allowed)
		}
	}
}

func TestAnswersSayWhoMayReadThem(t *testing.T) {
	list := Config{Origins: []string{"https://a.example"}, Credentials: true, Expose: []string{"X-Total", "Link"}}
	star := Config{Origins: []string{"*"}, Expose: []string{"*"}}
	for _, c := range []struct {
		name    string
		cfg     Config
		request string
		service string
		want    string
	}{
		{"allowed", list, "Origin: https://a.example", "A: 1", "A: 1|Vary: Origin|Access-Control-Allow-Origin: https://a.example|Access-Control-Allow-Credentials: true|Access-Control-Expose-Headers: X-Total, Link"},
		{"foreign", list, "Origin: https://b.example", "A: 1", "A: 1|Vary: Origin"},
		{"no page", list, "A: b", "A: 1", "A: 1|Vary: Origin"},
		{"varies already", list, "A: b", "vary: accept, origin", "vary: accept, origin"},
		{"the service's own words go", list, "Origin: https://b.example", "access-control-allow-origin: *", "Vary: Origin"},
		{"everybody", star, "Origin: https://b.example", "Access-Control-Allow-Origin: https://x", "Access-Control-Allow-Origin: *|Access-Control-Expose-Headers: *"},
		{"everybody, no page", star, "A: b", "A: 1", "A: 1|Access-Control-Allow-Origin: *|Access-Control-Expose-Headers: *"},
	} {
		if got := run(newFilter(t, c.cfg), request("GET", c.request), c.service); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestPreflightsAreAnsweredHere(t *testing.T) {
	list := Config{Origins: []string{"https://a.example"}, MaxAge: time.Hour}
	any := Config{Origins: []string{"https://a.example"}, Methods: []string{"*"}, Headers: []string{"*"}, Credentials: true, PrivateNetwork: true}
	const vary = "|Vary: Origin|Access-Control-Allow-Origin: https://a.example|"
	const varies = "Vary: Access-Control-Request-Method|Vary: Access-Control-Request-Headers"
	for _, c := range []struct {
		name   string
		cfg    Config
		lines  []string
		status int
		want   string
	}{
		{"lists", list, []string{"Origin: https://a.example", "Access-Control-Request-Method: DELETE"}, 204,
			"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE|Access-Control-Allow-Headers: Authorization, Content-Type|Access-Control-Max-Age: 3600" + vary + varies},
		{"whatever is asked", any, []string{"Origin: https://a.example", "Access-Control-Request-Method: PURGE", "Access-Control-Request-Headers: x-a,authorization", "Access-Control-Request-Private-Network: true"}, 204,
			"Access-Control-Allow-Methods: PURGE|Access-Control-Allow-Headers: x-a,authorization|Access-Control-Max-Age: 0|Access-Control-Allow-Private-Network: true" + vary + varies + "|Access-Control-Allow-Credentials: true"},
		{"no list of names", any, []string{"Origin: https://a.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: a b"}, 204,
			"Access-Control-Allow-Methods: GET|Access-Control-Max-Age: 0" + vary + varies + "|Access-Control-Allow-Credentials: true"},
		{"foreign", list, []string{"Origin: https://b.example", "Access-Control-Request-Method: GET"}, 403, "Vary: Origin"},
		{"two origins", list, []string{"Origin: https://a.example", "Origin: https://b.example", "Access-Control-Request-Method: GET"}, 403, "Vary: Origin"},
	} {
		x := request("OPTIONS", c.lines...)
		if got := run(newFilter(t, c.cfg), x, "Service: asked"); got != c.want || x.Response.Status != c.status {
			t.Errorf("%s: %d\n got %s\nwant %s", c.name, x.Response.Status, got, c.want)
		}
	}
	// OPTIONS that asks nothing of the kind is the service's.
	for _, lines := range [][]string{{"Origin: https://a.example"}, {"Access-Control-Request-Method: GET"}, {"Origin: https://a.example", "Access-Control-Request-Method: a b"}} {
		x := request("OPTIONS", lines...)
		if run(newFilter(t, list), x); x.Response.Status != 200 {
			t.Errorf("%q: %d", lines, x.Response.Status)
		}
	}
}

func TestOtherOriginsAreRefusedIfSo(t *testing.T) {
	f := newFilter(t, Config{Origins: []string{"https://a.example"}, Refuse: true})
	for origin, status := range map[string]int{"https://a.example": 200, "https://b.example": 403, "": 200, "https://api.example.com": 200, "http://API.example.com": 200, "null": 403} {
		var lines []string
		if origin != "" {
			lines = append(lines, "Origin: "+origin)
		}
		x := request("POST", lines...)
		if run(f, x); x.Response.Status != status {
			t.Errorf("%q: %d, want %d", origin, x.Response.Status, status)
		}
	}
	x := request("GET", "Origin: "+strings.Repeat("x", 5000))
	if run(f, x); len(x.Fault.Detail) > 300 {
		t.Errorf("the refusal repeats %d bytes", len(x.Fault.Detail))
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{}, "origins", "want 1"},
		{Config{Origins: []string{"*"}, Credentials: true}, "origins[0]", "every site"},
		{Config{Origins: []string{"https://a.b", "*"}}, "origins[1]", "covers"},
		{Config{Origins: []string{"null"}, Credentials: true}, "origins[0]", "sandboxed"},
		{Config{Origins: []string{"app.example.com"}}, "origins[0]", "https://app.example.com"},
		{Config{Origins: []string{"https://a.b/"}}, "origins[0]", "slash"},
		{Config{Origins: []string{"https://a.b/x"}}, "origins[0]", "want an origin"},
		{Config{Origins: []string{"https://*.com"}}, "origins[0]", "two labels"},
		{Config{Origins: []string{"https://*example.com"}}, "origins[0]", "want an origin"},
		{Config{Origins: []string{"https://a.b:0"}}, "origins[0]", "want an origin"},
		{Config{Origins: []string{"https://a.b:x"}}, "origins[0]", "want an origin"},
		{Config{Origins: []string{"https://"}}, "origins[0]", "want an origin"},
		{Config{Origins: []string{"https://a.b"}, Methods: []string{"GET,PUT"}}, "methods[0]", "name"},
		{Config{Origins: []string{"https://a.b"}, Headers: []string{"A", "*"}}, "headers[1]", "covers"},
		{Config{Origins: []string{"https://a.b"}, Credentials: true, Expose: []string{"*"}}, "expose[0]", "no meaning"},
		{Config{Origins: []string{"https://a.b"}, Expose: []string{"X\r\nY"}}, "expose[0]", "name"},
		{Config{Origins: []string{"https://a.b"}, MaxAge: 48 * time.Hour}, "max_age", "24h"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	f := newFilter(t, Config{Origins: []string{"https://a.b", "http://localhost:*"}, Credentials: true, Refuse: true})
	if got := f.Explain(); got != "origins https://a.b http://localhost:*, with credentials, others are refused" {
		t.Error(got)
	}
}

func TestAnExchangeAllocatesNothing(t *testing.T) {
	f := newFilter(t, Config{Origins: []string{"https://a.example", "https://*.b.example"}, Credentials: true, Expose: []string{"X-A"}})
	x := request("GET", "Origin: https://x.b.example")
	do := func() {
		x.Response.Header.Reset()
		f.OnRequest(x)
		f.OnResponse(x)
	}
	do()
	if n := testing.AllocsPerRun(100, do); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	f := newFilter(b, Config{Origins: []string{"https://a.example", "https://*.b.example"}})
	x := request("GET", "Origin: https://x.b.example")
	b.ReportAllocs()
	for b.Loop() {
		x.Response.Header.Reset()
		f.OnRequest(x)
		f.OnResponse(x)
	}
}

// FuzzOrigin: whatever is allowed by the wildcard is a host below the name.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://a.example.com", "https://evil.com/.example.com", "https://a.example.com:1", "https://a@.example.com", "null"} {
		f.Add(s)
	}
	flt := newFilter(f, Config{Origins: []string{"https://*.example.com"}})
	f.Fuzz(func(t *testing.T, origin string) {
		if !flt.allows(origin) {
			return
		}
		name := strings.TrimSuffix(strings.TrimPrefix(origin, "https://"), ".example.com")
		if "https://"+name+".example.com" != origin || strings.ContainsAny(name, "/:@?#\\ \r\n[]") || name == "" {
			t.Errorf("%q is allowed", origin)
		}
	})
}
