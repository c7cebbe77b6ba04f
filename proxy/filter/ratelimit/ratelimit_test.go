package ratelimit

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(set *store.Set, route string) *filter.Env {
	return &filter.Env{Store: set.Lease(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Route: route}
}

func mustBuild(t testing.TB, c Config, e *filter.Env) *limiter {
	t.Helper()
	f, err := Kind().Build(&c, e)
	if err != nil {
		t.Fatal(err)
	}
	return f.(*limiter)
}

func from(ip string) *exchange.Exchange {
	x := &exchange.Exchange{Route: "r"}
	x.ClientIP = netip.MustParseAddr(ip)
	return x
}

func passes(f *limiter, x *exchange.Exchange) bool { return f.OnRequest(x).Fault() == nil }

func TestQuotaIsPerClientAddress(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		prefix     int
		same       bool
	}{
		{"same v4", "192.0.2.1", "192.0.2.1", 0, true},
		{"other v4", "192.0.2.1", "192.0.2.2", 0, false},
		{"v4 mapped into v6", "192.0.2.1", "::ffff:192.0.2.1", 0, true},
		{"same v6 /64", "2001:db8:0:1::1", "2001:db8:0:1:ffff::9", 0, true},
		{"other v6 /64", "2001:db8:0:1::1", "2001:db8:0:2::1", 0, false},
		{"same v6 /56", "2001:db8:0:1::1", "2001:db8:0:2::1", 56, true},
		{"same v6 /63", "2001:db8:0:2::1", "2001:db8:0:3::1", 63, true},
		{"other v6 /128", "2001:db8::1", "2001:db8::2", 128, false},
		{"v4 is not v6", "32.1.13.184", "2001:db8::", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := mustBuild(t, Config{Requests: 1, Window: time.Hour, IPv6Prefix: c.prefix}, env(store.NewSet(), "r"))
			if !passes(f, from(c.a)) {
				t.Fatal("the first request was refused")
			}
			if got := passes(f, from(c.b)); got == c.same {
				t.Fatalf("%s after %s passes: %v", c.b, c.a, got)
			}
		})
	}
}

func TestKeysMeetOnlyWhenTheyAreTheSame(t *testing.T) {
	user := func(iss, sub string, claims map[string]any) func(*exchange.Exchange) {
		return func(x *exchange.Exchange) {
			x.Identity = &exchange.Identity{Issuer: iss, Subject: sub, Claims: claims}
		}
	}
	header := func(name, value string) func(*exchange.Exchange) {
		return func(x *exchange.Exchange) { x.Request.Header.Add(name, value) }
	}
	nested := func(v any) map[string]any { return map[string]any{"org": map[string]any{"id": v}} }
	none := func(*exchange.Exchange) {}
	for _, c := range []struct {
		name string
		key  string
		a, b func(*exchange.Exchange)
		same bool
	}{
		{"subject", "subject", user("i", "u", nil), user("i", "u", nil), true},
		{"other subject", "subject", user("i", "u", nil), user("i", "v", nil), false},
		{"other issuer", "subject", user("i", "u", nil), user("j", "u", nil), false},
		{"issuer and subject do not run together", "subject", user("ab", "c", nil), user("a", "bc", nil), false},
		{"nobody falls back to the address", "subject", none, none, true},
		{"claim", "claim:org.id", user("", "a", nested("x")), user("", "b", nested("x")), true},
		{"other claim", "claim:org.id", user("", "a", nested("x")), user("", "a", nested("y")), false},
		{"number claim", "claim:org.id", user("", "a", nested(7.0)), user("", "a", nested(8.0)), false},
		{"claim named with dots", "claim:https://x.org/id", user("", "a", map[string]any{"https://x.org/id": "1"}),
			user("", "a", map[string]any{"https://x.org/id": "2"}), false},
		{"object claim falls back", "claim:org", user("", "a", nested("x")), user("", "a", nested("y")), true},
		{"header", "header:x-key", header("X-Key", "1"), header("X-KEY", "1"), true},
		{"other header", "header:x-key", header("X-Key", "1"), header("X-Key", "2"), false},
		{"header equal to nothing", "header:x-key", header("X-Key", ""), none, true},
		{"consumer", "consumer", func(x *exchange.Exchange) { x.Consumer = "a" }, func(x *exchange.Exchange) { x.Consumer = "b" }, false},
		{"a consumer is not its address", "consumer", func(x *exchange.Exchange) { x.Consumer = "\xc0\x00\x02\x01" }, none, false},
		{"route", "route", none, func(x *exchange.Exchange) { x.ClientIP = netip.MustParseAddr("198.51.100.1") }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := mustBuild(t, Config{Requests: 1, Window: time.Hour, Key: []string{c.key}}, env(store.NewSet(), "r"))
			a, b := from("192.0.2.1"), from("192.0.2.1")
			c.a(a)
			c.b(b)
			if !passes(f, a) {
				t.Fatal("the first request was refused")
			}
			if got := passes(f, b); got == c.same {
				t.Fatalf("the second passes: %v", got)
			}
		})
	}
}

