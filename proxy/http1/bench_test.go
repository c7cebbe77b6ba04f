package http1

import (
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

const browserHead = "GET /api/v2/orders/7421?expand=lines&limit=20 HTTP/1.1\r\n" +
	"Host: orders.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Connection: keep-alive\r\n" +
	"Referer: https://www.example.com/orders\r\n" +
	"Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark\r\n" +
	"Cache-Control: no-cache\r\n" +
	"X-Request-ID: 0b1f7c0e5d8b4a6f9e2d3c4b5a697887\r\n\r\n"

const serviceHead = "HTTP/1.1 200 OK\r\n" +
	"Server: nginx/1.28.0\r\n" +
	"Date: Tue, 04 Mar 2026 10:11:12 GMT\r\n" +
	"Content-Type: application/json; charset=utf-8\r\n" +
	"Content-Length: 254\r\n" +
	"Connection: keep-alive\r\n" +
	"Vary: Accept-Encoding\r\n" +
	"ETag: \"5e8c-19f2a\"\r\n" +
	"Cache-Control: private, max-age=0\r\n\r\n"

// someLimits are the defaults of a listener.
var someLimits = limits{bytes: 64 << 10, count: 128}

var benchDate = []byte("Tue, 04 Mar 2026 10:11:12 GMT")

func mustRequest(tb testing.TB, head []byte, r *exchange.Request) framing {
	tb.Helper()
	end, _, bad := headEnd(head, 0)
	if bad || end == 0 {
		tb.Fatalf("no head in %q", head)
	}
	f, fault := parseRequest(head[:end], someLimits, r)
	if fault != nil {
		tb.Fatal(fault)
	}
	return f
}

func mustResponse(tb testing.TB, head []byte, r *exchange.Response) framing {
	tb.Helper()
	end, _, bad := headEnd(head, 0)
	if bad || end == 0 {
		tb.Fatalf("no head in %q", head)
	}
	f, fault := parseResponse(head[:end], someLimits, "GET", r)
	if fault != nil {
		tb.Fatal(fault)
	}
	return f
}

func BenchmarkHeadEnd(b *testing.B) {
	head := []byte(browserHead)
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		if end, _, _ := headEnd(head, 0); end != len(head) {
			b.Fatal(end)
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	head := []byte(browserHead)
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	var r exchange.Request
	for b.Loop() {
		r.Header.Reset()
		r.Authority = ""
		if _, fault := parseRequest(head, someLimits, &r); fault != nil {
			b.Fatal(fault)
		}
	}
}

func BenchmarkParseRequestSmall(b *testing.B) {
	head := []byte("GET /small HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: wrk\r\n\r\n")
	b.ReportAllocs()
	var r exchange.Request
	for b.Loop() {
		r.Header.Reset()
		r.Authority = ""
		if _, fault := parseRequest(head, someLimits, &r); fault != nil {
			b.Fatal(fault)
		}
	}
}

func BenchmarkParseResponse(b *testing.B) {
	head := []byte(serviceHead)
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	var r exchange.Response
	for b.Loop() {
		r.Header.Reset()
		if _, fault := parseResponse(head, someLimits, "GET", &r); fault != nil {
			b.Fatal(fault)
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	var r exchange.Request
	f := mustRequest(b, []byte(browserHead), &r)
	buf := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := appendRequest(buf, &r, f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	var r exchange.Response
	f := mustResponse(b, []byte(serviceHead), &r)
	buf := make([]byte, 0, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := appendResponse(buf, &r, responseOptions{length: f.length, date: benchDate}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeChunks(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"64", 64}, {"4096", 4096}} {
		b.Run(c.name, func(b *testing.B) {
			var body []byte
			for range 16 {
				body = appendChunkHeader(body, c.size)
				body = append(append(body, strings.Repeat("x", c.size)...), "\r\n"...)
			}
			body = append(body, "0\r\n"...)
			dst := make([]byte, 16*c.size)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				var d chunkDecoder
				if _, n, done, err := d.decode(body, dst); n != len(dst) || !done || err != nil {
					b.Fatal(n, done, err)
				}
			}
		})
	}
}
