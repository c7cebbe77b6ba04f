package enginetest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// raw sends bytes as they are and returns all that comes back until the other
// side closes or falls silent.
func (p *proxy) raw(bytes string) string {
	p.t.Helper()
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, bytes); err != nil {
		return ""
	}
	_ = c.SetReadDeadline(time.Now().Add(patience)) // the first word takes as long as the machine is slow
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		return ""
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	b, _ := io.ReadAll(c)
	return string(first) + string(b)
}

// testWire is about HTTP/1 as bytes, which a client library would tidy up.
func testWire(t *testing.T, e Engine) {
	got := make(chan seen, 16)
	w := way{exchange.HTTP1, exchange.HTTP1}
	p := start(t, e, options{way: w, app: recorder(got), server: exchange.ServerConfig{ProxyRequests: true}})
	t.Run("absolute-form", func(t *testing.T) {
		answer := p.raw("GET http://orders.example/a%2Fb?q HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			t.Fatalf("%q", answer)
		}
		if s := <-got; s.host != "orders.example" || s.uri != "/a%2Fb?q" {
			t.Errorf("host %q, uri %q: the target's authority wins (RFC 9112 section 3.2.2)", s.host, s.uri)
		}
	})
	t.Run("asterisk-form", func(t *testing.T) {
		answer := p.raw("OPTIONS * HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 ") {
			t.Fatalf("%q", answer)
		}
		p.record("*")
		select {
		case <-got:
		default: // the application's net/http answers it by itself
		}
	})
	t.Run("CONNECT is refused", func(t *testing.T) {
		if answer := p.raw("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 405 ") {
			t.Errorf("%q", answer)
		}
	})
	t.Run("what must not trail", func(t *testing.T) { testMustNotTrail(t, e) })
	t.Run("HTTP/1.0", func(t *testing.T) {
		answer := p.raw("GET /old HTTP/1.0\r\nHost: a.example\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.") || !strings.HasSuffix(answer, "\r\n\r\n0 bytes") || strings.Contains(strings.ToLower(answer), "transfer-encoding") {
			t.Errorf("%q", answer)
		}
		<-got
	})
	t.Run("pipelined", func(t *testing.T) {
		answer := p.raw("GET /1 HTTP/1.1\r\nHost: a.example\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
		if n := strings.Count(answer, "HTTP/1.1 200 "); n != 2 {
			t.Errorf("%d answers: %q", n, answer)
		}
		if a, b := <-got, <-got; a.uri != "/1" || b.uri != "/2" {
			t.Errorf("%q then %q", a.uri, b.uri)
		}
	})
	t.Run("a refused body is never taken for a request", func(t *testing.T) {
		p := start(t, e, options{way: w, appAddr: "127.0.0.1:1"})
		inner := "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
		p.raw("POST /refused HTTP/1.1\r\nHost: a.example\r\nContent-Length: 70000\r\n\r\n" + inner)
		p.record("/refused")
		for _, r := range p.records() {
			if r.path == "/smuggled" {
				t.Error("the body was served as a request")
			}
		}
	})
}

// testMustNotTrail: fields that are acted on before the body, and those that the
// Connection field names, are not passed on after it, in neither direction.
func testMustNotTrail(t *testing.T, e Engine) {
	const section = "X-Sum: 42\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: evil.example\r\nX-Hop: 1\r\n" +
		"Authorization: Bearer x\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
	const head = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\n\r\n3\r\nabc\r\n0\r\n"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan *http.Request, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			t.Error(err)
			r = new(http.Request)
		} else if b, err := io.ReadAll(r.Body); string(b) != "abc" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		got <- r
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"+head+section)
	}()
	p := start(t, e, options{way: way{exchange.HTTP1, exchange.HTTP1}, appAddr: l.Addr().String()})
	answer := strings.ToLower(p.raw("POST /trailing HTTP/1.1\r\nHost: a.example\r\n" + head + section))
	r := <-got
	if len(r.Trailer) != 1 || r.Trailer.Get("X-Sum") != "42" || r.Header.Get("X-Hop") != "" || r.Header.Get("X-End") != "1" {
		t.Errorf("the service saw header %v, trailer %v", r.Header, r.Trailer)
	}
	i := strings.Index(answer, "http/1.1 200 ")
	if i < 0 || !strings.Contains(answer, "\nx-end: 1\r\n") || !strings.HasSuffix(answer, "\r\n0\r\nx-sum: 42\r\n\r\n") || strings.Contains(answer, "x-hop: ") {
		t.Errorf("%q", answer)
	}
}

