package enginetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// seen is a request as the application saw it.
type seen struct {
	method, uri, host, proto string
	header                   http.Header
	trailer                  http.Header
	length                   int64
	body                     []byte
}

// recorder is an application that says what it saw, request by request.
func recorder(got chan<- seen) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, r.Host, r.Proto, r.Header, r.Trailer, r.ContentLength, body}
		w.Header().Set("X-Method", r.Method)
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		_, _ = fmt.Fprintf(w, "%d bytes", len(body))
	})
}

func testRequests(t *testing.T, e Engine, w way) {
	got := make(chan seen, 1)
	p := start(t, e, options{way: w, app: recorder(got)})
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		t.Run(method, func(t *testing.T) {
			path := "/" + strings.ToLower(method)
			req, _ := http.NewRequest(method, p.url(path), nil)
			req.Header["X-Many"] = []string{"one", "two"}
			req.Header.Set("User-Agent", "")
			res, err := p.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			s := <-got
			if s.method != method || s.uri != path || s.host != p.addr || len(s.body) != 0 || s.length != 0 {
				t.Errorf("the application saw %+v", s)
			}
			if many := s.header["X-Many"]; len(many) != 2 || many[0] != "one" || many[1] != "two" {
				t.Errorf("X-Many arrived as %q", many)
			}
			for _, added := range []string{"User-Agent", "Accept-Encoding", "X-Forwarded-For"} {
				if v, ok := s.header[added]; ok {
					t.Errorf("the engine added %s: %q", added, v)
				}
			}
			want := "0 bytes"
			if method == "HEAD" {
				want = ""
			}
			if res.StatusCode != 200 || string(body) != want || res.Header.Get("X-Method") != method {
				t.Errorf("status %d, body %q, header %v", res.StatusCode, body, res.Header)
			}
			if method == "HEAD" && res.ContentLength != 7 {
				t.Errorf("HEAD says Content-Length %d, the application said 7", res.ContentLength)
			}
			if len(res.Header["Set-Cookie"]) != 2 || len(res.Header["Date"]) != 1 {
				t.Errorf("Set-Cookie %q, Date %q", res.Header["Set-Cookie"], res.Header["Date"])
			}
			if r := p.record(path); r.abort != nil || r.code != "" || r.status != 200 {
				t.Errorf("finished as %+v", r)
			}
		})
	}
	t.Run("path bytes", func(t *testing.T) {
		for _, path := range []string{"/a%2Fb", "/a%2fb/%7Euser", "/a%20b+c", "/;p=1/a,b", "/%E4%BD%A0?q=%2F&x=a+b&&y", "/a//b", "//a/b", "/a/../b", "/x?a=b?c", "/%25"} {
			req, _ := http.NewRequest("GET", p.url("/"), nil)
			raw, query, _ := strings.Cut(path, "?")
			req.URL = &url.URL{Scheme: "http", Host: p.addr, Opaque: raw, RawQuery: query}
			if strings.HasPrefix(raw, "//") {
				req.URL.Opaque, req.URL.Path = "", raw
			}
			res, err := p.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if s := <-got; s.uri != path {
				t.Errorf("sent %q, the application saw %q", path, s.uri)
			}
		}
	})
	t.Run("no content", func(t *testing.T) {
		for _, status := range []int{204, 304, 205} {
			p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", `"x"`)
				w.WriteHeader(status)
			})})
			res, err := p.client.Get(p.url("/"))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.StatusCode != status || len(b) != 0 || res.Header.Get("ETag") != `"x"` || res.Header.Get("Content-Type") != "" {
				t.Errorf("%d: %v, %q, %v", res.StatusCode, err, b, res.Header)
			}
		}
	})
}

