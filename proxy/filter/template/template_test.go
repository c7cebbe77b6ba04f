package template

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func full() *exchange.Exchange {
	x := &exchange.Exchange{ID: "r-1", Route: "shop", Consumer: "acme", ClientIP: netip.MustParseAddr("192.0.2.7")}
	x.Request.Method, x.Request.Scheme, x.Request.Authority, x.Request.Path, x.Request.Query = "GET", "https", "h:1", "/a%20b/c", "q=a%26b&q=2&%71x=1&bad=%zz"
	x.Request.Header.Add("X-A", "1")
	x.Request.Header.Add("x-a", "2")
	x.Params = []exchange.Param{{Name: "id", Value: "a%20&b"}, {Name: "rest", Value: "x/y"}}
	x.Trace.ID[15] = 0xab
	x.Identity = &exchange.Identity{Subject: "ada", Claims: map[string]any{
		"sub": "ada", "n": json.Number("7"), "f": 1.5, "t": true, "roles": []any{"a", "b,c", "", "d", map[string]any{}, "e"}, "o": map[string]any{"p": map[string]any{"q": "deep"}},
		"https://x.example/tenant": "t1", "evil": "a\r\nSet-Cookie: b", "slash": "../../admin", "dots": "..", "empty": "", "obj": map[string]any{}, "big": 12345678.0,
	}}
	return x
}

func TestPlaceholders(t *testing.T) {
	for _, c := range []struct{ text, field, path, query string }{
		{"plain", "plain", "plain", "plain"},
		{"{client_ip}", "192.0.2.7", "192.0.2.7", "192.0.2.7"},
		{"id={request_id};{route}", "id=r-1;shop", "id=r-1;shop", "id=r-1;shop"},
		{"{trace_id}", strings.Repeat("0", 30) + "ab", strings.Repeat("0", 30) + "ab", strings.Repeat("0", 30) + "ab"},
		{"{method} {scheme} {consumer} {subject}", "GET https acme ada", "GET https acme ada", "GET https acme ada"},
		{"{host}", "h:1", "h%3A1", "h%3A1"},
		{"{path}", "/a%20b/c", "/a%20b/c", "%2Fa%20b%2Fc"},
		{"{claim:sub}{claim:n}{claim:f}{claim:t}{claim:big}", "ada71.5true12345678", "ada71.5true12345678", "ada71.5true12345678"},
		{"{claim:roles}", "a,d,e", "a%2Cd%2Ce", "a%2Cd%2Ce"},
		{"{claim:o.p.q}", "deep", "deep", "deep"},
		{"{claim:https://x.example/tenant}", "t1", "t1", "t1"},
		{"{claim:evil}", "aSet-Cookie: b", "a%0D%0ASet-Cookie%3A%20b", "a%0D%0ASet-Cookie%3A%20b"},
		{"{claim:slash}", "../../admin", "..%2F..%2Fadmin", "..%2F..%2Fadmin"},
		{"{param:id}", "a%20&b", "a%20&b", "a%20%26b"},
		{"{param:rest}", "x/y", "x/y", "x%2Fy"},
		{"{header:X-A}", "1, 2", "1%2C%202", "1%2C%202"},
		{"{query:q}", "a&b", "a%26b", "a%26b"},
		{"{query:qx}{query:bad}", "1%zz", "1%25zz", "1%25zz"},
		{`{"a":{"b":1}} {`, `{"a":{"b":1}} {`, `{"a":{"b":1}} {`, `{"a":{"b":1}} {`},
		{"{{route}} {{claim:sub}} {route}", "{route} {claim:sub} shop", "{route} {claim:sub} shop", "{route} {claim:sub} shop"},
		{"{{route} {ROUTE} {", "{shop {ROUTE} {", "{shop {ROUTE} {", "{shop {ROUTE} {"},
	} {
		tpl, err := Parse(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		for place, want := range map[Place]string{Field: c.field, Path: c.path, Query: c.query} {
			got, missing := tpl.Append(nil, full(), place)
			if string(got) != want || missing != "" {
				t.Errorf("%s at %d: %q (missing %q), want %q", c.text, place, got, missing, want)
			}
		}
	}
	tpl, _ := Parse("{param:id}")
	if got, _ := tpl.Append(nil, full(), Text); string(got) != "a &b" {
		t.Errorf("as text: %q", got)
	}
}

func TestMissingValuesAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"{claim:none}": "claim:none", "x{claim:empty}{claim:none}": "claim:empty", "{claim:obj}": "claim:obj", "{claim:sub.x}": "claim:sub.x",
		"{param:none}": "param:none", "{header:None}": "header:None", "{query:none}": "query:none", "{subject}": "", "{param:rest}": "",
	} {
		tpl, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, missing := tpl.Append(nil, full(), Field); missing != want {
			t.Errorf("%s: %q, want %q", text, missing, want)
		}
	}
	tpl, _ := Parse("{subject}{claim:sub}{trace_id}{client_ip}")
	if got := tpl.Expand(&exchange.Exchange{}, Field); got != "" {
		t.Errorf("of nobody: %q", got)
	}
	rest, _ := Parse("{param:rest}")
	if _, missing := rest.Append(nil, &exchange.Exchange{}, Path); missing != "" {
		t.Errorf("the rest may be empty, found missing %q", missing)
	}
}

func TestUnknownPlaceholdersAreErrors(t *testing.T) {
	for _, s := range []string{"{user}", "{claims:sub}", "{route:x}", "{claim}", "{max:5}"} {
		if _, err := Parse(s); err == nil || !strings.Contains(err.Error(), "unknown placeholder "+s) || !strings.Contains(err.Error(), "{"+s+"}") {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{"a\r\nb", "a\x00", strings.Repeat("x", Max+1), "\x7f"} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%.20q was taken", s)
		}
	}
}

func TestExpandingAllocatesNothing(t *testing.T) {
	tpl, err := Parse("u={claim:sub};ip={client_ip};p={param:id}")
	if err != nil {
		t.Fatal(err)
	}
	x := full()
	x.Request.Header.Recycle()
	if n := testing.AllocsPerRun(100, func() {
		var room [128]byte
		tpl.Append(room[:0], x, Field)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzValues: no value leaves its place.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"ada", "a\r\nb: c", "../..", "a/b?c#d&e=f", "%2e%2e", "\x00\xff", "{claim:sub}"} {
		f.Add(s)
	}
	tpl, err := Parse("[{claim:v}]")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x := &exchange.Exchange{Identity: &exchange.Identity{Claims: map[string]any{"v": s}}}
		field, _ := tpl.Append(nil, x, Field)
		if strings.ContainsAny(string(field), "\r\n\x00") {
			t.Errorf("field %q", field)
		}
		path, _ := tpl.Append(nil, x, Path)
		if strings.ContainsAny(string(path[1:len(path)-1]), "/?#") {
			t.Errorf("path %q", path)
		}
		query, _ := tpl.Append(nil, x, Query)
		inner := string(query[1 : len(query)-1])
		if strings.ContainsAny(inner, "&=#+ \r\n") {
			t.Errorf("query %q", query)
		}
		if back, err := url.QueryUnescape(inner); err != nil || back != s {
			t.Errorf("%q came back as %q, %v", s, back, err)
		}
	})
}