// testSmuggling sends what has made proxies and services disagree. A strict
// engine refuses all of it; a lenient one may repair, but then exactly one
// request arrives, and the smuggled one never does.
func testSmuggling(t *testing.T, e Engine) {
	tail := "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
	for name, request := range map[string]string{
		"CL and TE":            "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and CL":            "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"two lengths":          "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
		"length list":          "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0, 44\r\n\r\n",
		"signed length":        "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: +44\r\n\r\n",
		"negative length":      "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: -1\r\n\r\n",
		"unknown coding":       "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"chunked twice":        "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked not last":     "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"obs-fold":             "GET /x HTTP/1.1\r\nHost: a.example\r\nX-A: b\r\n c: d\r\n\r\n",
		"bare LF":              "GET /x HTTP/1.1\nHost: a.example\n\n",
		"bare CR":              "GET /x HTTP/1.1\r\nHost: a.example\r\nX-A: b\rContent-Length: 44\r\n\r\n",
		"space before colon":   "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length : 44\r\n\r\n",
		"space before field":   "GET /x HTTP/1.1\r\n Host: a.example\r\n\r\n",
		"NUL in value":         "GET /x HTTP/1.1\r\nHost: a.example\r\nX-A: b\x00c\r\n\r\n",
		"two hosts":            "GET /x HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
		"no host":              "GET /x HTTP/1.1\r\n\r\n",
		"space in target":      "GET /x y HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"fragment in target":   "GET /x#y HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"wrong version":        "GET /x HTTP/1.9\r\nHost: a.example\r\n\r\n",
		"chunk size overflow":  "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
		"chunk without CRLF":   "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n",
		"chunk size with sign": "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // nearly all of it is waiting for silence
			got := make(chan seen, 16)
			p := start(t, e, options{way: way{exchange.HTTP1, exchange.HTTP1}, app: recorder(got)})
			answer := p.raw(request)
			refused := !strings.Contains(answer, "HTTP/1.1 200 ")
			requests, malformed := 0, false
			for len(got) > 0 {
				s := <-got
				requests++
				_, cl := s.header["Content-Length"]
				malformed = malformed || s.uri == "/smuggled" || cl && s.length < 0
			}
			if malformed || !refused && requests != 1 {
				t.Errorf("%d requests arrived, answer %q", requests, answer)
			}
			if e.Strict && (!refused || requests > 0) {
				t.Errorf("not refused: %d requests, answer %q", requests, answer)
			}
			answer = p.raw(request + tail)
			statuses := strings.Count(answer, "HTTP/1.1 200 ")
			requests = 0
			for len(got) > 0 {
				<-got
				requests++
			}
			if requests > 2 || statuses > requests {
				t.Errorf("%d requests and %d answers for two heads: %q", requests, statuses, answer)
			}
		})
	}
	t.Run("an answer cannot be split", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go answerOnce(l, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		p := start(t, e, options{way: way{exchange.HTTP1, exchange.HTTP1}, appAddr: l.Addr().String()})
		res, err := p.client.Get(p.url("/split"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadGateway {
			t.Errorf("%d %q", res.StatusCode, b)
		}
	})
}

// answerOnce is a service that says exactly this, whatever it is asked.
func answerOnce(l net.Listener, answer string) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = http.ReadRequest(bufio.NewReader(c))
	_, _ = io.WriteString(c, answer)
}