func TestSeveralPartsMakeOneKey(t *testing.T) {
	f := mustBuild(t, Config{Requests: 1, Window: time.Hour, Key: []string{"header:a", "header:b"}}, env(store.NewSet(), "r"))
	with := func(a, b string) *exchange.Exchange {
		x := from("192.0.2.1")
		x.Request.Header.Add("a", a)
		x.Request.Header.Add("b", b)
		return x
	}
	if !passes(f, with("1", "23")) || !passes(f, with("12", "3")) {
		t.Fatal("two different keys were counted as one")
	}
	if passes(f, with("1", "23")) {
		t.Fatal("the same key was let through twice")
	}
}

func TestEveryAnswerTellsTheClient(t *testing.T) {
	f := mustBuild(t, Config{Requests: 2, Window: time.Minute, Name: "api"}, env(store.NewSet(), "r"))
	for i, want := range []string{`"api";r=1;t=30`, `"api";r=0;t=30`, `"api";r=0;t=30`} {
		x := from("192.0.2.1")
		v := f.OnRequest(x)
		x.Response.Header.Add("RateLimit", `"theirs";r=9`)
		f.OnResponse(x)
		if got := x.Response.Header.Joined("RateLimit"); got != `"theirs";r=9, `+want {
			t.Errorf("request %d: RateLimit: %s, want %s after theirs", i, got, want)
		}
		if got := x.Response.Header.Get("RateLimit-Policy"); got != `"api";q=2;w=60` {
			t.Errorf("request %d: RateLimit-Policy: %s", i, got)
		}
		refused := v.Fault()
		if (refused != nil) != (i == 2) {
			t.Fatalf("request %d: refused: %v", i, refused)
		}
		if refused != nil && (refused.Status != 429 || refused.Code != "rate-limited" ||
			refused.RetryAfter != 30*time.Second || refused.Source != exchange.FromPolicy) {
			t.Errorf("refused with %+v", refused)
		}
	}
}

func TestTwoLimitsOnOneRouteBothSpeak(t *testing.T) {
	set := store.NewSet()
	a := mustBuild(t, Config{Requests: 10, Window: time.Second}, env(set, "r"))
	b := mustBuild(t, Config{Requests: 100, Window: time.Hour}, env(set, "r"))
	x := from("192.0.2.1")
	for i, f := range []*limiter{a, b} {
		x.UseSlot(i)
		f.OnRequest(x)
	}
	for i, f := range []*limiter{a, b} {
		x.UseSlot(i)
		f.OnResponse(x)
	}
	want := `"10-per-1s-by-address";q=10;w=1, "100-per-1h-by-address";q=100;w=3600`
	if got := x.Response.Header.Joined("RateLimit-Policy"); got != want {
		t.Errorf("RateLimit-Policy: %s\nwant %s", got, want)
	}
	want = `"10-per-1s-by-address";r=9;t=1, "100-per-1h-by-address";r=99;t=36`
	if got := x.Response.Header.Joined("RateLimit"); got != want {
		t.Errorf("RateLimit: %s\nwant %s", got, want)
	}
}

