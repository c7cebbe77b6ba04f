package headers

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	f, err := Kind().Build(&c, &filter.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func dump(h *exchange.Fields) []string {
	var out []string
	for n, v := range h.All() {
		out = append(out, n+": "+v)
	}
	return out
}

func TestRequestAndResponseAreChangedInOrder(t *testing.T) {
	f := newFilter(t, Config{
		Request: Change{
			Remove: []string{"x-secret", "X-User-Email"},
			Set:    map[string]string{"X-Env": "prod", "X-Empty": ""},
			Add:    map[string]string{"X-Tag": "b", "Cookie": "edge=1"},
		},
		Response: Change{Remove: []string{"Server"}, Set: map[string]string{"NEL": `{"report_to":"d","max_age":1}`}},
	})
	x := &exchange.Exchange{}
	for _, l := range [][2]string{{"X-Secret", "1"}, {"X-User-Email", "a@b"}, {"x-env", "dev"}, {"X-Env", "test"}, {"X-Tag", "a"}} {
		x.Request.Header.Add(l[0], l[1])
	}
	x.Response.Header.Add("Server", "app")
	if v := f.OnRequest(x); v != filter.Next {
		t.Fatal(v)
	}
	f.OnResponse(x)
	want := []string{"x-env: prod", "X-Tag: a", "X-Empty: ", "Cookie: edge=1", "X-Tag: b"}
	if got := dump(&x.Request.Header); !slices.Equal(got, want) {
		t.Errorf("request %q, want %q", got, want)
	}
	if got := dump(&x.Response.Header); !slices.Equal(got, []string{`NEL: {"report_to":"d","max_age":1}`}) {
		t.Errorf("response %q", got)
	}
}

func TestPlaceholders(t *testing.T) {
	full := &exchange.Exchange{ID: "req-1", Route: "shop", ClientIP: netip.MustParseAddr("192.0.2.7")}
	full.Trace.ID[15] = 0xab
	known := &exchange.Exchange{Params: []exchange.Param{{Name: "id", Value: "7%2F8"}}, Identity: &exchange.Identity{
		Claims: map[string]any{"sub": "ada", "roles": []any{"admin", "ops"}, "evil": "a\r\nb"}}}
	evil := &exchange.Exchange{ID: "a\r\nSet-Cookie: b"}
	for _, c := range []struct {
		x           *exchange.Exchange
		value, want string
	}{
		{full, "{client_ip}", "192.0.2.7"},
		{full, "id={request_id};route={route}", "id=req-1;route=shop"},
		{full, "{trace_id}", strings.Repeat("0", 30) + "ab"},
		{full, "{{route}} {route}", "{route} shop"},
		{full, `{"a":{"b":1}} {`, `{"a":{"b":1}} {`},
		{full, "{ROUTE} {route", "{ROUTE} {route"},
		{full, "{claim:sub}{query:q}{header:X-Q}", ""},
		{known, "{claim:sub}/{claim:roles}", "ada/admin,ops"},
		{known, "{param:id} {claim:evil}", "7%2F8 ab"},
		{evil, "x{request_id}", "xaSet-Cookie: b"},
		{evil, "[{client_ip}{trace_id}]", "[]"},
	} {
		f := newFilter(t, Config{Request: Change{Set: map[string]string{"X-V": c.value}}})
		c.x.Request.Header.Reset()
		f.OnRequest(c.x)
		if got := c.x.Request.Header.Get("X-V"); got != c.want {
			t.Errorf("%q: got %q, want %q", c.value, got, c.want)
		}
	}
}

func TestAnEmptyPlaceholderSendsNoHeader(t *testing.T) {
	f := newFilter(t, Config{Request: Change{Set: map[string]string{"X-Trace": "{trace_id}"}, Add: map[string]string{"X-Ip": "{client_ip}"}}})
	x := &exchange.Exchange{}
	x.Request.Header.Add("X-Trace", "a client's")
	f.OnRequest(x)
	if x.Request.Header.Len() != 0 {
		t.Errorf("left: %v", dump(&x.Request.Header))
	}
}

func TestRename(t *testing.T) {
	f := newFilter(t, Config{Request: Change{Rename: map[string]string{"X-Old": "X-New", "X-None": "X-Kept"}, Add: map[string]string{"X-Old": "fresh"}}})
	x := &exchange.Exchange{}
	for _, l := range [][2]string{{"x-old", "1"}, {"X-New", "a client's"}, {"A", "b"}, {"X-Old", "2"}, {"X-Kept", "3"}} {
		x.Request.Header.Add(l[0], l[1])
	}
	f.OnRequest(x)
	if got := dump(&x.Request.Header); !slices.Equal(got, []string{"A: b", "X-Kept: 3", "X-New: 1", "X-New: 2", "X-Old: fresh"}) {
		t.Errorf("%q", got)
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	set := func(n, v string) Change { return Change{Set: map[string]string{n: v}} }
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{Request: set("X-User-Id", "root")}, "request.set.X-User-Id", "reserved"},
		{Config{Request: Change{Add: map[string]string{"x_user_id": "root"}}}, "request.add.x_user_id", "reserved"},
		{Config{Request: Change{Remove: []string{"A", "Txn-Token"}}}, "request.remove[1]", "internal token"},
		{Config{Response: set("Hop-Token", "x")}, "response.set.Hop-Token", "reserved"},
		{Config{Request: set("Transfer-Encoding", "chunked")}, "request.set.Transfer-Encoding", "framing"},
		{Config{Response: Change{Remove: []string{"content-length"}}}, "response.remove[0]", "framing"},
		{Config{Request: set("Host", "x")}, "request.set.Host", "authority"},
		{Config{Request: Change{Rename: map[string]string{"X-A": "X-User-Id"}}}, "request.rename.X-A", "reserved"},
		{Config{Request: Change{Rename: map[string]string{"Txn-Token": "X-A"}}}, "request.rename.Txn-Token", "internal token"},
		{Config{Request: Change{Rename: map[string]string{"X-A": "x-a"}}}, "request.rename.X-A", "one header"},
		{Config{Request: Change{Rename: map[string]string{"X-A": "Connection"}}}, "request.rename.X-A", "framing"},
		{Config{Request: set("Bad Name", "x")}, "request.set.Bad Name", "no header name"},
		{Config{Request: Change{Remove: []string{"X-*"}}}, "request.remove[0]", "no header name"},
		{Config{Request: set("A", "x\r\nB: y")}, "request.set.A", "control"},
		{Config{Request: set("A", " x")}, "request.set.A", "white space"},
		{Config{Request: set("A", "{user}")}, "request.set.A", "unknown placeholder {user}"},
		{Config{Request: set("A", strings.Repeat("x", 5000))}, "request.set.A", "at most"},
		{Config{Response: Change{Set: map[string]string{"A-b": "1", "a-B": "2"}}}, "response.set.a-B", "one header"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestStaticValuesAllocateNothing(t *testing.T) {
	f := newFilter(t, Config{Request: Change{Set: map[string]string{"X-Env": "prod", "X-Id": "{request_id}"}, Remove: []string{"X-Secret"}}})
	x := &exchange.Exchange{ID: "r1"}
	x.Request.Header.Add("Accept", "*/*")
	f.OnRequest(x)
	if n := testing.AllocsPerRun(1000, func() { f.OnRequest(x); f.OnResponse(x) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestExplainIsOneLine(t *testing.T) {
	f := newFilter(t, Config{Request: Change{Set: map[string]string{"X-Env": "prod"}, Remove: []string{"X-A"}}})
	if got := f.Explain(); got != "request: remove X-A, set X-Env; response: unchanged" {
		t.Error(got)
	}
}
