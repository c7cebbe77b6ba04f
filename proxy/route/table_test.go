package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func request(method, path string) *exchange.Exchange {
	x := &exchange.Exchange{}
	path, x.Request.Query, _ = strings.Cut(path, "?")
	x.Request.Method, x.Request.Path = method, path
	return x
}

func compile(t testing.TB, routes ...Route) *Table {
	t.Helper()
	for i := range routes {
		if routes[i].Redirect == nil {
			routes[i].Respond = &Respond{Status: 200}
		}
	}
	table, err := Compile(Spec{Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestPrecedence(t *testing.T) {
	on := func(name string, m Match) Route { return Route{Name: name, Match: m} }
	table := compile(t,
		on("any", Match{}),
		on("wild", Match{Hosts: []string{"*.example.com"}}),
		on("wilder", Match{Hosts: []string{"*.api.example.com"}, Path: "/deep/*"}),
		on("exact", Match{Hosts: []string{"www.Example.com."}, Path: "/only"}),
		on("second", Match{Hosts: []string{"h"}, Path: "/f/*"}),
		on("third", Match{Hosts: []string{"h"}, Path: "/f/*"}),
		on("query2", Match{Hosts: []string{"h"}, Path: "/p/*", Query: []Field{{"a", "1"}, {"b", "*"}}}),
		on("header1", Match{Hosts: []string{"h"}, Path: "/p/*", Headers: []Field{{"X-A", "1"}}}),
		on("header2", Match{Hosts: []string{"h"}, Path: "/p/*", Headers: []Field{{"x-a", "1"}, {"x-b", "*"}}}),
		on("method", Match{Hosts: []string{"h"}, Path: "/p/*", Methods: []string{"POST", "PUT"}}),
		on("query1", Match{Hosts: []string{"h"}, Path: "/p/*", Query: []Field{{"a", "1"}}}),
		on("plain", Match{Hosts: []string{"h"}, Path: "/p/*"}),
		on("deeper", Match{Hosts: []string{"h"}, Path: "/p/q/*", Methods: []string{"GET"}}),
		on("param", Match{Hosts: []string{"h"}, Path: "/p/{id}/x"}),
		on("literal", Match{Hosts: []string{"h"}, Path: "/p/me/x"}),
		on("exactpath", Match{Hosts: []string{"h"}, Path: "/f"}),
		on("slash", Match{Hosts: []string{"h"}, Path: "/f/s/"}),
	)
	for _, c := range []struct{ host, line, headers, want string }{
		{"www.example.com", "GET /only", "", "exact"},
		{"www.example.com", "GET /other", "", "wild"}, // falls through to the wildcard
		{"example.com", "GET /", "", "any"},           // *.example.com takes no bare domain
		{"notexample.com", "GET /", "", "any"},
		{"a.b.example.com", "GET /", "", "wild"},
		{"v1.api.example.com", "GET /deep/x", "", "wilder"},
		{"v1.api.example.com", "GET /else", "", "wild"},
		{"h", "GET /else", "", "any"},
		{"h", "GET /f", "", "exactpath"}, {"h", "GET /f/", "", "second"}, {"h", "GET /f/x", "", "second"}, {"h", "GET /fx", "", "any"},
		{"h", "GET /f/s/", "", "slash"}, {"h", "GET /f/s", "", "second"}, {"h", "GET /f/s/t", "", "second"},
		{"h", "GET /p", "", "plain"}, {"h", "GET /p/", "", "plain"}, {"h", "GET /px", "", "any"},
		{"h", "POST /p/x?a=1&b", "x-a=1 x-b=", "method"},
		{"h", "GET /p/x?a=1&b=", "x-a=1 x-b=", "header2"},
		{"h", "GET /p/x?a=1&b=2", "x-a=1", "header1"},
		{"h", "GET /p/x?a=1&b=2", "", "query2"}, {"h", "GET /p/x?a=1", "", "query1"}, {"h", "GET /p/x?%61=%31", "", "query1"},
		{"h", "GET /p/x?a=2&a=1", "", "plain"}, // the first of that name counts
		{"h", "GET /p/q/r", "", "deeper"},
		{"h", "DELETE /p/q/r", "", "plain"}, // the longer path does not take the method
		{"h", "GET /p/me/x", "", "literal"}, {"h", "GET /p/you/x", "", "param"}, {"h", "GET /p/me/y", "", "plain"},
	} {
		method, path, _ := strings.Cut(c.line, " ")
		x := request(method, path)
		for h := range strings.FieldsSeq(c.headers) {
			name, value, _ := strings.Cut(h, "=")
			x.Request.Header.Add(name, value)
		}
		if r := table.Match(x, c.host); r == nil || r.Name != c.want {
			t.Errorf("%s %s [%s]: got %+v, want %s", c.host, c.line, c.headers, r, c.want)
		}
		// Explain and the tree must be of one mind.
		for _, r := range table.Routes() {
			why := r.whyNot(x, c.host, table.Match(x, c.host))
			matches := strings.HasPrefix(why, "it matches")
			if r.Name == c.want && !matches {
				t.Errorf("%s %s: whyNot(%s) = %s", c.host, c.line, r.Name, why)
			}
		}
	}
}

func TestParamsFollowTheRouteThatWon(t *testing.T) {
	table := compile(t,
		Route{Name: "a", Match: Match{Path: "/{one}/{two}/x"}},
		Route{Name: "b", Match: Match{Path: "/{first}/*"}},
		Route{Name: "c", Match: Match{Path: "/lit/{two}/y"}},
	)
	for path, want := range map[string]string{
		"/1/2/x": "[{one 1} {two 2}]", "/1/2/z": "[{first 1} {rest 2/z}]", "/1": "[{first 1} {rest }]",
		"/lit/2/y": "[{two 2}]", "/lit/2/x": "[{one lit} {two 2}]", "/lit/2/q": "[{first lit} {rest 2/q}]", "/1/": "[{first 1} {rest }]",
	} {
		x := request("GET", path)
		table.Match(x, "h")
		if got := fmt.Sprint(x.Params); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	x := request("GET", "/")
	if r := table.Match(x, "h"); r != nil || len(x.Params) != 0 {
		t.Errorf("an empty segment is no parameter: %v %v", r, x.Params)
	}
}

func TestListenersLimitARoute(t *testing.T) {
	table := compile(t, Route{Name: "inside", Listeners: []string{"internal"}, Match: Match{Path: "/a"}}, Route{Name: "all"})
	x := request("GET", "/a")
	if r := table.Match(x, "h"); r.Name != "all" {
		t.Error(r.Name)
	}
	x.Client.Listener = "internal"
	if r := table.Match(x, "h"); r.Name != "inside" {
		t.Error(r.Name)
	}
}

func TestAllowedNamesWhatSomeRouteTakes(t *testing.T) {
	table := compile(t,
		Route{Name: "a", Match: Match{Hosts: []string{"h"}, Path: "/a/{id}", Methods: []string{"PUT", "GET"}}},
		Route{Name: "b", Match: Match{Hosts: []string{"*.x"}, Path: "/a/*", Methods: []string{"POST"}}},
		Route{Name: "c", Match: Match{Path: "/a/*", Methods: []string{"GET", "DELETE"}}},
		Route{Name: "d", Match: Match{Path: "/a/*", Methods: []string{"PATCH"}, Headers: []Field{{"X", "1"}}}},
		Route{Name: "e", Listeners: []string{"other"}, Match: Match{Path: "/a/*", Methods: []string{"LINK"}}},
	)
	for in, want := range map[string]string{"h /a/1": "DELETE GET PUT", "y.x /a/1": "DELETE GET POST", "z /a/1": "DELETE GET", "h /b": "", "h /a/1/2": "DELETE GET"} {
		host, path, _ := strings.Cut(in, " ")
		x := request("TRACE", path)
		if table.Match(x, host) != nil {
			t.Error("matched", in)
		}
		if got := strings.Join(table.Allowed(x, host), " "); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestOutgoingPath(t *testing.T) {
	for _, c := range []struct{ match, strip, rewrite, path, want string }{
		{"/api/*", "/api", "", "/api/users", "/users"}, {"/api/*", "/api", "", "/api", "/"}, {"/api/*", "/api", "", "/api/", "/"},
		{"/api/*", "/api/", "", "/api/users/", "/users/"}, {"/*", "/api", "", "/apis", "/apis"}, {"/*", "/", "", "/a", "/a"},
		{"/u/{id}/*", "", "/v2/{id}/x/{rest}", "/u/7/a/b", "/v2/7/x/a/b"}, {"/u/{id}/*", "", "/v2/{id}/{rest}", "/u/7", "/v2/7/"},
		{"/u/{id}", "", "/{id}{id}", "/u/%2E", "/%252E%252E"}, {"/u/{id}", "", "/a/.{id}/b", "/u/.x", "/a/..x/b"},
		{"/*", "", "/x y/{rest}", "/é", "/x%20y/%C3%A9"}, {"/*", "", "/fixed", "/a", "/fixed"}, {"/*", "", "/{rest}", "/", "/"},
	} {
		table := compile(t, Route{Match: Match{Path: c.match}, StripPrefix: c.strip, RewritePath: c.rewrite})
		p, err := NormalizePath(strings.ReplaceAll(c.path, "%2E", "%252E"), KeepEncoded)
		if err != nil {
			t.Fatal(err)
		}
		x := request("GET", p)
		r := table.Match(x, "h")
		if r == nil {
			t.Fatal("no match", c)
		}
		if got := r.Outgoing(x); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	ok := &Respond{}
	for name, r := range map[string]Route{
		"begin with a slash": {Match: Match{Path: "a"}, Respond: ok}, "stands only at the end": {Match: Match{Path: "/a*b"}, Respond: ok},
		"not one name": {Match: Match{Path: "/{a}{b}"}, Respond: ok}, "used twice": {Match: Match{Path: "/{a}/{a}"}, Respond: ok},
		"reserved": {Match: Match{Path: "/{rest}"}, Respond: ok}, "dot segments": {Match: Match{Path: "/a/../b"}, Respond: ok},
		"empty segments": {Match: Match{Path: "/a//b"}, Respond: ok}, "percent-encoding": {Match: Match{Path: "/%zz"}, Respond: ok},
		"neither a name": {Match: Match{Hosts: []string{"*"}}, Respond: ok}, "given twice": {Match: Match{Hosts: []string{"a", "A."}}, Respond: ok},
		"exactly one": {}, "exactly one of": {Respond: ok, Redirect: &Redirect{}}, "is no parameter": {RewritePath: "/{x}", Respond: ok},
		"unclosed": {RewritePath: "/{x", Respond: ok}, "must begin": {RewritePath: "x", Respond: ok}, "broken percent": {RewritePath: "/%{rest}", Respond: ok},
		"{param:id} is no": {Match: Match{Path: "/{user}/*"}, Respond: ok, Filters: []filter.Instance{{Kind: "transform", Filter: wanting{"user", "rest", "id"}}}},
	} {
		r.Name, r.Pos = "r", "f.yaml:3"
		_, err := Compile(Spec{Routes: []Route{r}})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.HasPrefix(err.Error(), "f.yaml:3: route r: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReleaseRunsOnceWithTheLastShare(t *testing.T) {
	n := 0
	table, err := Compile(Spec{Release: func() { n++ }})
	if err != nil || !table.Acquire() {
		t.Fatal(err)
	}
	table.Release()
	if n != 0 {
		t.Fatal("released while in force")
	}
	table.Release()
	if n != 1 || table.Acquire() {
		t.Fatal(n, "or a gone table can be acquired")
	}
}

func TestExplainSaysWhyNot(t *testing.T) {
	table := compile(t,
		Route{Name: "won", Pos: "f:1", Match: Match{Path: "/a/{id}"}},
		Route{Name: "later", Match: Match{Path: "/a/{x}"}},
		Route{Name: "host", Match: Match{Hosts: []string{"b", "*.c"}}},
		Route{Name: "path", Match: Match{Path: "/b"}},
		Route{Name: "listener", Listeners: []string{"l2"}},
		Route{Name: "method", Match: Match{Methods: []string{"PUT"}}},
		Route{Name: "header", Match: Match{Headers: []Field{{"X-H", "v"}}}},
		Route{Name: "query", Match: Match{Query: []Field{{"q", "v"}}}},
	)
	x := request("GET", "/z/../a/%37")
	x.Request.Authority, x.Shadow = "H:80", true
	e := table.Explain(x, Asking{Path: Strict})
	if e.Route != "won" || e.Host != "h" || e.Path != "/a/7" || e.Pos != "f:1" || e.Match != "/a/{id}" || e.Action != "respond" || !slices.Equal(e.Params, []ParamLine{{"id", "7"}}) {
		t.Errorf("%+v", e)
	}
	want := map[string]string{"later": "won is more specific", "host": "host h is not one of b, *.c", "path": "path /a/7 does not match /b",
		"listener": "only on listeners l2", "method": "method GET is not one of PUT", "header": `header X-H is not "v"`, "query": `query parameter q is not "v"`}
	for _, o := range e.Others {
		if !strings.Contains(o.Why, want[o.Route]) || want[o.Route] == "" {
			t.Errorf("%s: %q", o.Route, o.Why)
		}
		delete(want, o.Route)
	}
	if len(want) != 0 {
		t.Error("missing", want)
	}
	only := compile(t, Route{Name: "r", Match: Match{Path: "/a", Methods: []string{"PUT"}}})
	for in, status := range map[string]int{"GET /a": 405, "GET /b": 404, "GET /%2f": 400} {
		method, path, _ := strings.Cut(in, " ")
		x := request(method, path)
		x.Request.Authority = "h"
		if e := only.Explain(x, Asking{Path: Strict}); e.Status != status || e.Problem == "" || e.Action != "refused" {
			t.Errorf("%s: %+v", in, e)
		}
	}
	x = request("GET", "/a")
	if e := only.Explain(x, Asking{Path: Strict}); e.Status != 400 || !strings.Contains(e.Problem, "host") {
		t.Errorf("%+v", e)
	}
}

// many returns a table of n routes and a request for one in its middle.
func many(t testing.TB, n int) (*Table, *exchange.Exchange, string) {
	routes := make([]Route, n)
	for i := range routes {
		m := Match{Path: fmt.Sprintf("/v1/svc%d/{id}/*", i)}
		switch i % 4 {
		case 1:
			m.Hosts = []string{fmt.Sprintf("h%d.example.com", i)}
		case 2:
			m.Hosts = []string{fmt.Sprintf("*.w%d.example.com", i)}
		}
		m.Methods = []string{"GET"}
		routes[i] = Route{Name: fmt.Sprint("r", i), Match: m}
	}
	want := n / 2 / 4 * 4
	return compile(t, routes...), request("GET", fmt.Sprintf("/v1/svc%d/7/a/b", want)), fmt.Sprint("r", want)
}

func TestTenThousandRoutesAreMatchedWithoutAllocating(t *testing.T) {
	table, x, want := many(t, 10000)
	x.Params = make([]exchange.Param, 0, 4)
	if n := testing.AllocsPerRun(100, func() {
		if r := table.Match(x, "deep.er.w2.example.com"); r.Name != want {
			panic(r.Name)
		}
	}); n != 0 {
		t.Error(n)
	}
	// A flood of requests for nothing must stay cheap too.
	x = request("GET", "/nothing")
	if n := testing.AllocsPerRun(10, func() { table.Match(x, "h"); table.Allowed(x, "h") }); n > 4 {
		t.Error("a 404 allocates", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 10000} {
		b.Run(fmt.Sprint(n, "routes"), func(b *testing.B) {
			table, x, want := many(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if r := table.Match(x, "a.example.com"); r.Name != want {
					b.Fatal(r)
				}
			}
		})
	}
}

// wanting is a filter that needs parameters of the path.
type wanting []string

func (w wanting) PathParams() []string { return w }

// answering is a filter that answers preflights.
type answering struct{}

func (answering) OnRequest(*exchange.Exchange) filter.Verdict { return filter.Answered }
func (answering) AnswersPreflight()                           {}

func TestAPreflightBelongsToTheRouteItAsksAbout(t *testing.T) {
	cors, err := filter.Bind("cors", "", answering{})
	if err != nil {
		t.Fatal(err)
	}
	with := func(r Route) Route { r.Filters = []filter.Instance{cors}; return r }
	table := compile(t,
		Route{Name: "site", Match: Match{Path: "/*"}},
		with(Route{Name: "read", Match: Match{Path: "/api/{id}", Methods: []string{"GET"}}}),
		Route{Name: "write", Match: Match{Path: "/api/{id}", Methods: []string{"PUT"}}},
	)
	for _, c := range []struct{ origin, asked, want, id string }{
		{"https://a", "GET", "read", "7"},
		{"https://a", "PUT", "site", ""}, // nobody answers there
		{"https://a", "DELETE", "site", ""},
		{"", "GET", "site", ""}, // no page asks
		{"https://a", "", "site", ""},
		{"https://a", "G T", "site", ""},
	} {
		x := request("OPTIONS", "/api/7")
		if c.origin != "" {
			x.Request.Header.Add("Origin", c.origin)
		}
		if c.asked != "" {
			x.Request.Header.Add("Access-Control-Request-Method", c.asked)
		}
		if r := table.Match(x, "h"); r == nil || r.Name != c.want || x.Param("id") != c.id || x.Request.Method != "OPTIONS" {
			t.Errorf("%+v: %+v, %s", c, r, x.Request.Method)
		}
	}
	x := request("GET", "/api/7")
	x.Request.Header.Add("Origin", "https://a")
	x.Request.Header.Add("Access-Control-Request-Method", "PUT")
	if r := table.Match(x, "h"); r.Name != "read" {
		t.Error(r.Name)
	}
}
