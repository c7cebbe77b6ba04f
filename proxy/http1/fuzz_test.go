package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/smuggling"
)

// Whatever is accepted is accepted by net/http as well, which reads the same
// from it; and what is written of it reads back as the same again.
//
// The written exceptions: net/http takes a target apart as a URL and refuses
// broken percent-encodings, which the pipe refuses after us.
func FuzzRequest(f *testing.F) {
	for _, c := range smuggling.Cases() {
		if len(c.Bytes) < 1<<10 {
			f.Add([]byte(c.Bytes))
		}
	}
	f.Add([]byte(browserHead))
	f.Add([]byte("POST http://b.example/x?y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nExpect: 100-continue\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"))
	f.Add([]byte("OPTIONS * HTTP/1.1\r\nhost: [::1]:80\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		end, _, bad := headEnd(in, 0)
		if e, b := trickled(string(in)); e != end || b != bad {
			t.Fatalf("at once: end %d, bad %v; byte by byte: %d, %v", end, bad, e, b)
		}
		if end == 0 {
			return
		}
		var r exchange.Request
		fr, fault := parseRequest(in[:end], someLimits, &r)
		if fault != nil {
			if !fr.close || !fault.Close {
				t.Fatalf("refused, and yet the connection goes on: %+v", fault)
			}
			return
		}
		if r.Authority == "" && r.Proto != "HTTP/1.0" {
			t.Fatal("no authority")
		}
		sameAsNetHTTP(t, in[:end], &r, fr)
		out, err := appendRequest(nil, &r, fr)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if e, _, bad := headEnd(out, 0); e != len(out) || bad {
			t.Fatalf("written with an end at %d of %d: %q", e, len(out), out)
		}
		if r.Authority == "" {
			return // it came by HTTP/1.0; the pipe refuses it
		}
		var again exchange.Request
		fr2, fault := parseRequest(out, limits{}, &again)
		if fault != nil {
			t.Fatalf("what was written is refused: %v\n%q", fault, out)
		}
		if again.Method != r.Method || again.Path != r.Path || again.Query != r.Query || again.Authority != r.Authority || again.Upgrade != r.Upgrade || again.Expect != r.Expect ||
			fr2.length != fr.length || fr2.chunked != fr.chunked {
			t.Fatalf("%q reads back as something else", out)
		}
	})
}

func sameAsNetHTTP(t *testing.T, head []byte, r *exchange.Request, fr framing) {
	want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		if _, urlErr := url.ParseRequestURI(r.Target); urlErr != nil {
			return
		}
		t.Fatalf("net/http refuses it: %v", err)
	}
	length := want.ContentLength
	if want.Method != r.Method || want.RequestURI != r.Target || want.Host != r.Authority || want.Proto != r.Proto || length != r.Length ||
		length != fr.length || (len(want.TransferEncoding) == 1) != fr.chunked {
		t.Fatalf("net/http reads %s %s of %s, %s, length %d, %v; we %s %s of %s, %s, length %d, %+v", want.Method, want.RequestURI, want.Host, want.Proto, length, want.TransferEncoding,
			r.Method, r.Target, r.Authority, r.Proto, r.Length, fr)
	}
	if want.Close && !fr.close {
		t.Fatal("net/http closes the connection, we do not")
	}
	sameFields(t, want.Header, &r.Header, "Content-Length", "Trailer", "Expect")
}

func sameFields(t *testing.T, want http.Header, got *exchange.Fields, except ...string) {
	for _, name := range except {
		want.Del(name)
	}
	h := http.Header{}
	for name, value := range got.All() {
		h.Add(name, value)
	}
	for _, name := range except {
		h.Del(name)
	}
	for name, values := range want {
		if strings.Join(values, "\x00") != strings.Join(h[name], "\x00") {
			t.Fatalf("%s: net/http reads %q, we %q", name, values, h[name])
		}
	}
	if len(h) != len(want) {
		t.Fatalf("net/http reads the fields %v, we %v", want, h)
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(serviceHead), false)
	f.Add([]byte("HTTP/1.0 304 Not Modified\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n"), true)
	f.Add([]byte("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"), false)
	f.Add([]byte("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"), true)
	f.Fuzz(func(t *testing.T, in []byte, head bool) {
		end, _, _ := headEnd(in, 0)
		if end == 0 {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		var r exchange.Response
		fr, fault := parseResponse(in[:end], someLimits, method, &r)
		if fault != nil {
			if fault.Source != exchange.FromUpstream || !fr.close {
				t.Fatalf("%+v, %+v", fault, fr)
			}
			return
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in[:end])), &http.Request{Method: method})
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return // the names it announces; only what is written of them matters
			}
			t.Fatalf("net/http refuses it: %v", err)
		}
		if want.StatusCode != r.Status || want.Proto != r.Proto || want.ContentLength != r.Length && r.Status >= 200 {
			t.Fatalf("net/http reads %d, %s, length %d; we %d, %s, length %d", want.StatusCode, want.Proto, want.ContentLength, r.Status, r.Proto, r.Length)
		}
		if want.Close && !fr.close {
			t.Fatal("net/http closes the connection, we do not")
		}
		sameFields(t, want.Header, &r.Header, "Content-Length", "Trailer")
		out, err := appendResponse(nil, &r, responseOptions{length: r.Length, bodyless: head, chunked: fr.chunked, close: fr.close})
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if e, _, bad := headEnd(out, 0); e != len(out) || bad {
			t.Fatalf("written with an end at %d of %d: %q", e, len(out), out)
		}
	})
}

