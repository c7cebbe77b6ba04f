package errorpages

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

func failed(accept string, status int, fault *exchange.Fault) *exchange.Exchange {
	x := &exchange.Exchange{ID: "r-1"}
	x.Request.Method, x.Request.Proto = "GET", "HTTP/1.1"
	if accept != "" {
		x.Request.Header.Add("Accept", accept)
	}
	x.Response.Status = status
	x.Fault = fault
	h := &x.Response.Header
	h.Add("Content-Type", "application/problem+json")
	h.Add("Retry-After", "30")
	if fault == nil {
		h.Set("Content-Type", "text/plain")
		h.Add("ETag", `"a"`)
		h.Add("Content-Encoding", "gzip")
		h.Add("Content-Security-Policy", "default-src 'self'")
	}
	x.Response.Body, x.Response.Length = exchange.NewBody([]byte("stack trace")), 11
	return x
}

func body(t *testing.T, x *exchange.Exchange) string {
	t.Helper()
	b, err := io.ReadAll(x.Response.Body)
	if err != nil || x.Response.Length != int64(len(b)) {
		t.Errorf("%v, length %d of %d", err, x.Response.Length, len(b))
	}
	return string(b)
}

func TestWhoGetsAPage(t *testing.T) {
	f := newFilter(t, Config{})
	for accept, html := range map[string]bool{
		browser: true, "text/html": true, "text/*": true, "text/html;q=0.5, application/json;q=0.4": true, "application/json, text/html": false,
		"": false, "*/*": false, "application/json": false, "text/html;q=0": false, "application/problem+json, text/html;q=0.9": false,
		"text/html, application/*;q=0.9": true, "image/*": false,
	} {
		x := failed(accept, 403, &exchange.Fault{Status: 403, Title: "No", Detail: "really"})
		f.OnResponse(x)
		got := body(t, x)
		if strings.Contains(got, "<h1>No</h1>") != html || !html && got != "stack trace" || x.Response.Header.Get("Vary") != "Accept" || x.Response.Header.Get("Retry-After") != "30" {
			t.Errorf("%s: %s %v", accept, got, x.Response.Header)
		}
		if want := map[bool]string{true: "text/html; charset=utf-8", false: "application/problem+json"}[html]; x.Response.Header.Get("Content-Type") != want {
			t.Errorf("%s: %s", accept, x.Response.Header.Get("Content-Type"))
		}
	}
}

func TestTheMostSpecificPageIsShown(t *testing.T) {
	f := newFilter(t, Config{Pages: map[string]Page{"404": {HTML: "gone {{.Status}}"}, "4xx": {HTML: "yours {{.Status}}"}, "default": {HTML: "ours {{.Status}} {{.RetryAfter}}"}}})
	for status, want := range map[int]string{404: "gone 404", 403: "yours 403", 503: "ours 503 30"} {
		x := failed(browser, status, &exchange.Fault{Status: status})
		f.OnResponse(x)
		if got := body(t, x); got != want {
			t.Errorf("%d: %s", status, got)
		}
	}
}

func TestWhatIsShownCannotBreakOut(t *testing.T) {
	evil := `</script><script>alert(1)</script>" onload='x' {{.Code}}`
	f := newFilter(t, Config{Pages: map[string]Page{"default": {HTML: `<p title="{{.Detail}}">{{.Detail}}</p><a href="/?q={{.Detail}}">x</a><script>var d = {{.Detail}};</script>`}}})
	x := failed(browser, 400, &exchange.Fault{Status: 400, Title: evil, Detail: evil})
	f.OnResponse(x)
	got := body(t, x)
	if strings.Contains(got, "<script>alert") || strings.Contains(strings.ReplaceAll(got, `\"`, ""), `" onload`) || strings.Count(got, "</script>") != 1 {
		t.Error(got)
	}
	x = failed(browser, 400, &exchange.Fault{Status: 400, Title: evil, Detail: evil})
	newFilter(t, Config{}).OnResponse(x)
	if got := body(t, x); strings.Contains(got, "<script") {
		t.Error(got)
	}
}