func TestHeadersCanBeSilenced(t *testing.T) {
	no := false
	f := mustBuild(t, Config{Requests: 1, Headers: &no}, env(store.NewSet(), "r"))
	x := from("192.0.2.1")
	f.OnRequest(x)
	f.OnResponse(x)
	if n := x.Response.Header.Len(); n != 0 {
		t.Fatalf("%d header lines, want none", n)
	}
}

func TestAReloadNeitherRefillsNorEmpties(t *testing.T) {
	set := store.NewSet()
	old := env(set, "r")
	f := mustBuild(t, Config{Requests: 2, Window: time.Hour}, old)
	passes(f, from("192.0.2.1"))
	g := mustBuild(t, Config{Requests: 2, Window: time.Hour}, env(set, "r"))
	old.Store.Release()
	if !passes(g, from("192.0.2.1")) {
		t.Error("the reload emptied the quota")
	}
	if passes(g, from("192.0.2.1")) {
		t.Error("the reload refilled the quota")
	}
}

func TestLimitsOfOneNameAreSharedAcrossRoutes(t *testing.T) {
	for _, c := range []struct {
		name   string
		shared bool
	}{{"all", true}, {"", false}} {
		set := store.NewSet()
		f := mustBuild(t, Config{Requests: 1, Window: time.Hour, Name: c.name}, env(set, "one"))
		g := mustBuild(t, Config{Requests: 1, Window: time.Hour, Name: c.name}, env(set, "two"))
		passes(f, from("192.0.2.1"))
		if got := passes(g, from("192.0.2.1")); got == c.shared {
			t.Errorf("name %q: the other route passes: %v", c.name, got)
		}
	}
}

func TestExplainTakesNothing(t *testing.T) {
	f := mustBuild(t, Config{Requests: 1, Window: time.Hour}, env(store.NewSet(), "r"))
	x := from("192.0.2.1")
	x.Shadow = true
	for range 3 {
		if !passes(f, x) {
			t.Fatal("a shadow request was counted")
		}
	}
	if !passes(f, from("192.0.2.1")) {
		t.Fatal("shadow requests were counted")
	}
	if got, want := f.Explain(), "1 requests per 1h, burst 1, by address"; got != want {
		t.Fatalf("explains %q, want %q", got, want)
	}
}

func TestWrongConfigIsRefusedAtItsKey(t *testing.T) {
	for want, c := range map[string]Config{
		"requests":    {}, // neither form
		"burst":       {Requests: 1, Burst: -1},
		"key[1]":      {Requests: 1, Key: []string{"address", "cookie"}},
		"key[0]":      {Requests: 1, Key: []string{"header:"}},
		"name":        {Requests: 1, Name: `a"b`},
		"ipv6_prefix": {Requests: 1, IPv6Prefix: 16},
		"1000000":     {Requests: 2_000_000, Window: time.Second},
	} {
		_, err := Kind().Build(&c, env(store.NewSet(), "r"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want an error about %s", c, err, want)
		}
	}
}

func BenchmarkAddress(b *testing.B) {
	no := false
	f := mustBuild(b, Config{Requests: 1_000_000, Window: time.Second, Burst: 1e9, Headers: &no}, env(store.NewSet(), "r"))
	x := from("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
		f.Done(x)
	}
}

func ExampleConfig() {
	c := Config{Requests: 100, Window: time.Minute, Key: []string{"consumer"}}
	set := store.NewSet()
	f, err := Kind().Build(&c, &filter.Env{Store: set.Lease(), Route: "orders"})
	fmt.Println(f.(filter.Explainer).Explain(), err)
	// Output: 100 requests per 1m, burst 100, by consumer <nil>
}
