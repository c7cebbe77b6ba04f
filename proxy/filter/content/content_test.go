package content

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func fields(lines ...string) *exchange.Fields {
	h := &exchange.Fields{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
	return h
}

func dump(h *exchange.Fields) string {
	var s []string
	for n, v := range h.All() {
		s = append(s, n+": "+v)
	}
	return strings.Join(s, "|")
}

func TestTypesMatch(t *testing.T) {
	types, _, err := ParseTypes([]string{"application/json", "text/*", "Application/*+JSON"})
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{
		"application/json": true, "APPLICATION/Json ; charset=utf-8": true, "text/html": true, "text/x;a=b": true,
		"application/problem+json": true, "application/+json": false, "image/x+json": false, "application/jsonx": false,
		"application/xml": false, "": false, "text": false, "text/": false, "/html": false, "*/*": false,
	} {
		if got := types.Has(value); got != want {
			t.Errorf("%q: %t, want %t", value, got, want)
		}
	}
	any, _, err := ParseTypes([]string{"*/*"})
	if err != nil || !any.Has("x/y") || any.Has("x") {
		t.Error("*/*", err)
	}
	for _, bad := range []string{"json", "*/json", "text/", "/x", "te xt/html", "text/*x", "text/*+", "text/html;q=1", "", "*", "text/a*b"} {
		if _, at, err := ParseTypes([]string{"a/b", bad}); err == nil || at != 1 || !strings.Contains(err.Error(), "application/json") {
			t.Errorf("%q: %v at %d", bad, err, at)
		}
	}
	for value, want := range map[string]bool{"application/json": true, "application/problem+json": true, "x/y+json; a=b": true, "text/json": false, "application/json5": false} {
		if IsJSON(value) != want {
			t.Errorf("IsJSON(%q) is %t", value, !want)
		}
	}
}

func TestCodingWeights(t *testing.T) {
	for _, c := range []struct {
		lines  string
		coding string
		weight int
		listed bool
	}{
		{"", "gzip", 0, false},
		{"Accept-Encoding: ", "gzip", 0, false},
		{"Accept-Encoding: gzip, br", "gzip", 1000, true},
		{"accept-encoding: GZip;q=0.5,br", "gzip", 500, true},
		{"Accept-Encoding: x-gzip", "gzip", 1000, true},
		{"Accept-Encoding: br|Accept-Encoding: gzip ; Q=0.123", "gzip", 123, true},
		{"Accept-Encoding: *", "br", 1000, true},
		{"Accept-Encoding: *;q=0.2, br;q=0", "br", 0, true},
		{"Accept-Encoding: *;q=0", "br", 0, true},
		{"Accept-Encoding: gzip;q=1.5", "gzip", 1000, true},
		{"Accept-Encoding: gzip;q=2", "gzip", 0, true},
		{"Accept-Encoding: gzip;q=", "gzip", 0, true},
		{"Accept-Encoding: gzip;q=0.1234", "gzip", 0, true},
		{"Accept-Encoding: gzip;q=-1", "gzip", 0, true},
		{"Accept-Encoding: gzip;level=9;q=0.1", "gzip", 100, true},
		{"Accept-Encoding: gzipped", "gzip", 0, false},
	} {
		h := fields()
		if c.lines != "" {
			h = fields(strings.Split(c.lines, "|")...)
		}
		if w, l := CodingWeight(h, c.coding); w != c.weight || l != c.listed {
			t.Errorf("%s: %s has %d %t, want %d %t", c.lines, c.coding, w, l, c.weight, c.listed)
		}
	}
}

func TestMediaWeights(t *testing.T) {
	for _, c := range []struct {
		accept      string
		weight, how int
	}{
		{"text/html", 1000, 3}, {"*/*", 1000, 1}, {"text/*;q=0.3, */*", 300, 2}, {"text/html;q=0, */*", 0, 3},
		{"application/json", 0, 0}, {"", 0, 0}, {"text/html;level=1;q=0.4, text/html;q=0.7", 700, 3},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 1000, 3}, {"text", 0, 0},
	} {
		if w, how := MediaWeight(fields("Accept: "+c.accept), "text", "html"); w != c.weight || how != c.how {
			t.Errorf("%s: %d %d, want %d %d", c.accept, w, how, c.weight, c.how)
		}
	}
}

