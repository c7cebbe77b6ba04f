package jsonbody

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
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

func put(h *exchange.Fields, lines []string) {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Set(name, value)
	}
}

func posted(body string, length int64, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Method, x.Request.Length = "POST", length
	x.Request.Body = io.NopCloser(iotest.HalfReader(strings.NewReader(body)))
	x.Request.Header.Add("Content-Type", "application/json")
	put(&x.Request.Header, lines)
	return x
}

func answered(body string, length int64, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{Service: "users"}
	x.Request.Method = "GET"
	x.Response.Status, x.Response.Length = 200, length
	x.Response.Body = io.NopCloser(iotest.HalfReader(strings.NewReader(body)))
	x.Response.Header.Add("Content-Type", "application/json")
	put(&x.Response.Header, lines)
	return x
}

func all(t *testing.T, r io.Reader) string {
	t.Helper()
	if r == nil {
		return ""
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func drop(pass bool) Config {
	c := Config{Request: Edits{Drop: []string{"s"}}, Response: Edits{Drop: []string{"s"}}, MaxSize: 20}
	if pass {
		c.Otherwise = "pass"
	}
	return c
}

func TestRequests(t *testing.T) {
	const secret, clean = `{"a":1,"s":2}`, `{"a":1}`
	for _, c := range []struct {
		name   string
		x      func() *exchange.Exchange
		want   string // what the service gets
		code   string // or why it gets nothing, unless pass
		passed string // what it gets then
	}{
		{"edited", func() *exchange.Exchange { return posted(secret, 13) }, clean, "", clean},
		{"chunked", func() *exchange.Exchange { return posted(secret, -1) }, clean, "", clean},
		{"suffix", func() *exchange.Exchange { return posted(secret, -1, "Content-Type: application/merge-patch+json") }, clean, "", clean},
		{"another type", func() *exchange.Exchange { return posted(secret, 13, "Content-Type: text/plain") }, secret, "", secret},
		{"encoded", func() *exchange.Exchange { return posted(secret, 13, "Content-Encoding: gzip") }, "", "coding-refused 415", secret},
		{"malformed", func() *exchange.Exchange { return posted(`{"s":`, 5) }, "", "bad-json 400", `{"s":`},
		{"large", func() *exchange.Exchange { return posted(`{"a":"`+strings.Repeat("x", 30)+`"}`, 38) }, "", "body-too-large 413", `{"a":"` + strings.Repeat("x", 30) + `"}`},
		{"large and chunked", func() *exchange.Exchange { return posted(`{"a":"`+strings.Repeat("x", 30)+`"}`, -1) }, "", "body-too-large 413", `{"a":"` + strings.Repeat("x", 30) + `"}`},
		{"just fits", func() *exchange.Exchange { return posted(`{"a":"xxxxxxxx"}    `, -1) }, `{"a":"xxxxxxxx"}`, "", `{"a":"xxxxxxxx"}`},
	} {
		for _, pass := range []bool{false, true} {
			x, want := c.x(), c.want
			if pass {
				want = c.passed
			}
			fault := newFilter(t, drop(pass)).OnRequest(x).Fault()
			if fault != nil || !pass && c.code != "" {
				if fault == nil || pass || fmt.Sprintf("%s %d", fault.Code, fault.Status) != c.code {
					t.Errorf("%s, pass %t: %v, want %s", c.name, pass, fault, c.code)
				}
				continue
			}
			if got := all(t, x.Request.Body); got != want || x.Request.Length >= 0 && x.Request.Length != int64(len(got)) {
				t.Errorf("%s, pass %t: %q with length %d, want %q", c.name, pass, got, x.Request.Length, want)
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	const secret, clean = `{"a":1,"s":2}`, `{"a":1}`
	large := `{"a":"` + strings.Repeat("x", 30) + `"}`
	for _, c := range []struct {
		name   string
		x      func() *exchange.Exchange
		want   string
		code   string
		passed string
	}{
		{"edited", func() *exchange.Exchange { return answered(secret, 13) }, clean, "", clean},
		{"unknown length", func() *exchange.Exchange { return answered(secret, -1) }, clean, "", clean},
		{"another type", func() *exchange.Exchange { return answered(secret, 13, "Content-Type: text/html") }, secret, "", secret},
		{"encoded", func() *exchange.Exchange { return answered(secret, 13, "Content-Encoding: gzip") }, "", "answer-unreadable 502", secret},
		{"a part", func() *exchange.Exchange { x := answered(secret, 13); x.Response.Status = 206; return x }, "", "answer-unreadable 502", secret},
		{"malformed", func() *exchange.Exchange { return answered(`{"s":`, 5) }, "", "answer-unreadable 502", `{"s":`},
		{"large", func() *exchange.Exchange { return answered(large, 38) }, "", "answer-unreadable 502", large},
		{"large, unknown length", func() *exchange.Exchange { return answered(large, -1) }, "", "answer-unreadable 502", large},
		{"made here because of a fault", func() *exchange.Exchange {
			x := answered(secret, 13)
			x.Fault = &exchange.Fault{Code: "kept", Status: 500}
			return x
		}, secret, "kept 500", secret},
	} {
		for _, pass := range []bool{false, true} {
			x, want := c.x(), c.want
			if pass {
				want = c.passed
			}
			newFilter(t, drop(pass)).OnResponse(x)
			if x.Fault != nil && x.Fault.Code != "kept" || !pass && c.code != "" {
				if x.Fault == nil || pass && x.Fault.Code != "kept" || fmt.Sprintf("%s %d", x.Fault.Code, x.Fault.Status) != c.code {
					t.Errorf("%s, pass %t: %v, want %s", c.name, pass, x.Fault, c.code)
				}
				continue
			}
			if got := all(t, x.Response.Body); got != want || x.Response.Length >= 0 && x.Response.Length != int64(len(got)) {
				t.Errorf("%s, pass %t: %q with length %d, want %q", c.name, pass, got, x.Response.Length, want)
			}
		}
	}
}

func TestTheServiceIsAskedForWhatCanBeEdited(t *testing.T) {
	x := posted("", 0, "Accept-Encoding: gzip", "Range: bytes=0-1", "If-Range: x")
	newFilter(t, Config{Response: Edits{Drop: []string{"s"}}}).OnRequest(x)
	if h := &x.Request.Header; h.Has("Accept-Encoding") || h.Has("Range") || h.Has("If-Range") {
		t.Error(h)
	}
	x = posted("{}", 2, "Accept-Encoding: gzip", "Content-MD5: x")
	newFilter(t, Config{Request: Edits{Drop: []string{"s"}}}).OnRequest(x)
	if h := &x.Request.Header; !h.Has("Accept-Encoding") || h.Has("Content-MD5") {
		t.Error(h)
	}
}

func TestValidatorsStayTrue(t *testing.T) {
	plain := newFilter(t, Config{Response: Edits{Drop: []string{"s"}}})
	personal := newFilter(t, Config{Response: Edits{Set: map[string]any{"by": "{claim:sub}"}}})
	for _, c := range []struct {
		f      *Filter
		method string
		status int
		etag   string
	}{{plain, "GET", 200, `W/"a"`}, {personal, "GET", 200, ""}, {plain, "HEAD", 200, `W/"a"`}, {personal, "HEAD", 200, ""}, {plain, "GET", 304, `W/"a"`}, {plain, "GET", 204, `"a"`}} {
		x := answered("{}", 2, `ETag: "a"`, "Content-MD5: x")
		x.Request.Method, x.Response.Status = c.method, c.status
		x.Request.Header.Add("If-None-Match", `W/"a"`)
		if c.method == "HEAD" || c.status != 200 {
			x.Response.Body = nil
		}
		c.f.OnResponse(x)
		if got := x.Response.Header.Get("ETag"); got != c.etag || c.status == 200 && x.Response.Header.Has("Content-MD5") || c.method == "HEAD" && x.Response.Length != -1 {
			t.Errorf("%s %d: ETag %s, length %d, want %s", c.method, c.status, got, x.Response.Length, c.etag)
		}
	}
}

func TestABodyThatBreaksOffIsNoDocument(t *testing.T) {
	f := newFilter(t, drop(true))
	x := posted("", -1)
	x.Request.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{}`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if fault := f.OnRequest(x).Fault(); fault == nil || fault.Code != "body-incomplete" {
		t.Error(fault)
	}
	x = posted("", -1)
	own := &exchange.Fault{Code: "body-too-large", Status: 413}
	x.Request.Body = io.NopCloser(iotest.ErrReader(own))
	if fault := f.OnRequest(x).Fault(); fault != own {
		t.Error(fault)
	}
	x = answered("", -1)
	x.Response.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{}`), iotest.ErrReader(errors.New("reset"))))
	if f.OnResponse(x); x.Fault == nil || x.Fault.Code != "answer-unreadable" {
		t.Error(x.Fault)
	}
}

// slow never ends; every read takes a moment.
type slow struct{ x *exchange.Exchange }

func (s slow) Read(p []byte) (int, error) {
	<-s.x.Context().Done() // as a transport's body does
	return 0, context.Cause(s.x.Context())
}

// trickle goes on for ever, as a request body may.
type trickle struct{}

func (trickle) Read(p []byte) (int, error) { time.Sleep(time.Millisecond); p[0] = ' '; return 1, nil }

func TestABodyMustArriveInTime(t *testing.T) {
	f := newFilter(t, Config{Request: Edits{Drop: []string{"s"}}, Response: Edits{Drop: []string{"s"}}, Timeout: 20 * time.Millisecond})
	x := posted("", -1)
	x.Request.Body = io.NopCloser(trickle{})
	if fault := f.OnRequest(x).Fault(); fault == nil || fault.Code != "upload-stalled" || fault.Status != 408 {
		t.Error(fault)
	}
	x = answered("", -1)
	x.Response.Body = io.NopCloser(slow{x})
	if f.OnResponse(x); x.Fault == nil || x.Fault.Code != "timeout" || x.Fault.Status != 504 {
		t.Error(x.Fault)
	}
}

func TestLargeDocumentsAreEditedElsewhere(t *testing.T) {
	f := newFilter(t, Config{Request: Edits{Drop: []string{"s"}}})
	for _, size := range []int{heavy / 2, heavy * 2} {
		x := posted(`{"a":"`+strings.Repeat("x", size)+`"}`, -1)
		waits := 0
		x.Waiter = func(ctx context.Context, wait func(context.Context) error) error { waits++; return wait(ctx) }
		f.OnRequest(x)
		if want := size / heavy / 2 * 1; (waits > 0) != (want > 0) {
			t.Errorf("%d bytes: awaited %d times", size, waits)
		}
	}
}

func TestARejoinedBodyIsWhole(t *testing.T) {
	x := posted("", -1)
	x.Request.Body = io.NopCloser(iotest.DataErrReader(bytes.NewReader(bytes.Repeat([]byte("0123456789"), 500))))
	newFilter(t, drop(true)).OnRequest(x)
	if got := all(t, iotest.OneByteReader(x.Request.Body)); got != strings.Repeat("0123456789", 500) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	response := func(e Edits) Config { return Config{Response: e} }
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{}, "", "nothing is edited"},
		{response(Edits{Drop: []string{"a", "b..c"}}), "response.drop[1]", "address.city"},
		{response(Edits{Pick: []string{}}), "response.pick", "leave nothing"},
		{response(Edits{Drop: []string{strings.Repeat("a.", 40) + "a"}}), "response.drop[0]", "at most 32"},
		{response(Edits{Rename: map[string]string{"a": ""}}), "response.rename.a", "no new name"},
		{Config{Request: Edits{Set: map[string]any{"a": "{user}"}}}, "request.set.a", "unknown placeholder"},
		{response(Edits{Set: map[string]any{"a": 1, "a.b": 2}}), "response.set", "as a whole and in part"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	f := newFilter(t, Config{Request: Edits{Set: map[string]any{"a": 1}}, Response: Edits{Drop: []string{"b"}, Pick: []string{"c"}, Rename: map[string]string{"d": "e"}, Wrap: "w"}})
	if got := f.Explain(); got != "request: set a; response: drop b, pick c, rename d to e, wrap in w; up to 1048576 bytes" {
		t.Error(got)
	}
}
