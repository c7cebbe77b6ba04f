package cache

import (
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func control1(lines ...string) control {
	var h exchange.Fields
	for _, l := range lines {
		h.Add("Cache-Control", l)
	}
	return parseControl(&h, true)
}

func TestCacheControlIsReadCautiously(t *testing.T) {
	for _, c := range []struct {
		line string
		ok   func(control) bool
	}{
		{"", func(c control) bool { return c.present && !c.noStore && c.maxAge == -1 }},
		{"NO-STORE", func(c control) bool { return c.noStore }},
		{" , ,\tno-store , ", func(c control) bool { return c.noStore }},
		{`x="no-store"`, func(c control) bool { return !c.noStore }},
		{`x="a, no-store, b"`, func(c control) bool { return !c.noStore }},
		{`x="a\", no-store, b", private`, func(c control) bool { return !c.noStore && c.private }},
		{`x="never closed, no-store`, func(c control) bool { return c.noStore }},
		{`no-cache="set-cookie", max-age=5`, func(c control) bool {
			return !c.noCache && c.leavesOut("Set-Cookie") && c.maxAge == 5*time.Second
		}},
		{`private="x-a , X-B"`, func(c control) bool { return !c.private && len(c.without) == 2 && c.leavesOut("x-b") }},
		{`private=x-a`, func(c control) bool { return !c.private && c.leavesOut("X-A") }},
		{`private="x-a", private`, func(c control) bool { return c.private }},
		{`private=""`, func(c control) bool { return c.private }},
		{`private=`, func(c control) bool { return c.private }},
		{`private="x-a,,"`, func(c control) bool { return c.private }},
		{`private="x a"`, func(c control) bool { return c.private }},
		{`no-cache="vary"`, func(c control) bool { return c.noCache }},
		{`no-cache="Content-Type"`, func(c control) bool { return c.noCache }},
		{`private="cdn-cache-control"`, func(c control) bool { return c.private }},
		{`private="a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"`, func(c control) bool { return c.private }},
		{"must-understand, no-store", func(c control) bool { return c.mustUnderstand && c.noStore }},
		{"stale-while-revalidate=5, stale-if-error=x", func(c control) bool { return c.whileRevalidate == 5*time.Second && c.ifError == 0 }},
		{"max-age = 5", func(c control) bool { return c.maxAge == 5*time.Second }},
		{"max-age=-5", func(c control) bool { return c.maxAge == 0 }},
		{"max-age=5.5", func(c control) bool { return c.maxAge == 0 }},
		{"max-age", func(c control) bool { return c.maxAge == 0 }},
		{"max-age=4294967296", func(c control) bool { return c.maxAge == maxDelta }},
		{"max-age=9999999999999999999999999999x", func(c control) bool { return c.maxAge == 0 }},
		{"max-stale", func(c control) bool { return c.anyStale && c.maxStale == -1 }},
		{"max-stale=7", func(c control) bool { return !c.anyStale && c.maxStale == 7*time.Second }},
		{"min-fresh=7", func(c control) bool { return c.minFresh == 7*time.Second }},
		{"only-if-cached", func(c control) bool { return c.onlyIfCached }},
		{"no-storeage", func(c control) bool { return !c.noStore }},
	} {
		if got := control1(c.line); !c.ok(got) {
			t.Errorf("%q read as %+v", c.line, got)
		}
	}
}

func FuzzCacheControl(f *testing.F) {
	for _, s := range []string{"max-age=60, public", `private="a,b", no-store`, `x="\`, `"`, "max-age=", "=,=", "max-stale, max-stale=1", "no-cache=\"", "s-maxage=99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := control1(s)
		for _, d := range []time.Duration{c.maxAge, c.sMaxAge, c.minFresh, c.maxStale, c.whileRevalidate, c.ifError} {
			if d < -1 || d > maxDelta || d > 0 && d%time.Second != 0 {
				t.Fatalf("%q: duration %d", s, d)
			}
		}
		for _, name := range c.without {
			if !token(name) || vital(name) || len(c.without) > maxWithout {
				t.Fatalf("%q leaves out %q", s, c.without)
			}
		}
		// What comes after cannot be hidden by what a line holds...
		if got := control1(s, "no-store"); !got.noStore {
			t.Fatalf("a further line hidden by %q", s)
		}
		// ...nor can a directive before it be taken back.
		if got := control1("private, max-age=7," + s); !got.private || got.maxAge > 7*time.Second {
			t.Fatalf("%q took back what stood before: %+v", s, got)
		}
		if !strings.ContainsAny(s, `"\`) {
			if got := control1(s + ",no-store"); !got.noStore {
				t.Fatalf("no-store after %q was not seen", s)
			}
		}
	})
}

func FuzzEntityTags(f *testing.F) {
	for _, s := range []string{`"a"`, `W/"a", "b"`, `*`, `"a`, `,,"a"`, `"a""b"`, "W/"} {
		f.Add(s, `"a"`)
	}
	f.Fuzz(func(t *testing.T, list, tag string) {
		got := tagListed(list, tag)
		if got && trim(list) != "*" && (tag == "" || !strings.Contains(list, strings.TrimPrefix(tag, "W/"))) {
			t.Fatalf("%q found in %q", tag, list)
		}
		if validTag(tag) && !tagListed(tag, tag) {
			t.Fatalf("%q does not match itself", tag)
		}
	})
}
