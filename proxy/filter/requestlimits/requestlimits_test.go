package requestlimits

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

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

func post(length int64, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Method, x.Request.Length = "POST", length
	if length != 0 {
		x.Request.Body = exchange.NewBody([]byte("x"))
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

func TestHeadsAreJudged(t *testing.T) {
	types := Config{ContentTypes: []string{"application/json", "application/*+json"}}
	codings := Config{ContentEncodings: []string{"gzip", "br"}}
	for _, c := range []struct {
		name  string
		cfg   Config
		x     *exchange.Exchange
		query string
		code  string
	}{
		{"fits", Config{Body: 10}, post(10), "", ""},
		{"too large", Config{Body: 10}, post(11), "", "body-too-large"},
		{"no body", types, post(0), "", ""},
		{"listed", types, post(1, "Content-Type: Application/JSON; charset=utf-8"), "", ""},
		{"suffix", types, post(1, "Content-Type: application/merge-patch+json"), "", ""},
		{"other", types, post(1, "Content-Type: text/plain"), "", "type-refused"},
		{"unsaid", types, post(1), "", "type-refused"},
		{"said twice", types, post(1, "Content-Type: application/json", "Content-Type: text/plain"), "", "type-refused"},
		{"chunked of another type", types, post(-1, "Content-Type: text/plain"), "", "type-refused"},
		{"no coding", codings, post(1), "", ""},
		{"identity", codings, post(1, "Content-Encoding: identity"), "", ""},
		{"coding", codings, post(1, "Content-Encoding: GZIP"), "", ""},
		{"two codings", codings, post(1, "Content-Encoding: gzip, deflate"), "", "coding-refused"},
		{"coding in another line", codings, post(1, "Content-Encoding: gzip", "content-encoding: zstd"), "", "coding-refused"},
		{"none but identity", Config{ContentEncodings: []string{"identity"}}, post(1, "Content-Encoding: gzip"), "", "coding-refused"},
		{"length", Config{LengthRequired: true}, post(1), "", ""},
		{"no length", Config{LengthRequired: true}, post(-1), "", "length-required"},
		{"query", Config{Query: 3}, post(0), "a=1", ""},
		{"long query", Config{Query: 3}, post(0), "a=12", "query-too-long"},
	} {
		c.x.Request.Query = c.query
		got := ""
		if fault := newFilter(t, c.cfg).OnRequest(c.x).Fault(); fault != nil {
			got = fault.Code
			if fault.Status < 400 || fault.Status > 499 || fault.Detail == "" {
				t.Errorf("%s: %+v", c.name, fault)
			}
		}
		if got != c.code {
			t.Errorf("%s: %q, want %q", c.name, got, c.code)
		}
	}
}

func TestA415SaysWhatIsTaken(t *testing.T) {
	f := newFilter(t, Config{ContentTypes: []string{"text/*", "application/json"}})
	fault := f.OnRequest(post(1)).Fault()
	if len(fault.Header) != 1 || fault.Header[0] != (exchange.Field{Name: "Accept", Value: "text/*, application/json"}) || fault.Status != 415 {
		t.Errorf("%+v", fault)
	}
}

func TestBodiesAreCountedAsTheyPass(t *testing.T) {
	f := newFilter(t, Config{Body: 10})
	for size := range 25 {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "with its end": iotest.DataErrReader} {
			x := post(-1)
			x.Request.Body = io.NopCloser(wrap(bytes.NewReader(make([]byte, size))))
			if v := f.OnRequest(x); v.Fault() != nil {
				t.Fatal(v.Fault())
			}
			got, err := io.ReadAll(x.Request.Body)
			var fault *exchange.Fault
			switch {
			case size <= 10 && (err != nil || len(got) != size):
				t.Errorf("%d bytes %s: %d and %v", size, name, len(got), err)
			case size > 10 && (!errors.As(err, &fault) || fault.Status != 413 || !fault.Close || len(got) != 10):
				t.Errorf("%d bytes %s: %d and %v", size, name, len(got), err)
			}
			if _, again := x.Request.Body.Read(make([]byte, 1)); size > 10 && again == nil || again == io.EOF && size > 10 {
				t.Errorf("%d bytes %s: after the fault %v", size, name, again)
			}
		}
	}
	x := post(-1)
	f.OnRequest(x)
	if !exchange.Ready(x.Request.Body) || !exchange.Whole(x.Request.Body) {
		t.Error("the wrapped body does not pass on what it is asked")
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{}, "", "nothing is limited"},
		{Config{ContentTypes: []string{"a/b", "json"}}, "content_types[1]", "application/json"},
		{Config{ContentEncodings: []string{"gzip, br"}}, "content_encodings[0]", "gzip"},
		{Config{Body: -1}, "body", "negative"},
	} {
		_, err := Kind().Build(&c.cfg, &filter.Env{})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v: got %v, want %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	f := newFilter(t, Config{Body: 9, ContentTypes: []string{"a/b"}, ContentEncodings: []string{"gzip"}, LengthRequired: true, Query: 7})
	if got := f.Explain(); got != "bodies up to 9 bytes, of a/b, in gzip, with their length, queries up to 7 bytes" {
		t.Error(got)
	}
}

func TestWhatFitsAllocatesNothing(t *testing.T) {
	f := newFilter(t, Config{Body: 1 << 20, ContentTypes: []string{"application/json"}, ContentEncodings: []string{"gzip"}})
	x := post(100, "Content-Type: application/json", "Content-Encoding: gzip")
	if n := testing.AllocsPerRun(100, func() { f.OnRequest(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	f := newFilter(b, Config{Body: 1 << 20, ContentTypes: []string{"application/json"}})
	x := post(100, "Content-Type: application/json")
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}