// The pieces a body comes in change nothing, and net/http decodes what is
// accepted to the same bytes.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint8(1), uint8(1))
	f.Add([]byte("A;a=b;c=\"d\\\"e\"\r\n0123456789\r\n000\r\nX: y\r\n\r\n"), uint8(3), uint8(2))
	f.Add([]byte("7fffffffffffffff\r\nx"), uint8(5), uint8(5))
	for _, c := range smuggling.Cases() {
		if _, body, ok := strings.Cut(c.Bytes, "Transfer-Encoding: chunked\r\n\r\n"); ok && len(body) < 1<<10 {
			f.Add([]byte(body), uint8(2), uint8(2))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, step, room uint8) {
		data, rest, done, err := dechunk(string(in), len(in)+1, len(in)+1)
		data2, rest2, done2, err2 := dechunk(string(in), int(step)+1, int(room)+1)
		if data != data2 || rest != rest2 || done != done2 || err != err2 {
			t.Fatalf("at once %q, %q, %v, %v; in pieces %q, %q, %v, %v", data, rest, done, err, data2, rest2, done2, err2)
		}
		if !done {
			return
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in[:len(in)-len(rest)])))
		if err != nil || string(want) != data {
			t.Fatalf("net/http reads %q, %v; we %q", want, err, data)
		}
	})
}

func FuzzTrailer(f *testing.F) {
	f.Add([]byte("X: y\r\nContent-Length: 5\r\n\r\nGET"))
	f.Add([]byte("\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var got exchange.Fields
		used, done, err := parseTrailer(in, someLimits, &got)
		if !done {
			if used != 0 || err == nil && got.Len() > 0 {
				t.Fatal("something was used of what is not complete")
			}
			return
		}
		if !bytes.HasSuffix(in[:used], []byte("\r\n")) || err != nil {
			t.Fatalf("used %q, %v", in[:used], err)
		}
		for name := range got.All() {
			if !exchange.MayTrail(name) {
				t.Fatalf("%q is let through", name)
			}
		}
		out := appendLastChunk(nil, &got)
		var again exchange.Fields
		if used, done, err := parseTrailer(out[len("0\r\n"):], limits{}, &again); used != len(out)-3 || !done || err != nil || lines(&again) != lines(&got) {
			t.Fatalf("%q reads back as %s", out, lines(&again))
		}
	})
}

// Whatever filters set, one message is written or none.
func FuzzWrite(f *testing.F) {
	f.Add("GET", "/a", "b", "a.example", "X-A", "b")
	f.Add("GET", "/a\r\n", "b", "a.example\r\nX: y", "X-A\r\n", "b\r\n\r\nGET / HTTP/1.1")
	f.Add("POST", "*", "", "", "Content-Length", "5")
	f.Fuzz(func(t *testing.T, method, path, query, authority, name, value string) {
		r := exchange.Request{Method: method, Path: path, Query: query, Authority: authority, Header: fields(name, value)}
		if out, err := appendRequest(nil, &r, framing{length: 3}); err == nil {
			oneHead(t, out)
			if n := bytes.Count(bytes.ToLower(out), []byte("\r\ncontent-length:")); n != 1 {
				t.Fatalf("%d lengths: %q", n, out)
			}
		}
		if out, err := appendResponse(nil, &exchange.Response{Status: 200, Header: fields(name, value)}, responseOptions{length: 3}); err == nil {
			oneHead(t, out)
		}
		h := fields(name, value)
		oneHead(t, appendInterim(nil, 103, &h))
		oneHead(t, appendLastChunk(nil, &h)[len("0\r\n"):])
	})
}

func oneHead(t *testing.T, out []byte) {
	if string(out) == "\r\n" {
		return
	}
	if e, _, bad := headEnd(out, 0); e != len(out) || bad {
		t.Fatalf("an end at %d of %d: %q", e, len(out), out)
	}
}
