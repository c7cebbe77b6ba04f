package cache

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func spelled(s string) string {
	var b strings.Builder
	if !readDictionary(s, func(key string, v item) { fmt.Fprintf(&b, "%s:%d:%d:%s ", key, v.kind, v.number, v.text) }) {
		return "malformed"
	}
	return strings.TrimSuffix(b.String(), " ")
}

func TestDictionaries(t *testing.T) {
	for s, want := range map[string]string{
		"":                        "",
		"  ":                      "",
		"a":                       "a:0:1:",
		"a=?0, b=?1":              "a:0:0: b:0:1:",
		"a=1,b=-2":                "a:1:1: b:1:-2:",
		"a=1 \t,\t b":             "a:1:1: b:0:1:",
		"a=1, a=2":                "a:1:1: a:1:2:",
		`a="x y"`:                 "a:2:0:x y",
		`a="x\"y"`:                `a:2:0:x\"y`,
		"a=1.5, b=tok/en:x, *c=*": "a:3:0: b:3:0: *c:3:0:",
		"a=:aGk=:, b=@17":         "a:3:0: b:3:0:",
		`a=%"f%c3%bc"`:            "a:3:0:",
		`a=(1 "x" tok);p=1;q, b`:  "a:3:0: b:0:1:",
		"a=()":                    "a:3:0:",
		"a;p;q=1; r=?0, b":        "a:0:1: b:0:1:",
		"a=999999999999999":       "a:1:999999999999999:",
		"a=1000000000000000":      "malformed",
		"a=1.2345":                "malformed",
		"a=1.":                    "malformed",
		"a=1234567890123.1":       "malformed",
		"A=1":                     "malformed",
		"1a":                      "malformed",
		"a =1":                    "malformed",
		"a= 1":                    "malformed",
		"a,":                      "malformed",
		"a,,b":                    "malformed",
		", a":                     "malformed",
		"a b":                     "malformed",
		`a="x`:                    "malformed",
		`a="x\`:                   "malformed",
		`a="\x"`:                  "malformed",
		"a=\"\x01\"":              "malformed",
		"a=?2":                    "malformed",
		"a=?":                     "malformed",
		"a=:x":                    "malformed",
		"a=@1.5":                  "malformed",
		`a=%"%C3"`:                "malformed",
		`a=%"x`:                   "malformed",
		"a=%":                     "malformed",
		"a=(1,2)":                 "malformed",
		"a=(1":                    "malformed",
		"a=(1x)":                  "malformed",
		"a=":                      "malformed",
		"a;=1":                    "malformed",
		"a;P":                     "malformed",
		"a=-":                     "malformed",
		"a=&":                     "malformed",
		"a, &&":                   "malformed",
	} {
		if got := spelled(s); got != want {
			t.Errorf("%q read as %q, want %q", s, got, want)
		}
	}
}

func TestTargetedDirectives(t *testing.T) {
	for _, c := range []struct {
		value string
		ok    func(control) bool
	}{
		{"max-age=5", func(c control) bool { return c.maxAge == 5*time.Second && c.sMaxAge == -1 && c.present }},
		{"max-age=5, max-age=7", func(c control) bool { return c.maxAge == 7*time.Second }},
		{"max-age=-5", func(c control) bool { return c.maxAge == 0 }},
		{"max-age", func(c control) bool { return c.maxAge == 0 }},
		{"max-age=5.0", func(c control) bool { return c.maxAge == 0 }},
		{"max-age=999999999999999", func(c control) bool { return c.maxAge == maxDelta }},
		{"no-store", func(c control) bool { return c.noStore }},
		{"no-store=?0", func(c control) bool { return !c.noStore }},
		{"no-store=1", func(c control) bool { return c.noStore }},
		{"private=?0, private", func(c control) bool { return c.private }},
		{`private="a, b"`, func(c control) bool { return !c.private && c.leavesOut("B") }},
		{`private="vary"`, func(c control) bool { return c.private }},
		{"private=(a)", func(c control) bool { return c.private }},
		{"no-cache=x", func(c control) bool { return c.noCache }},
		{"public=1", func(c control) bool { return !c.public }},
		{"public", func(c control) bool { return c.public }},
		{"must-revalidate=0", func(c control) bool { return c.mustRevalidate }},
		{"proxy-revalidate, must-understand", func(c control) bool { return c.proxyRevalidate && c.mustUnderstand }},
		{"stale-while-revalidate=1, stale-if-error=2, s-maxage=3", func(c control) bool {
			return c.whileRevalidate == time.Second && c.ifError == 2*time.Second && c.sMaxAge == 3*time.Second
		}},
	} {
		got, ok := parseTargeted(c.value)
		if !ok || !c.ok(got) {
			t.Errorf("%q read as %+v, %v", c.value, got, ok)
		}
	}
	if _, ok := parseTargeted(" "); ok {
		t.Error("an empty field counts")
	}
}

func FuzzDictionary(f *testing.F) {
	for _, s := range []string{"a=1, b", `a="\"", b=(1 2);c`, "a=:aa==:", "a=@1, b=%\"%c3%bc\"", "a,", "a=1.5;x=?0", "private=\"set-cookie\", max-age=60"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := spelled(s)
		if got == "malformed" {
			return
		}
		// What is well-formed stays so beside a further member, which is read last.
		with := spelled(s + ", zz=7")
		if got != "" && with != got+" zz:1:7:" {
			t.Fatalf("%q with a further member: %q, was %q", s, with, got)
		}
		// Nor can anything hide what comes behind it.
		if c, ok := parseTargeted(s + ", no-store"); got != "" && (!ok || !c.noStore) {
			t.Fatalf("%q hid a no-store", s)
		}
		for _, c := range s {
			if c < ' ' && c != '\t' || c >= 0x7f {
				t.Fatalf("%q was taken", s)
			}
		}
	})
}
