package cache

import (
	"strings"
	"testing"
	"time"
)

func TestRangesOfAStoredAnswer(t *testing.T) {
	const body = "0123456789"
	for _, c := range []struct {
		lines  []string
		status int
		body   string
		part   string // Content-Range
	}{
		{[]string{"Range: bytes=0-0"}, 206, "0", "bytes 0-0/10"},
		{[]string{"Range: bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		{[]string{"Range: BYTES = 2-4"}, 206, "234", "bytes 2-4/10"},
		{[]string{"Range: bytes=7-"}, 206, "789", "bytes 7-9/10"},
		{[]string{"Range: bytes=7-99999999999999999999"}, 206, "789", "bytes 7-9/10"},
		{[]string{"Range: bytes=-3"}, 206, "789", "bytes 7-9/10"},
		{[]string{"Range: bytes=-99"}, 206, body, "bytes 0-9/10"},
		{[]string{"Range: bytes=10-"}, 416, "", "bytes */10"},
		{[]string{"Range: bytes=99999999999999999999-"}, 416, "", "bytes */10"},
		{[]string{"Range: bytes=-0"}, 416, "", "bytes */10"},
		{[]string{"Range: bytes=4-2"}, 200, body, ""},
		{[]string{"Range: bytes=-"}, 200, body, ""},
		{[]string{"Range: bytes="}, 200, body, ""},
		{[]string{"Range: bytes=a-b"}, 200, body, ""},
		{[]string{"Range: bytes=+1-2"}, 200, body, ""},
		{[]string{"Range: bytes"}, 200, body, ""},
		{[]string{"Range: lines=0-1"}, 200, body, ""},
		{[]string{"Range: bytes=0-1,3-4"}, 200, body, ""},
		{[]string{"Range: bytes=0-1", "Range: bytes=3-4"}, 200, body, ""},
		{[]string{"Range: bytes=0-1", `If-Range: "v1"`}, 206, "01", "bytes 0-1/10"},
		{[]string{"Range: bytes=0-1", `If-Range: "v2"`}, 200, body, ""},
		{[]string{"Range: bytes=0-1", `If-Range: W/"v1"`}, 200, body, ""},
		{[]string{"Range: bytes=0-1", "If-Range: Tue, 31 Dec 2024 00:00:00 GMT"}, 206, "01", "bytes 0-1/10"},
		{[]string{"Range: bytes=0-1", "If-Range: Wed, 01 Jan 2025 00:00:00 GMT"}, 200, body, ""},
		{[]string{"Range: bytes=0-1", "If-Range: x"}, 200, body, ""},
		{[]string{"Range: bytes=0-1", `If-None-Match: "v1"`}, 304, "", ""},
		{[]string{"Range: bytes=0-1", `If-None-Match: "v2"`}, 206, "01", "bytes 0-1/10"},
	} {
		t.Run(strings.Join(c.lines, " "), func(t *testing.T) {
			r := newRig(t, Config{})
			r.do(request("GET /"), says(200, body, "Cache-Control: max-age=60", "CDN-Cache-Control: max-age=60", `ETag: "v1"`, "Last-Modified: Tue, 31 Dec 2024 00:00:00 GMT", "Content-Type: text/plain"))
			x := request("GET /", c.lines...)
			got := r.do(x, nil)
			if x.Response.Status != c.status || got != c.body || x.Response.Header.Joined("Content-Range") != c.part || x.Response.Length != int64(len(got)) {
				t.Errorf("%d %q of length %d, Content-Range %q", x.Response.Status, got, x.Response.Length, x.Response.Header.Joined("Content-Range"))
			}
			if cc := x.Response.Header.Joined("Cache-Control"); (c.status == 416) != (cc == "no-store") || c.status == 416 && (x.Response.Header.Has("ETag") || x.Response.Header.Has("CDN-Cache-Control")) {
				t.Errorf("%d has Cache-Control: %s, ETag: %s", c.status, cc, x.Response.Header.Get("ETag"))
			}
			if has := x.Response.Header.Has("Content-Type"); has != (c.body != "") {
				t.Errorf("Content-Type there: %v", has)
			}
		})
	}
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, body, "Cache-Control: max-age=60"))
	x := request("HEAD /", "Range: bytes=0-1")
	if r.do(x, nil); x.Response.Status != 200 || x.Response.Length != 10 {
		t.Errorf("HEAD: %d of length %d", x.Response.Status, x.Response.Length)
	}
	r.do(request("GET /404"), says(404, body, "Cache-Control: max-age=60"))
	x = request("GET /404", "Range: bytes=0-1")
	if got := r.do(x, nil); x.Response.Status != 404 || got != body {
		t.Errorf("404: %d %q", x.Response.Status, got)
	}
	r.do(request("GET /empty"), says(200, "", "Cache-Control: max-age=60"))
	for line, status := range map[string]int{"bytes=-5": 200, "bytes=0-": 416} {
		x = request("GET /empty", "Range: "+line)
		if r.do(x, nil); x.Response.Status != status {
			t.Errorf("%s of nothing: %d", line, x.Response.Status)
		}
	}
}

func TestAWeakDateIsNoIfRange(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "abc", "Cache-Control: max-age=60", "Last-Modified: Wed, 01 Jan 2025 00:00:00 GMT", "Date: Wed, 01 Jan 2025 00:00:00 GMT"))
	x := request("GET /", "Range: bytes=0-1", "If-Range: Wed, 01 Jan 2025 00:00:00 GMT")
	if r.do(x, nil); x.Response.Status != 200 {
		t.Errorf("%d: what changed within the second may differ", x.Response.Status)
	}
}

// A range of what is stale asks for the whole's sake, and is answered from it
// once it is confirmed.
func TestARangeOfAStaleAnswer(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "0123", "Cache-Control: max-age=60", `ETag: "1"`))
	r.advance(time.Hour)
	x := request("GET /", "Range: bytes=1-2")
	if got := r.do(x, says(304, "")); got != "12" || x.Response.Status != 206 {
		t.Errorf("confirmed: %d %q", x.Response.Status, got)
	}
	r.advance(time.Hour)
	x = request("GET /", "Range: bytes=1-2")
	if got := r.do(x, says(206, "xy", "Content-Range: bytes 1-2/4", `ETag: "2"`)); got != "xy" || x.Response.Status != 206 {
		t.Errorf("changed: %d %q", x.Response.Status, got)
	}
	if r.responses.Len() != 0 {
		t.Error("what the service no longer has is still kept")
	}
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"0-0", "-1", "1-", "5-2", "0-1,2-3", "-", "", "--1", "99999999999999999999-", "0x1-2"} {
		f.Add(s, uint16(10))
	}
	f.Fuzz(func(t *testing.T, set string, size uint16) {
		p, start, end := byteRange(set, int(size))
		if p == some && (start < 0 || start >= end || end > int(size)) {
			t.Fatalf("%q of %d: %d to %d", set, size, start, end)
		}
		if p == some && strings.Count(set, "-") != 1 {
			t.Fatalf("%q is one range", set)
		}
	})
}
