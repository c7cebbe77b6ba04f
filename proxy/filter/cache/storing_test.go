package cache

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"lintel.dev/lintel/proxy/exchange"
)

func TestWhatMayBeStored(t *testing.T) {
	ttl := Config{TTL: time.Minute}
	no := false
	for _, c := range []struct {
		name    string
		config  Config
		request *exchange.Exchange
		origin  origin
		stored  bool
	}{
		{"max-age", Config{}, request("GET /"), says(200, "a", "Cache-Control: max-age=60"), true},
		{"s-maxage", Config{}, request("GET /"), says(200, "a", "Cache-Control: s-maxage=60"), true},
		{"s-maxage 0 beats max-age", Config{}, request("GET /"), says(200, "a", "Cache-Control: max-age=60, s-maxage=0"), false},
		{"Expires", Config{}, request("GET /"), says(200, "a", "Date: Wed, 01 Jan 2025 00:00:00 GMT", "Expires: Wed, 01 Jan 2025 00:01:00 GMT"), true},
		{"Expires 0", Config{}, request("GET /"), says(200, "a", "Expires: 0"), false},
		{"nothing said", Config{}, request("GET /"), says(200, "a"), false},
		{"nothing said with ttl", ttl, request("GET /"), says(200, "a"), true},
		{"404 with max-age", Config{}, request("GET /"), says(404, "a", "Cache-Control: max-age=60"), true},
		{"404 with ttl only", ttl, request("GET /"), says(404, "a"), false},
		{"404 with ttl and listed", Config{TTL: time.Minute, Statuses: []int{404}}, request("GET /"), says(404, "a"), true},
		{"200 not listed", Config{Statuses: []int{404}}, request("GET /"), says(200, "a", "Cache-Control: max-age=60"), false},
		{"500", Config{}, request("GET /"), says(500, "a", "Cache-Control: max-age=60"), false},
		{"206", Config{}, request("GET /"), says(206, "a", "Cache-Control: max-age=60"), false},
		{"no-store", ttl, request("GET /"), says(200, "a", "Cache-Control: no-store, max-age=60"), false},
		{"private", ttl, request("GET /"), says(200, "a", "Cache-Control: private, max-age=60"), false},
		{"private on a second line", ttl, request("GET /"), says(200, "a", "Cache-Control: max-age=60", "cache-control: PRIVATE"), false},
		{"private with fields", ttl, request("GET /"), says(200, "a", `Cache-Control: private="x-a, x-b", max-age=60`), true},
		{"private with Set-Cookie", ttl, request("GET /"), says(200, "a", `Cache-Control: private="set-cookie", max-age=60`, "Set-Cookie: a=b"), true},
		{"no-cache with Set-Cookie", ttl, request("GET /"), says(200, "a", `Cache-Control: no-cache="set-cookie", max-age=60`, "Set-Cookie: a=b"), true},
		{"private with another field, and Set-Cookie", ttl, request("GET /"), says(200, "a", `Cache-Control: private="x-a", max-age=60`, "Set-Cookie: a=b"), false},
		{"private with fields that caching goes by", ttl, request("GET /"), says(200, "a", `Cache-Control: private="vary", max-age=60`), false},
		{"must-understand and no-store", Config{}, request("GET /"), says(200, "a", "Cache-Control: must-understand, no-store, max-age=60"), true},
		{"must-understand of an unknown status", Config{Statuses: []int{299}}, request("GET /"), says(299, "a", "Cache-Control: must-understand, no-store, max-age=60"), false},
		{"unknown status", Config{Statuses: []int{299}}, request("GET /"), says(299, "a", "Cache-Control: max-age=60"), true},
		{"heuristic", Config{Heuristic: time.Hour}, request("GET /"), says(200, "a", "Last-Modified: Tue, 31 Dec 2024 00:00:00 GMT"), true},
		{"heuristic without Last-Modified", Config{Heuristic: time.Hour}, request("GET /"), says(200, "a"), false},
		{"heuristic from the future", Config{Heuristic: time.Hour}, request("GET /"), says(200, "a", "Last-Modified: Tue, 31 Dec 2030 00:00:00 GMT"), false},
		{"heuristic against Expires", Config{Heuristic: time.Hour}, request("GET /"), says(200, "a", "Last-Modified: Tue, 31 Dec 2024 00:00:00 GMT", "Expires: 0"), false},
		{"Last-Modified without heuristic", Config{}, request("GET /"), says(200, "a", "Last-Modified: Tue, 31 Dec 2024 00:00:00 GMT"), false},
		{"targeted", Config{}, request("GET /"), says(200, "a", "Lintel-Cache-Control: max-age=60", "Cache-Control: no-store", "Expires: 0"), true},
		{"targeted against", ttl, request("GET /"), says(200, "a", "Lintel-Cache-Control: no-store", "Cache-Control: max-age=60"), false},
		{"targeted and malformed", Config{}, request("GET /"), says(200, "a", "Lintel-Cache-Control: max-age=60, &", "Cache-Control: no-store"), false},
		{"targeted and empty", Config{}, request("GET /"), says(200, "a", "Lintel-Cache-Control: ", "Cache-Control: max-age=60"), true},
		{"targeted elsewhere", Config{}, request("GET /"), says(200, "a", "CDN-Cache-Control: max-age=60"), false},
		{"targeted by list, the first counts", Config{Targets: []string{"A", "B"}}, request("GET /"), says(200, "a", "B: no-store", "A: max-age=60"), true},
		{"targeted by list, the first is missing", Config{Targets: []string{"A", "B"}}, request("GET /"), says(200, "a", "B: no-store", "Cache-Control: max-age=60"), false},
		{"too many tags", Config{}, request("GET /"), says(200, "a", "Cache-Control: max-age=60", "Cache-Tag: "+strings.Join(numbered(257), ",")), false},
		{"as many tags as may be", Config{}, request("GET /"), says(200, "a", "Cache-Control: max-age=60", "Cache-Tag: "+strings.Join(numbered(256), ",")), true},
		{"a client's no-cache ignored", Config{ClientControl: "ignore"}, request("GET /", "Cache-Control: no-cache, no-store, max-age=0"), says(200, "a", "Cache-Control: max-age=60"), true},
		{"max-age=0 and nothing else", Config{}, request("GET /"), says(200, "a", "Cache-Control: max-age=0"), false},
		{"no-cache", ttl, request("GET /"), says(200, "a", "Cache-Control: no-cache"), false},
		{"no-cache under override", Config{TTL: time.Minute, Override: true}, request("GET /"), says(200, "a", "Cache-Control: no-cache"), false},
		{"max-age=0 under override", Config{TTL: time.Minute, Override: true}, request("GET /"), says(200, "a", "Cache-Control: max-age=0"), true},
		{"max-age=0 under ttl", ttl, request("GET /"), says(200, "a", "Cache-Control: max-age=0"), false},
		{"Set-Cookie", ttl, request("GET /"), says(200, "a", "Cache-Control: max-age=60", "Set-Cookie: a=b"), false},
		{"Vary *", ttl, request("GET /"), says(200, "a", "Vary: Accept, *"), false},
		{"announced trailers", ttl, request("GET /"), says(200, "a", "Trailer: X-Sum"), false},
		{"request no-store", ttl, request("GET /", "Cache-Control: no-store"), says(200, "a"), false},
		{"POST", ttl, request("POST /"), says(200, "a", "Cache-Control: max-age=60"), false},
		{"HEAD", ttl, request("HEAD /"), says(200, ""), false},
		{"Range, answered in part", ttl, request("GET /", "Range: bytes=0-1"), says(206, "a", "Content-Range: bytes 0-0/2"), false},
		{"Range, answered whole", ttl, request("GET /", "Range: bytes=0-1"), says(200, "a"), true},
		{"content type listed", Config{TTL: time.Minute, ContentTypes: []string{"application/json"}}, request("GET /"), says(200, "a", "Content-Type: Application/JSON; charset=utf-8"), true},
		{"content type not listed", Config{TTL: time.Minute, ContentTypes: []string{"application/json"}}, request("GET /"), says(200, "a", "Content-Type: text/html"), false},
		{"Authorization", ttl, request("GET /", "Authorization: Bearer a"), says(200, "a"), false},
		{"Authorization and max-age", ttl, request("GET /", "Authorization: Bearer a"), says(200, "a", "Cache-Control: max-age=60"), false},
		{"Authorization and public", Config{}, request("GET /", "Authorization: Bearer a"), says(200, "a", "Cache-Control: public, max-age=60"), true},
		{"Authorization and public, private config", Config{Authorized: "private"}, request("GET /", "Authorization: Bearer a"), says(200, "a", "Cache-Control: public, max-age=60"), false},
		{"cookie", ttl, request("GET /", "Cookie: s=1"), says(200, "a"), false},
		{"cookie ignored", Config{TTL: time.Minute, Cookies: "ignore"}, request("GET /", "Cookie: s=1"), says(200, "a"), true},
		{"user", ttl, user(request("GET /"), "u"), says(200, "a"), true},
		{"user without per_user", Config{TTL: time.Minute, PerUser: &no}, user(request("GET /"), "u"), says(200, "a"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.config)
			r.do(c.request, c.origin)
			again := request(c.request.Request.Method + " /")
			again.Request.Header.Replace(&c.request.Request.Header)
			again.Identity = c.request.Identity
			body := r.do(again, says(200, "b"))
			if got := r.calls.Load() == 1; got != c.stored {
				t.Fatalf("answered from the store: %v, want %v (%s)", got, c.stored, again.CacheInfo)
			}
			if c.stored && body != "a" {
				t.Fatalf("body %q", body)
			}
		})
	}
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(i)
	}
	return out
}

