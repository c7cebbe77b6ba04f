package http1

import (
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func fields(pairs ...string) (f exchange.Fields) {
	for i := 0; i < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

func TestAppendRequest(t *testing.T) {
	for _, c := range []struct {
		name string
		r    exchange.Request
		f    framing
		want string
	}{
		{"plain", exchange.Request{Method: "GET", Authority: "a:1", Path: "/b", Query: "c", Header: fields("X-sPelling", "1", "x", "")}, framing{},
			"GET /b?c HTTP/1.1\r\nHost: a:1\r\nX-sPelling: 1\r\nx: \r\n\r\n"},
		{"no path", exchange.Request{Method: "GET", Authority: "a"}, framing{}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"asterisk", exchange.Request{Method: "OPTIONS", Authority: "a", Path: "*"}, framing{}, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"what only this may say", exchange.Request{Method: "GET", Authority: "a", Path: "/", Header: fields("host", "b", "content-length", "5", "transfer-encoding", "chunked",
			"connection", "close", "keep-alive", "1", "proxy-connection", "x", "upgrade", "h2c", "expect", "100-continue", "X", "y")}, framing{}, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"},
		{"length", exchange.Request{Method: "PUT", Authority: "a", Path: "/"}, framing{length: 12}, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n"},
		{"an empty POST says so", exchange.Request{Method: "POST", Authority: "a", Path: "/"}, framing{}, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{"chunked", exchange.Request{Method: "POST", Authority: "a", Path: "/", Header: fields("Trailer", "X-Sum", "Trailer", "content-length")}, framing{length: -1, chunked: true},
			"POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"trailers are only after chunks", exchange.Request{Method: "POST", Authority: "a", Path: "/", Header: fields("Trailer", "X-Sum")}, framing{length: 1}, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"},
		{"upgrade", exchange.Request{Method: "GET", Authority: "a", Path: "/", Upgrade: "websocket", Header: fields("Connection", "x", "Upgrade", "WebSocket")}, framing{},
			"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
		{"TE", exchange.Request{Method: "GET", Authority: "a", Path: "/", Header: fields("te", "trailers")}, framing{}, "GET / HTTP/1.1\r\nHost: a\r\nte: trailers\r\nConnection: TE\r\n\r\n"},
		{"expectation", exchange.Request{Method: "PUT", Authority: "a", Path: "/", Expect: true, Header: fields("Expect", "100-continue")}, framing{length: 1},
			"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"},
	} {
		got, err := appendRequest([]byte("before "), &c.r, c.f)
		if err != nil || string(got) != "before "+c.want {
			t.Errorf("%s: %v\n%q\n%q", c.name, err, got, "before "+c.want)
		}
	}
}

// A filter's mistake must not become another message.
func TestWhatCannotBeWritten(t *testing.T) {
	good := func() exchange.Request { return exchange.Request{Method: "GET", Authority: "a", Path: "/"} }
	for name, change := range map[string]func(*exchange.Request){
		"method":              func(r *exchange.Request) { r.Method = "GET /x HTTP/1.1\r\n" },
		"no method":           func(r *exchange.Request) { r.Method = "" },
		"path with a space":   func(r *exchange.Request) { r.Path = "/a b" },
		"path with CRLF":      func(r *exchange.Request) { r.Path = "/\r\n" },
		"path without slash":  func(r *exchange.Request) { r.Path = "a" },
		"path not ASCII":      func(r *exchange.Request) { r.Path = "/\xff" },
		"query with LF":       func(r *exchange.Request) { r.Query = "a\nb" },
		"authority with CRLF": func(r *exchange.Request) { r.Authority = "a\r\nX: y" },
		"upgrade with CRLF":   func(r *exchange.Request) { r.Upgrade = "a\r\nX: y" },
		"name with CRLF":      func(r *exchange.Request) { r.Header.Add("a\r\nb", "c") },
		"name no token":       func(r *exchange.Request) { r.Header.Add("a(b", "c") },
		"name with a colon":   func(r *exchange.Request) { r.Header.Add("a:", "c") },
		"no name":             func(r *exchange.Request) { r.Header.Add("", "c") },
		"value with LF":       func(r *exchange.Request) { r.Header.Add("a", "b\nc") },
		"value with CR":       func(r *exchange.Request) { r.Header.Add("a", "0123456789\rc") },
		"value with NUL":      func(r *exchange.Request) { r.Header.Add("a", "\x00") },
		"value with DEL":      func(r *exchange.Request) { r.Header.Add("a", "0123456\x7f") },
	} {
		r := good()
		change(&r)
		if b, err := appendRequest(nil, &r, framing{}); err == nil {
			t.Errorf("%s: written %q", name, b)
		}
	}
	for _, f := range []exchange.Fields{fields("a(", "b"), fields("a", "b\r\nc")} {
		if b, err := appendResponse(nil, &exchange.Response{Status: 200, Header: f}, responseOptions{}); err == nil || strings.Contains(err.Error(), "b\\r") {
			t.Errorf("written %q, %v", b, err)
		}
	}
}

func TestAppendResponse(t *testing.T) {
	for _, c := range []struct {
		name string
		r    exchange.Response
		o    responseOptions
		want string
	}{
		{"length", exchange.Response{Status: 200, Header: fields("X", "y")}, responseOptions{length: 3, date: []byte("now")}, "HTTP/1.1 200 OK\r\nX: y\r\nDate: now\r\nContent-Length: 3\r\n\r\n"},
		{"its own date", exchange.Response{Status: 404, Header: fields("dATE", "then")}, responseOptions{date: []byte("now")}, "HTTP/1.1 404 Not Found\r\ndATE: then\r\nContent-Length: 0\r\n\r\n"},
		{"chunked", exchange.Response{Status: 200, Header: fields("Trailer", "X-Sum")}, responseOptions{length: 3, chunked: true}, "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"until close", exchange.Response{Status: 299, Header: fields("Trailer", "X-Sum")}, responseOptions{length: -1, close: true}, "HTTP/1.1 299 \r\nConnection: close\r\n\r\n"},
		{"keep-alive", exchange.Response{Status: 200}, responseOptions{keepAlive: true}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"},
		{"HEAD", exchange.Response{Status: 200}, responseOptions{length: 9, bodyless: true}, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"},
		{"HEAD of unknown length", exchange.Response{Status: 200}, responseOptions{length: -1, bodyless: true}, "HTTP/1.1 200 OK\r\n\r\n"},
		{"204", exchange.Response{Status: 204}, responseOptions{bodyless: true}, "HTTP/1.1 204 No Content\r\n\r\n"},
		{"304", exchange.Response{Status: 304, Header: fields("ETag", "x")}, responseOptions{length: 5, bodyless: true}, "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"},
		{"101", exchange.Response{Status: 101, Header: fields("Upgrade", "websocket", "Connection", "x")}, responseOptions{length: -1}, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"},
		{"what only this may say", exchange.Response{Status: 999, Header: fields("Content-Length", "5", "transfer-Encoding", "chunked", "Connection", "x", "Keep-Alive", "y", "Upgrade", "h2c", "Host", "b")}, responseOptions{length: 1},
			"HTTP/1.1 999 \r\nContent-Length: 1\r\n\r\n"},
	} {
		got, err := appendResponse(nil, &c.r, c.o)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n%q\n%q", c.name, err, got, c.want)
		}
	}
}

func TestAppendInterim(t *testing.T) {
	if got := string(appendInterim(nil, 100, nil)); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Errorf("%q", got)
	}
	h := fields("Link", "a", "X", "b\nc", "Content-Length", "5", "(", "d", "Connection", "e", "Upgrade", "f")
	if got := string(appendInterim(nil, 103, &h)); got != "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

func TestAppendChunks(t *testing.T) {
	for n, want := range map[int]string{1: "1\r\n", 255: "ff\r\n", 1 << 31: "80000000\r\n"} {
		if got := string(appendChunkHeader(nil, n)); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	if got := string(appendLastChunk(nil, nil)); got != "0\r\n\r\n" {
		t.Errorf("%q", got)
	}
	h := fields("X-Sum", "1", "Content-Length", "5", "X", "b\r\n\r\nGET", "Set-Cookie", "a", "Y", "2")
	if got := string(appendLastChunk(nil, &h)); got != "0\r\nX-Sum: 1\r\nY: 2\r\n\r\n" {
		t.Errorf("%q", got)
	}
}
