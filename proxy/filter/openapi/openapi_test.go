package openapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	if c.Document == "" {
		c.Document = "testdata/shop.yaml"
	}
	f, err := Kind().Build(&c, &filter.Env{Store: leased(t), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*Filter)
}

func request(line, body string, lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	method, target, _ := strings.Cut(line, " ")
	x.Request.Method, x.Request.Scheme = method, "https"
	x.Request.Path, x.Request.Query, _ = strings.Cut(target, "?")
	if body != "" {
		x.Request.Body, x.Request.Length = io.NopCloser(iotest.HalfReader(strings.NewReader(body))), int64(len(body))
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

// told is a refusal as one line: status, code, and every flaw's place.
func told(f *exchange.Fault) string {
	if f == nil {
		return ""
	}
	s := fmt.Sprintf("%d %s", f.Status, f.Code)
	for _, e := range f.Errors {
		s += " " + e.In
		if e.Name != "" {
			s += ":" + e.Name
		}
		s += e.Pointer
	}
	return s
}

const isJSON = "Content-Type: application/json"

func TestRequests(t *testing.T) {
	f := newFilter(t, Config{})
	strict := newFilter(t, Config{StrictQuery: true, Errors: 2})
	for _, c := range []struct {
		f    *Filter
		x    *exchange.Exchange
		want string
	}{
		{f, request("GET /v1/orders?limit=10&status=open&status=paid", "", "X-Tenant: acme"), ""},
		{f, request("HEAD /v1/orders", "", "x-tenant: acme"), ""},
		{f, request("GET /v1/orders?limit=0", "", "X-Tenant: acme"), "400 request-invalid query:limit"},
		{f, request("GET /v1/orders?limit=ten&status=lost", "", "X-Tenant: ACME"), "400 request-invalid query:limit query:status#/0 header:X-Tenant"},
		{f, request("GET /v1/orders", ""), "400 request-invalid header:X-Tenant"},
		{f, request("GET /v1/orders?a=%zz", "", "X-Tenant: acme"), "400 request-invalid query"},
		{f, request("GET /v1/orders?unknown=1", "", "X-Tenant: acme"), ""},
		{strict, request("GET /v1/orders?unknown=1&limit=1", "", "X-Tenant: acme"), "400 request-invalid query:unknown"},
		{strict, request("GET /v1/orders?a=1&b=1&c=1", "", "X-Tenant: acme"), "400 request-invalid query:a query:b"},
		{f, request("GET /v1/orders/7", ""), ""},
		{f, request("GET /v1/orders/latest", ""), ""},
		{f, request("GET /v1/orders/x7", ""), "400 request-invalid path:id"},
		{f, request("GET /v1/orders/7/items", ""), "404 not-in-api"},
		{f, request("GET /v1/orders/", ""), "404 not-in-api"},
		{f, request("GET /orders/7", ""), "404 not-in-api"},
		{f, request("GET /v1x/orders/7", ""), "404 not-in-api"},
		{f, request("GET /v1", ""), "404 not-in-api"},
		{f, request("DELETE /v1/orders/7", ""), "405 method-not-allowed"},
		{f, request("GET /v1/files/a.png", ""), ""},
		{f, request("GET /v1/files/a%2eb.gif", ""), "400 request-invalid path:ext"},
		{f, request("GET /v1/files/toolong.png", ""), "400 request-invalid path:name"},
		{f, request("GET /v1/files/png", ""), "404 not-in-api"},
		{f, request("POST /v1/orders", `{"items":[{"sku":"a","qty":1}]}`, isJSON), ""},
		{f, request("POST /v1/orders", `{"items":[{"sku":"a","qty":1}]}`, "content-type: Application/JSON; charset=utf-8"), ""},
		{f, request("POST /v1/orders", `{"items":[{"sku":"a","qty":0},{"qty":"x"}],"note":"longer than ten","x/y":1}`, isJSON), "400 request-invalid body body#/items/0/qty body#/items/1/qty body#/items/1/sku body#/note"},
		{strict, request("POST /v1/orders", `{"items":[{"sku":"a","qty":0},{"qty":"x"}]}`, isJSON), "400 request-invalid body#/items/0/qty body#/items/1/qty"},
		{f, request("POST /v1/orders", `{"items":[]}`, isJSON), "400 request-invalid body#/items"},
		{f, request("POST /v1/orders", `{"items":`, isJSON), "400 request-invalid body"},
		{f, request("POST /v1/orders", `{"items":[{"sku":"a","qty":1,"qty":-5}]}`, isJSON), "400 request-invalid body"},
		{f, request("POST /v1/orders", `{"items":[{"sku":"a","qty":1}],"i\u0074ems":[]}`, isJSON), "400 request-invalid body"},
		{f, request("POST /v1/orders", "", isJSON), "400 request-invalid body"},
		{f, request("POST /v1/orders", ""), "400 request-invalid body"},
		{f, request("POST /v1/orders", `{}`), "415 type-refused"},
		{f, request("POST /v1/orders", `{}`, "Content-Type: text/plain"), "415 type-refused"},
		{f, request("POST /v1/orders", `{}`, isJSON, "Content-Type: text/plain"), "415 type-refused"},
		{f, request("POST /v1/orders", `{}`, isJSON, "Content-Encoding: gzip"), "415 coding-refused"},
		{f, request("POST /v1/orders", `note=a`, "Content-Type: application/x-www-form-urlencoded"), ""},
		{f, request("POST /v1/orders", `x=a`, "Content-Type: application/x-www-form-urlencoded"), "400 request-invalid body#/note"},
		{f, request("PUT /v1/orders/7", "bytes", "Content-Type: application/octet-stream"), ""},
		{f, request("PUT /v1/orders/7", ""), ""},
		{f, request("GET /v1/orders/7", "a body"), "400 request-invalid body"},
		{newFilter(t, Config{UnknownPaths: "pass"}), request("GET /else", ""), ""},
		{newFilter(t, Config{BasePath: "/api/"}), request("GET /api/orders/7", ""), ""},
		{newFilter(t, Config{BasePath: "/"}), request("GET /orders/7", ""), ""},
		{newFilter(t, Config{MaxBody: 5}), request("POST /v1/orders", `{"items":[{"sku":"a","qty":1}]}`, isJSON), "413 body-too-large"},
	} {
		fault := c.f.OnRequest(c.x).Fault()
		if got := told(fault); got != c.want {
			t.Errorf("%s %s?%s: %s, want %s\n%v", c.x.Request.Method, c.x.Request.Path, c.x.Request.Query, got, c.want, fault)
		}
		if fault != nil && fault.Status == 400 && (fault.Detail == "" || strings.ContainsAny(fault.Detail, "\n\r") || len(fault.Detail) > 600) {
			t.Errorf("detail %q", fault.Detail)
		}
	}
}

func TestACheckedBodyReachesTheServiceAsItWas(t *testing.T) {
	f := newFilter(t, Config{})
	const body = ` {"items" : [{"sku":"a","qty":1.0e0}]} `
	for _, length := range []int64{int64(len(body)), -1} {
		x := request("POST /v1/orders", body, isJSON)
		x.Request.Length = length
		if fault := f.OnRequest(x).Fault(); fault != nil {
			t.Fatal(fault)
		}
		if got, err := io.ReadAll(x.Request.Body); string(got) != body || err != nil || x.Request.Length != int64(len(body)) {
			t.Errorf("%q %v", got, err)
		}
	}
	// One that is only bytes is not held.
	x := request("PUT /v1/orders/7", strings.Repeat("x", 3<<20), "Content-Type: application/octet-stream")
	held := x.Request.Body
	if fault := f.OnRequest(x).Fault(); fault != nil || x.Request.Body != held {
		t.Errorf("%v", fault)
	}
}

func TestRefusalsSayWhatIsTaken(t *testing.T) {
	f := newFilter(t, Config{})
	for line, want := range map[string]exchange.Field{
		"PATCH /v1/orders": {Name: "Allow", Value: "GET, HEAD, POST"},
		"POST /v1/orders":  {Name: "Accept", Value: "application/json, application/x-www-form-urlencoded"},
	} {
		fault := f.OnRequest(request(line, "x")).Fault()
		if len(fault.Header) != 1 || fault.Header[0] != want {
			t.Errorf("%s: %+v", line, fault)
		}
	}
	fault := f.OnRequest(request("POST /v1/orders", `{"items":[{"sku":"a","qty":0}]}`, isJSON)).Fault()
	if fault.Detail != "body at #/items/0/qty: number must be at least 1" {
		t.Errorf("%q", fault.Detail)
	}
}

func TestReportOnly(t *testing.T) {
	var log bytes.Buffer
	f := newFilter(t, Config{Mode: "report"})
	f.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 5 {
		x := request("POST /v1/orders", `{"items":[]}`, isJSON)
		if fault := f.OnRequest(x).Fault(); fault != nil {
			t.Error(fault)
		}
		if got, _ := io.ReadAll(x.Request.Body); string(got) != `{"items":[]}` {
			t.Errorf("the service gets %q", got)
		}
	}
	if n := strings.Count(log.String(), "request-invalid"); n < 1 || n > 4 {
		t.Errorf("%d lines: %s", n, log.String())
	}
	x := request("POST /v1/orders", "", isJSON)
	x.Request.Body, x.Request.Length = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)), -1
	if told(f.OnRequest(x).Fault()) != "400 body-incomplete" {
		t.Error("a body that broke off was let pass")
	}
	large := newFilter(t, Config{Mode: "report", MaxBody: 4})
	x = request("POST /v1/orders", `{"items":[]}`, isJSON)
	x.Request.Length = -1
	if fault := large.OnRequest(x).Fault(); fault != nil {
		t.Error(fault)
	}
	if got, _ := io.ReadAll(x.Request.Body); string(got) != `{"items":[]}` {
		t.Errorf("the service gets %q of what is too large", got)
	}
}