type brokenBody struct{ data io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.data.Read(p)
	if err == io.EOF {
		err = errors.New("connection reset")
	}
	return n, err
}
func (brokenBody) Close() error { return nil }

func TestOnlyWholeBodiesAreStored(t *testing.T) {
	body := func(length int64, b io.Reader) origin {
		return func(x *exchange.Exchange) *exchange.Fault {
			_ = says(200, "", "Cache-Control: max-age=60")(x)
			rc, ok := b.(io.ReadCloser)
			if !ok {
				rc = io.NopCloser(b)
			}
			x.Response.Body, x.Response.Length = rc, length
			return nil
		}
	}
	for _, c := range []struct {
		name   string
		origin origin
		stored bool
	}{
		{"whole", body(5, strings.NewReader("hello")), true},
		{"whole of unknown length", body(-1, strings.NewReader("hello")), true},
		{"cut short", body(6, strings.NewReader("hello")), false},
		{"too long", body(4, strings.NewReader("hello")), false},
		{"broken off", body(-1, brokenBody{strings.NewReader("hello")}), false},
		{"announced too large", body(1<<20, strings.NewReader("hello")), false},
		{"turns out too large", body(-1, strings.NewReader(strings.Repeat("a", 16385))), false},
		{"as large as may be", body(-1, strings.NewReader(strings.Repeat("a", 16384))), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{MaxBytes: 1 << 20, MaxObject: 16384})
			r.do(request("GET /"), c.origin)
			if got := r.responses.Len() == 1; got != c.stored {
				t.Errorf("stored %v", got)
			}
			if n := r.responses.Bytes(); !c.stored && n != 0 {
				t.Errorf("%d bytes still held", n)
			}
		})
	}
	t.Run("trailers", func(t *testing.T) {
		r := newRig(t, Config{})
		r.do(request("GET /"), func(x *exchange.Exchange) *exchange.Fault {
			fault := body(-1, strings.NewReader("hello"))(x)
			x.Response.Trailer.Add("X-Sum", "1")
			return fault
		})
		if r.responses.Len() != 0 {
			t.Error("stored without its trailers")
		}
	})
	t.Run("client gone midway", func(t *testing.T) {
		r := newRig(t, Config{})
		x := request("GET /")
		r.head(x, body(-1, strings.NewReader("hello")))
		_, _ = x.Response.Body.Read(make([]byte, 2))
		_ = x.Response.Body.Close()
		r.Done(x)
		if r.responses.Len() != 0 || r.responses.Bytes() != 0 {
			t.Error("half a body was kept")
		}
	})
	t.Run("engine stops at the length", func(t *testing.T) {
		r := newRig(t, Config{})
		x := request("GET /")
		r.head(x, body(5, strings.NewReader("hello")))
		_, _ = io.ReadFull(x.Response.Body, make([]byte, 5))
		_ = x.Response.Body.Close()
		r.Done(x)
		if r.responses.Len() != 1 {
			t.Error("a whole body was not kept")
		}
	})
}