func testBodies(t *testing.T, e Engine, w way) {
	got := make(chan seen, 1)
	p := start(t, e, options{way: w, app: recorder(got)})
	for _, size := range []int{1, 4096, 1 << 20} {
		for _, known := range []bool{true, false} {
			path := fmt.Sprintf("/%d/%v", size, known)
			t.Run(path, func(t *testing.T) {
				data := bytes.Repeat([]byte("lintel. "), size/8+1)[:size]
				var body io.Reader = bytes.NewReader(data)
				if !known {
					body = struct{ io.Reader }{body}
				}
				res, err := p.client.Post(p.url(path), "application/x-test", body)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				s := <-got
				if !bytes.Equal(s.body, data) {
					t.Errorf("%d bytes arrived, %d were sent", len(s.body), len(data))
				}
				if known && s.length != int64(size) || !known && s.length != -1 {
					t.Errorf("length %d arrived (known: %v)", s.length, known)
				}
				if r := p.record(path); r.read != int64(size) {
					t.Errorf("Request.Read is %d of %d", r.read, size)
				}
			})
		}
	}
	t.Run("50 MB in constant memory", func(t *testing.T) { testMemory(t, e, w) })
}

func testMemory(t *testing.T, e Engine, w way) {
	const size = 50 << 20
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		buf := make([]byte, 16<<10)
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r.Body}, buf)
	})
	p := start(t, e, options{way: w, app: echo})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := heap(), uint64(0)
	res, err := p.client.Post(p.url("/big"), "application/octet-stream", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for err == nil {
		var m int64
		m, err = io.CopyN(io.Discard, res.Body, size/10)
		n += m
		most = max(most, heap())
	}
	_ = res.Body.Close()
	if err != io.EOF || n != size {
		t.Fatalf("%d of %d bytes came back: %v", n, size, err)
	}
	if most > before+size/4 {
		t.Errorf("%d bytes were held to move %d", most-before, size)
	}
	if r := p.record("/big"); r.read != size || r.written != size {
		t.Errorf("counted %d read, %d written", r.read, r.written)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func testTrailers(t *testing.T, e Engine, w way) {
	got := make(chan seen, 1)
	p := start(t, e, options{way: w, app: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{body: body, trailer: r.Trailer}
		w.Header().Set("Trailer", "X-Sum, X-Declared")
		_, _ = w.Write([]byte("answer"))
		w.Header().Set("X-Sum", "42")
		w.Header().Set("X-Declared", "yes")
		w.Header().Set(http.TrailerPrefix+"X-Late", "undeclared")
	})})
	req, _ := http.NewRequest("POST", p.url("/trailers"), struct{ io.Reader }{strings.NewReader("question")})
	req.Trailer = http.Header{"X-Asked": {"sum"}}
	res, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	s := <-got
	if string(s.body) != "question" || s.trailer.Get("X-Asked") != "sum" {
		t.Errorf("the application saw body %q, trailer %v", s.body, s.trailer)
	}
	if err != nil || string(body) != "answer" {
		t.Errorf("body %q, %v", body, err)
	}
	if res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-Declared") != "yes" || res.Trailer.Get("X-Late") != "undeclared" {
		t.Errorf("the client saw trailer %v", res.Trailer)
	}
}

// testReuse checks that one endpoint connection carries exchange after
// exchange, and that a retired one carries no more.
func testReuse(t *testing.T, e Engine) {
	for _, protocol := range e.ways() {
		t.Run(string(protocol.name()), func(t *testing.T) {
			got := make(chan seen, 1)
			p := start(t, e, options{way: protocol, app: recorder(got)})
			reused := make(chan bool, 1)
			p.beforeWrite(func(_ *exchange.Exchange, c *exchange.ConnInfo) error { reused <- c.Reused; return nil })
			ask := func() bool {
				res, err := p.client.Get(p.url("/"))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				<-got
				return <-reused
			}
			if ask() || !ask() || !ask() {
				t.Error("the first exchange opens a connection, the next two use it again")
			}
			if n := p.trans.Open(); n != 1 {
				t.Errorf("%d connections are open", n)
			}
			p.trans.Retire(p.app)
			eventually(t, "the retired connection to close", func() bool { return p.trans.Open() == 0 })
			if ask() {
				t.Error("a retired connection was used again")
			}
		})
	}
}