func TestVaryIsSaidOnce(t *testing.T) {
	for in, want := range map[string]string{
		"A: 1":              "A: 1|Vary: Origin",
		"Vary: Accept":      "Vary: Accept|Vary: Origin",
		"vary: a, oRIGIN":   "vary: a, oRIGIN",
		"Vary: *":           "Vary: *",
		"Vary: Origin-Test": "Vary: Origin-Test|Vary: Origin",
	} {
		h := fields(in)
		Vary(h, "Origin")
		if got := dump(h); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestChangedContentLosesWhatWasTrueOfItsBytes(t *testing.T) {
	x := &exchange.Exchange{}
	x.Response.Header = *fields("ETag: \"a\"", "Content-MD5: x", "Digest: x", "Repr-Digest: x", "content-digest: x", "Accept-Ranges: bytes", "Content-Type: a/b")
	Changed(x)
	if got := dump(&x.Response.Header); got != `ETag: W/"a"|Content-Type: a/b` {
		t.Error(got)
	}
	Changed(x)
	if got := x.Response.Header.Get("ETag"); got != `W/"a"` {
		t.Error(got)
	}
}

func TestA304IsWeakenedForWhoHoldsTheWeakForm(t *testing.T) {
	for match, want := range map[string]string{`W/"a"`: `W/"a"`, `"b", W/"a"`: `W/"a"`, `"a"`: `"a"`, `*`: `"a"`, ``: `"a"`, `W/"ab"`: `"a"`} {
		x := &exchange.Exchange{}
		x.Request.Header.Add("If-None-Match", match)
		x.Response.Header.Add("ETag", `"a"`)
		WeakenConfirmed(x)
		if got := x.Response.Header.Get("ETag"); got != want {
			t.Errorf("%s: %s, want %s", match, got, want)
		}
	}
}

func TestEncodedContent(t *testing.T) {
	for line, want := range map[string]bool{"Content-Encoding: gzip": true, "content-encoding: Identity": false, "Content-Encoding: ": false, "A: gzip": false, "Content-Encoding: gzip, br": true} {
		if Encoded(fields(line)) != want {
			t.Errorf("%s: %t", line, !want)
		}
	}
}

func TestLookUpsAllocateNothing(t *testing.T) {
	h := fields("Accept-Encoding: gzip, deflate, br;q=0.8, zstd", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")
	types, _, _ := ParseTypes([]string{"text/*", "application/*+json"})
	if n := testing.AllocsPerRun(100, func() {
		CodingWeight(h, "br")
		MediaWeight(h, "text", "html")
		types.Has("application/problem+json; charset=utf-8")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAccept(f *testing.F) {
	for _, s := range []string{"gzip;q=0.5, br", "*;q=0", ";;,=", "text/html;q=1.000,*/*;q=.1", "gzip;q=1.0000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := &exchange.Fields{}
		h.Add("Accept-Encoding", s)
		h.Add("Accept", s)
		if w, _ := CodingWeight(h, "gzip"); w < 0 || w > maxWeight {
			t.Errorf("weight %d", w)
		}
		if w, how := MediaWeight(h, "text", "html"); w < 0 || w > maxWeight || how < 0 || how > 3 {
			t.Errorf("weight %d %d", w, how)
		}
	})
}

// limited is a request body that is told its limit.
type limited struct {
	exchange.Bytes
	told []time.Duration
}

func (l *limited) Within(d time.Duration) { l.told = append(l.told, d) }

func TestARequestIsReadWithinALimit(t *testing.T) {
	for _, max := range []int64{100, 5} {
		x := &exchange.Exchange{}
		body := &limited{Bytes: *exchange.NewBody([]byte("0123456789"))}
		x.Request.Body, x.Request.Length = body, -1
		whole, rest, err := ReadRequest(x, max, time.Minute)
		if !slices.Equal(body.told, []time.Duration{time.Minute, 0}) {
			t.Errorf("the body was told %v", body.told)
		}
		if max == 100 {
			if string(whole) != "0123456789" || err != nil {
				t.Errorf("%q %v", whole, err)
			}
			continue
		}
		exchange.Within(rest, time.Second)
		if all, _ := io.ReadAll(rest); string(all) != "0123456789" || err != ErrTooLarge || len(body.told) != 3 {
			t.Errorf("%q %v, told %v", all, err, body.told)
		}
	}
}