func TestValidationIsAwaitedOnCopies(t *testing.T) {
	f := newFilter(t, Config{})
	x := request("GET /v1/orders?limit=1", "", "X-Tenant: acme")
	waits := 0
	x.Waiter = func(ctx context.Context, wait func(context.Context) error) error {
		waits++
		x.Request.Header.Reset() // it has its own
		x.Request.Query = "limit=0"
		return wait(ctx)
	}
	if fault := f.OnRequest(x).Fault(); fault != nil || waits != 1 {
		t.Errorf("%v after %d waits", fault, waits)
	}
}

func TestDetailsOfBothVersionsAreShort(t *testing.T) {
	for body, want := range map[string]string{`{"f":"a secret"}`: "does not match pattern '^[0-9]+$'", `{"a":"long"}`: "maxLength: got 4, want 3", `{"d/e":[1]}`: "does not fit exactly one of the alternatives"} {
		fault := newFilter(t, Config{Document: write(t, "new.yaml", document31)}).OnRequest(request("POST /x", body, isJSON)).Fault()
		if fault == nil || fault.Errors[0].Detail != want {
			t.Errorf("%s: %+v", body, fault)
		}
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const document31 = `
openapi: 3.1.0
info: {title: T, version: "1"}
paths:
  /x:
    post:
      requestBody:
        content:
          application/json:
            schema:
              type: object
              properties:
                a: {type: [string, "null"], maxLength: 3}
                b: {const: 7}
                c: {type: number, exclusiveMinimum: 0}
                f: {type: string, pattern: "^[0-9]+$"}
                "d/e": {oneOf: [{type: string}, {type: boolean}]}
      responses: {"200": {description: ok}}
`

func TestOpenAPI31(t *testing.T) {
	doc := write(t, "new.yaml", document31)
	f := newFilter(t, Config{Document: doc})
	for body, want := range map[string]string{
		`{"a":null,"b":7,"c":0.1}`:  "",
		`{"a":"long","b":8,"c":0}`:  "400 request-invalid body#/a body#/b body#/c",
		`{"a":"` + "\u00e9é" + `"}`: "",
		`{"d/e":[1]}`:               "400 request-invalid body#/d~1e",
	} {
		if got := told(f.OnRequest(request("POST /x", body, isJSON)).Fault()); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestBadDocumentsSayWhere(t *testing.T) {
	const head = "openapi: 3.0.3\ninfo: {title: T, version: '1'}\n"
	for _, c := range []struct{ name, text, msg string }{
		{"syntax", head + "paths:\n  /a: [\n", "doc.yaml"},
		{"version", "swagger: '2.0'\ninfo: {title: T, version: '1'}\npaths: {}\n", "want 3.0 or 3.1"},
		{"no responses", head + "paths:\n  /a:\n    get: {}\n", "doc.yaml:5: "},
		{"two flaws", head + "paths:\n  /a:\n    get:\n      parameters: [{name: q, in: nowhere, schema: {}}]\n      responses: {'200': {description: x}}\n  /b:\n    get:\n      responses: {'200': {}}\n", "\n"},
		{"unknown type", head + "paths:\n  /a:\n    get:\n      parameters:\n        - name: q\n          in: query\n          schema: {type: strin}\n      responses: {'200': {description: x}}\n", "doc.yaml:7: "},
		{"reference nowhere", head + "paths:\n  /a:\n    $ref: '#/components/x'\n", "doc.yaml"},
		{"reference outside", head + "paths:\n  /a:\n    $ref: '../../../etc/passwd'\n", "folder and below"},
		{"reference to the network", head + "paths:\n  /a:\n    $ref: 'http://169.254.169.254/x'\n", "only files beside"},
		{"parameters side by side", head + "paths:\n  /{a}{b}:\n    get:\n      parameters: [{name: a, in: path, required: true, schema: {type: string}}, {name: b, in: path, required: true, schema: {type: string}}]\n      responses: {'200': {description: x}}\n", "side by side"},
	} {
		path := write(t, "doc.yaml", c.text)
		_, err := Kind().Build(&Config{Document: path}, &filter.Env{Store: leased(t)})
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != "document" || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%s: %v, want …%s…", c.name, err, c.msg)
		}
	}
	if _, err := Kind().Build(&Config{Document: "/does/not/exist.yaml"}, &filter.Env{Store: leased(t)}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	if _, err := Kind().Build(&Config{Document: "testdata/shop.yaml", BasePath: "api?"}, &filter.Env{Store: leased(t)}); err == nil || !strings.Contains(err.Error(), "base_path") {
		t.Error(err)
	}
	link := filepath.Join(t.TempDir(), "item.yaml")
	if err := os.Symlink("/etc/hostname", link); err != nil {
		t.Fatal(err)
	}
	doc := filepath.Join(filepath.Dir(link), "doc.yaml")
	if err := os.WriteFile(doc, []byte(head+"paths:\n  /a:\n    $ref: item.yaml\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(doc); err == nil || !strings.Contains(err.Error(), "folder and below") {
		t.Errorf("a link out of the folder: %v", err)
	}
}

func TestExplainIsOneLine(t *testing.T) {
	if got := newFilter(t, Config{Mode: "report", Parallel: 3}).Explain(); got != "testdata/shop.yaml, 6 operations below /v1/, 3 bodies checked at once, report only" {
		t.Error(got)
	}
}

func BenchmarkBody(b *testing.B) {
	f := newFilter(b, Config{})
	body := `{"items":[` + strings.Repeat(`{"sku":"abc","qty":3},`, 50) + `{"sku":"z","qty":1}]}`
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if f.OnRequest(request("POST /v1/orders", body, isJSON)).Fault() != nil {
			b.Fatal("refused")
		}
	}
}

// FuzzRequest: nothing that a client sends breaks the filter, and what it tells
// stays bearable.
func FuzzRequest(f *testing.F) {
	f.Add("/v1/orders", "limit=1&status=a,b", "application/json", `{"items":[{"sku":"a","qty":1}]}`)
	f.Add("/v1/orders", "limit[]=1", "application/x-www-form-urlencoded", "note=%zz&a[b]=c")
	f.Add("/v1/files/a.b.png", "%", "multipart/form-data; boundary=x", "--x\r\n\r\n--x--")
	f.Add("/v1/orders/%37", "", "application/json", `{"a":{"a":1,"a":2}}`)
	flt := newFilter(f, Config{StrictQuery: true, Errors: 3})
	f.Fuzz(func(t *testing.T, path, query, contentType, body string) {
		for _, method := range []string{"GET", "POST"} {
			x := request(method+" "+path+"?"+query, body, "Content-Type: "+contentType, "X-Tenant: a")
			fault := flt.OnRequest(x).Fault()
			if fault == nil {
				continue
			}
			if fault.Status < 400 || fault.Status > 499 || len(fault.Errors) > 3 || len(fault.Detail) > 2000 {
				t.Errorf("%+v", fault)
			}
		}
	})
}