func TestTheServicesOwnErrors(t *testing.T) {
	for _, c := range []struct {
		service string
		status  int
		ours    bool
	}{{"off", 500, false}, {"5xx", 500, true}, {"5xx", 404, false}, {"all", 404, true}, {"all", 200, false}} {
		for _, accept := range []string{browser, "application/json"} {
			x := failed(accept, c.status, nil)
			newFilter(t, Config{Service: c.service}).OnResponse(x)
			got := body(t, x)
			if strings.Contains(got, "stack") == c.ours {
				t.Errorf("%s, %d, %s: %s", c.service, c.status, accept, got)
			}
			if !c.ours {
				continue
			}
			h := &x.Response.Header
			if h.Has("ETag") || h.Has("Content-Encoding") || !h.Has("Content-Security-Policy") || h.Get("Cache-Control") != "no-store" || h.Get("Retry-After") != "30" {
				t.Error(h)
			}
			if accept == browser {
				continue
			}
			var p struct {
				Status           int
				Title, RequestID string `json:",omitempty"`
			}
			if err := json.Unmarshal([]byte(got), &p); err != nil || p.Status != c.status || p.Title == "" || h.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%v: %s", err, got)
			}
		}
	}
}

func TestGRPCIsLeftAlone(t *testing.T) {
	x := failed(browser, 500, nil)
	x.Request.Proto = "HTTP/2.0"
	x.Request.Header.Add("Content-Type", "application/grpc")
	if newFilter(t, Config{Service: "all"}).OnResponse(x); body(t, x) != "stack trace" {
		t.Error("a gRPC answer was replaced")
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.html")
	if err := os.WriteFile(large, make([]byte, maxPage+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		page Page
		msg  string
	}{
		{"200", Page{HTML: "x"}, "want a status"},
		{"404", Page{}, "one of html and file"},
		{"404", Page{HTML: "x", File: "y"}, "one of html and file"},
		{"404", Page{File: "/does/not/exist"}, "no such file"},
		{"404", Page{File: large}, "at most"},
		{"404", Page{HTML: "{{"}, "unclosed action"},
		{"404", Page{HTML: "a\n{{.Token}}"}, ".Token}} is not allowed"},
		{"404", Page{HTML: "{{printf \"%d\" .Status}}"}, "not allowed"},
		{"404", Page{HTML: "{{range .Title}}x{{end}}"}, "not allowed"},
		{"404", Page{HTML: "{{if eq .Status 4}}x{{end}}"}, "not allowed"},
		{"404", Page{HTML: "{{if .Title}}{{.}}{{end}}"}, "not allowed"},
		{"404", Page{HTML: "{{define \"a\"}}x{{end}}{{template \"a\"}}"}, "not allowed"},
		{"404", Page{HTML: "{{$x := .Title}}"}, "not allowed"},
		{"404", Page{HTML: "<a href={{if .Title}}\"{{end}}>"}, "different contexts"},
	} {
		_, err := Kind().Build(&Config{Pages: map[string]Page{c.name: c.page}}, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != "pages."+c.name || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want pages.%s: …%s…", c.page, err, c.name, c.msg)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	if got := newFilter(t, Config{Service: "5xx", Pages: map[string]Page{"404": {HTML: "x"}}}).Explain(); got != "404 default, the service's own: 5xx" {
		t.Error(got)
	}
}

func TestAnAnswerThatIsNoErrorAllocatesNothing(t *testing.T) {
	f := newFilter(t, Config{Service: "all"})
	x := failed(browser, 200, nil)
	if n := testing.AllocsPerRun(100, func() { f.OnResponse(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPage(b *testing.B) {
	f := newFilter(b, Config{})
	x := failed(browser, 403, &exchange.Fault{Status: 403, Title: "No", Detail: "really"})
	b.ReportAllocs()
	for b.Loop() {
		f.OnResponse(x)
	}
}
