package securityheaders

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

func answer(scheme string, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Scheme, x.Response.Status = scheme, 200
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Response.Header.Add(name, value)
	}
	return x
}

func dump(x *exchange.Exchange) string {
	var s []string
	for n, v := range x.Response.Header.All() {
		s = append(s, n+": "+v)
	}
	return strings.Join(s, "|")
}

func TestFieldsOfAnswers(t *testing.T) {
	off := false
	none := Config{NoSniff: &off, FrameOptions: "off", ReferrerPolicy: "off", HSTS: HSTS{Enabled: &off}}
	with := func(change func(*Config)) Config {
		c := none
		change(&c)
		return c
	}
	const usual = "X-Content-Type-Options: nosniff|X-Frame-Options: DENY|Referrer-Policy: strict-origin-when-cross-origin"
	year := HSTS{MaxAge: 365 * 24 * time.Hour}
	for _, c := range []struct {
		name string
		cfg  Config
		x    *exchange.Exchange
		want string
	}{
		{"defaults, plaintext", Config{HSTS: year}, answer("http"), usual},
		{"defaults, https", Config{HSTS: year}, answer("https"), usual + "|Strict-Transport-Security: max-age=31536000"},
		{"TLS ends before us", with(func(c *Config) { c.HSTS = HSTS{Plaintext: true, MaxAge: time.Minute, IncludeSubdomains: true} }), answer("http"), "Strict-Transport-Security: max-age=60; includeSubDomains"},
		{"preload", with(func(c *Config) {
			c.HSTS = HSTS{MaxAge: 2 * 365 * 24 * time.Hour, IncludeSubdomains: true, Preload: true}
		}), answer("https"), "Strict-Transport-Security: max-age=63072000; includeSubDomains; preload"},
		{"nothing", none, answer("https", "A: b"), "A: b"},
		{"the service's own stays", Config{}, answer("http", "x-frame-options: SAMEORIGIN", "Referrer-Policy: origin"), "x-frame-options: SAMEORIGIN|Referrer-Policy: origin|X-Content-Type-Options: nosniff"},
		{"override", Config{Override: true}, answer("http", "x-frame-options: SAMEORIGIN", "X-Frame-Options: ALLOW"), "x-frame-options: DENY|X-Content-Type-Options: nosniff|Referrer-Policy: strict-origin-when-cross-origin"},
		{"csp", with(func(c *Config) {
			c.CSP = "default-src 'self';"
			c.FrameAncestors = []string{"'self'", "https://*.a.example"}
		}), answer("http"), "Content-Security-Policy: default-src 'self'; frame-ancestors 'self' https://*.a.example"},
		{"ancestors alone say more than frame options", with(func(c *Config) { c.FrameOptions = "deny"; c.FrameAncestors = []string{"'none'"} }), answer("http"), "Content-Security-Policy: frame-ancestors 'none'"},
		{"the rest", with(func(c *Config) {
			c.CSPReportOnly, c.Permissions, c.COOP, c.COEP, c.CORP = "default-src 'none'", "camera=()", "same-origin", "require-corp", "same-site"
		}), answer("http"),
			"Content-Security-Policy-Report-Only: default-src 'none'|Permissions-Policy: camera=()|Cross-Origin-Opener-Policy: same-origin|Cross-Origin-Embedder-Policy: require-corp|Cross-Origin-Resource-Policy: same-site"},
	} {
		newFilter(t, c.cfg).OnResponse(c.x)
		if got := dump(c.x); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	x := answer("https")
	x.Response.Status = 101
	newFilter(t, Config{}).OnResponse(x)
	if got := dump(x); got != "" {
		t.Errorf("101: %s", got)
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{HSTS: HSTS{Preload: true, MaxAge: 8760 * time.Hour}}, "hsts.preload", "include_subdomains"},
		{Config{HSTS: HSTS{Preload: true, IncludeSubdomains: true, MaxAge: time.Hour}}, "hsts.preload", "8760h"},
		{Config{FrameAncestors: []string{"self"}}, "frame_ancestors[0]", "\"'self'\""},
		{Config{FrameAncestors: []string{"'self'", "a; script-src *"}}, "frame_ancestors[1]", "want"},
		{Config{FrameAncestors: []string{"'self'"}, CSP: "Frame-Ancestors 'none'"}, "frame_ancestors", "one of the two"},
		{Config{CSP: "default-src 'self'\r\nSet-Cookie: a=b"}, "csp", "one line"},
		{Config{Permissions: "camera=(é)"}, "permissions_policy", "ASCII"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	if got := newFilter(t, Config{Override: true}).Explain(); got != "Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, Referrer-Policy, in place of the service's own" {
		t.Error(got)
	}
}

func TestAnAnswerAllocatesNothing(t *testing.T) {
	f := newFilter(t, Config{})
	x := answer("https")
	f.OnResponse(x)
	if n := testing.AllocsPerRun(100, func() { x.Response.Header.Reset(); f.OnResponse(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAnswer(b *testing.B) {
	f := newFilter(b, Config{})
	x := answer("https")
	b.ReportAllocs()
	for b.Loop() {
		x.Response.Header.Reset()
		f.OnResponse(x)
	}
}
