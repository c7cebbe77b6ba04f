package transform

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/headers"
)

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := Kind().Build(&c, &filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func request(target string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Method = "GET"
	x.Request.Path, x.Request.Query, _ = strings.Cut(target, "?")
	return x
}

func TestPaths(t *testing.T) {
	claims := map[string]any{"tenant": "acme", "evil": "../admin", "dot": ".", "n": 7.0}
	for _, c := range []struct {
		template, id, rest string
		want               string // or the code of the refusal and its status
	}{
		{"/v2/{param:id}", "7%20a", "", "/v2/7%20a"},
		{"/t/{claim:tenant}/{param:rest}", "", "a/b%2Fc", "/t/acme/a/b%2Fc"},
		{"/t/{claim:tenant}/{param:rest}", "", "", "/t/acme/"},
		{"/t/{claim:evil}", "", "", "/t/..%2Fadmin"},
		{"/t/{claim:n}-{param:id}", "1", "", "/t/7-1"},
		{"/t/{claim:dot}", "", "", "bad-path 400"},
		{"/t/{claim:dot}{claim:dot}/x", "", "", "bad-path 400"},
		{"/t/{claim:none}/x", "", "", "value-missing 403"},
		{"/t/{subject}/x", "", "", "value-missing 403"},
		{"/t/{param:id}/x", "", "", "value-missing 400"},
		{"/t/{query:q}", "", "", "/t/a%2Fb"},
		{"/fixed", "", "", "/fixed"},
	} {
		f := newFilter(t, Config{Request: Request{Path: c.template}})
		x := request("/old?q=a/b")
		x.Params = []exchange.Param{{Name: "id", Value: c.id}, {Name: "rest", Value: c.rest}}
		x.Identity = &exchange.Identity{Claims: claims}
		v := f.OnRequest(x)
		got := x.Request.Path
		if fault := v.Fault(); fault != nil {
			got = fault.Code + map[int]string{400: " 400", 403: " 403"}[fault.Status]
			if x.Request.Path != "/old" {
				t.Errorf("%s: a refused request has the path %s", c.template, x.Request.Path)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.template, got, c.want)
		}
	}
}

func TestQueries(t *testing.T) {
	for _, c := range []struct {
		name string
		q    Query
		in   string
		want string
	}{
		{"remove", Query{Remove: []string{"a", "z"}}, "a=1&b=2&a=3&%61=4", "b=2"},
		{"spelling stays", Query{Remove: []string{"z"}}, "q=a%2fb+c&&x&y=", "q=a%2fb+c&x&y="},
		{"keep", Query{Keep: []string{"b"}}, "a=1&b=2&b=3&c", "b=2&b=3"},
		{"keep nothing", Query{Keep: []string{}}, "a=1", ""},
		{"rename", Query{Rename: map[string]string{"a": "n w"}}, "a=1&b&a", "n+w=1&b&n+w"},
		{"rename takes the place", Query{Rename: map[string]string{"a": "b"}}, "b=9&a=1", "b=1"},
		{"nothing to rename", Query{Rename: map[string]string{"a": "b"}}, "b=9", "b=9"},
		{"swap", Query{Rename: map[string]string{"a": "b", "b": "a"}}, "a=1&b=2", "b=1&a=2"},
		{"set", Query{Set: map[string]string{"a": "x y&z", "n": "{claim:sub}"}}, "a=1&b=2&a=3", "b=2&a=x+y%26z&n=ada"},
		{"set empty", Query{Set: map[string]string{"a": ""}}, "", "a="},
		{"set without a value", Query{Set: map[string]string{"a": "{claim:none}"}}, "a=1&b=2", "b=2"},
		{"add", Query{Add: map[string]string{"a": "{client_ip}{method}"}}, "a=1", "a=1&a=GET"},
		{"evil", Query{Set: map[string]string{"u": "{claim:evil}"}}, "", "u=a%26admin%3D1%0D%0A%23"},
		{"all", Query{Keep: []string{"a", "b"}, Remove: []string{"b"}, Rename: map[string]string{"a": "c"}, Set: map[string]string{"d": "1"}, Add: map[string]string{"c": "2"}}, "a=1&b=2&d=3", "c=1&d=1&c=2"},
	} {
		f := newFilter(t, Config{Request: Request{Query: c.q}})
		x := request("/?" + c.in)
		x.Identity = &exchange.Identity{Claims: map[string]any{"sub": "ada", "evil": "a&admin=1\r\n#"}}
		if v := f.OnRequest(x); v.Fault() != nil || x.Request.Query != c.want {
			t.Errorf("%s: %s, want %s", c.name, x.Request.Query, c.want)
		}
	}
}

func TestHeadersAreChangedBothWays(t *testing.T) {
	f := newFilter(t, Config{
		Request:  Request{Path: "/x", Headers: headers.Change{Set: map[string]string{"X-Path": "{path}"}, Remove: []string{"Cookie"}}},
		Response: Response{Headers: headers.Change{Rename: map[string]string{"X-Total": "Total"}}},
	})
	x := request("/old")
	x.Request.Header.Add("Cookie", "a=b")
	x.Response.Header.Add("X-Total", "7")
	f.OnRequest(x)
	f.OnResponse(x)
	if h := &x.Request.Header; h.Get("X-Path") != "/old" || h.Has("Cookie") || x.Response.Header.Get("Total") != "7" {
		t.Errorf("%v %v", x.Request, x.Response)
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	path := func(s string) Config { return Config{Request: Request{Path: s}} }
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{path("x"), "request.path", "slash"},
		{path("/a?b"), "request.path", "query"},
		{path("/a b"), "request.path", "no path"},
		{path("/a//b"), "request.path", "empty"},
		{path("/../b"), "request.path", "dot"},
		{path("/%zz"), "request.path", "percent"},
		{path("/{user}"), "request.path", "unknown placeholder"},
		{path("/{"), "request.path", "unclosed"},
		{Config{Request: Request{Query: Query{Remove: []string{""}}}}, "request.query.remove[0]", "name"},
		{Config{Request: Request{Query: Query{Rename: map[string]string{"a": "a"}}}}, "request.query.rename.a", "another"},
		{Config{Request: Request{Query: Query{Set: map[string]string{"a": "{x}"}}}}, "request.query.set.a", "unknown placeholder"},
		{Config{Request: Request{Headers: headers.Change{Set: map[string]string{"X-User-Id": "1"}}}}, "request.headers.set.X-User-Id", "reserved"},
		{Config{Response: Response{Headers: headers.Change{Set: map[string]string{"Content-Length": "1"}}}}, "response.headers.set.Content-Length", "framing"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	f := newFilter(t, Config{Request: Request{Path: "/a/{param:id}", Query: Query{Remove: []string{"t"}, Set: map[string]string{"a": "1"}}}})
	if got := f.Explain(); got != "path /a/{param:id}; query remove t, set a" {
		t.Error(got)
	}
	if got := newFilter(t, Config{}).Explain(); got != "unchanged" {
		t.Error(got)
	}
}

func BenchmarkRequest(b *testing.B) {
	f := newFilter(b, Config{Request: Request{Path: "/t/{claim:tenant}/{param:rest}", Query: Query{Remove: []string{"token"}, Set: map[string]string{"v": "{claim:tenant}"}}}})
	x := request("/old")
	x.Request.Header.Recycle()
	x.Params = []exchange.Param{{Name: "rest", Value: "a/b"}}
	x.Identity = &exchange.Identity{Claims: map[string]any{"tenant": "acme"}}
	b.ReportAllocs()
	for b.Loop() {
		x.Request.Header.Reset()
		x.Request.Path, x.Request.Query = "/old", "a=1&token=x"
		f.OnRequest(x)
	}
}

// FuzzQuery: whatever the query, what is removed is gone, what is set is there
// once, and nothing can end the request line.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "%61=1", "a&a=&=a&&", "a%zz=1", "a=b=c"} {
		f.Add(s, "v")
	}
	flt := newFilter(f, Config{Request: Request{Query: Query{Remove: []string{"a"}, Set: map[string]string{"s": "{claim:v}"}}}})
	f.Fuzz(func(t *testing.T, query, value string) {
		if strings.ContainsAny(query, ";#") || strings.ContainsFunc(query, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return // the pipe refuses these
		}
		x := request("/?" + query)
		x.Identity = &exchange.Identity{Claims: map[string]any{"v": value}}
		flt.OnRequest(x)
		got, _ := url.ParseQuery(x.Request.Query)
		if got.Has("a") {
			t.Errorf("%q still has a", x.Request.Query)
		}
		if value != "" && (len(got["s"]) != 1 || got.Get("s") != value) {
			t.Errorf("%q has s %q, want %q", x.Request.Query, got["s"], value)
		}
		if strings.ContainsFunc(x.Request.Query, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("%q", x.Request.Query)
		}
	})
}