func TestAnswersOfFiltersAndFaultsAreNotStored(t *testing.T) {
	r := newRig(t, Config{TTL: time.Minute})
	x := request("GET /")
	r.OnRequest(x)
	x.Answer(200, "", []byte("made by a filter"))
	r.OnResponse(x)
	r.Done(x)
	r.do(request("GET /"), broken)
	if r.responses.Len() != 0 {
		t.Error("stored")
	}
}

// Fields are views into an engine's buffer, which the next exchange overwrites.
func TestStoredAnswersOutliveTheirBuffers(t *testing.T) {
	r := newRig(t, Config{})
	var buffers [][]byte
	view := func(s string) string {
		b := []byte(s)
		buffers = append(buffers, b)
		return unsafe.String(&b[0], len(b))
	}
	viewed := func(h *exchange.Fields, lines ...string) {
		for i := 0; i < len(lines); i += 2 {
			h.Add(view(lines[i]), view(lines[i+1]))
		}
	}
	x := user(request("GET /"), view("someone"))
	x.Request.Path, x.Request.Query, x.Request.Authority = view("/path"), view("q=1"), view("api.example")
	viewed(&x.Request.Header, "X-V", "one")
	r.do(x, func(x *exchange.Exchange) *exchange.Fault {
		_ = says(200, "a")(x)
		viewed(&x.Response.Header, "Cache-Control", "max-age=60", "ETag", `"v1"`, "Vary", "X-V",
			"Last-Modified", "Tue, 31 Dec 2024 00:00:00 GMT", "X-Kept", "yes")
		return nil
	})
	for _, b := range buffers {
		for i := range b {
			b[i] = '#'
		}
	}
	x = user(request("GET /path?q=1", "X-V: one", `If-None-Match: "v1"`), "someone")
	r.do(x, says(200, "b"))
	want(t, x, 304, "lintel; hit; ttl=60")
	if x.Response.Header.Get("X-Kept") != "yes" || x.Response.Header.Get("Vary") != "X-V" {
		t.Errorf("header %v", x.Response.Header)
	}
}

func TestConnectionFieldsAreNotStored(t *testing.T) {
	r := newRig(t, Config{})
	r.do(request("GET /"), says(200, "a", "Cache-Control: max-age=60", "Connection: X-Hop", "X-Hop: 1", "Age: 3", "X-Request-ID: 7", "X-Kept: 1"))
	x := request("GET /")
	r.do(x, nil)
	for _, name := range []string{"Connection", "X-Hop", "X-Request-ID"} {
		if x.Response.Header.Has(name) {
			t.Errorf("%s was stored", name)
		}
	}
	if x.Response.Header.Joined("Age") != "3" || !x.Response.Header.Has("X-Kept") || !x.Response.Header.Has("Date") {
		t.Errorf("header %v", x.Response.Header)
	}
}
