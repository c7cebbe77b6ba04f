package http1

import (
	"fmt"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func TestParseResponse(t *testing.T) {
	for _, c := range []struct {
		name, method, in string
		want             string // status proto length
		f                framing
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n", "200 HTTP/1.1 5 X=y;", framing{length: 5}},
		{"no phrase", "GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 HTTP/1.1 0 ", framing{}},
		{"no phrase and no space", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 HTTP/1.1 0 ", framing{}},
		{"phrase", "GET", "HTTP/1.1 599 A\tb \xff: c\r\nContent-Length: 0\r\n\r\n", "599 HTTP/1.1 0 ", framing{}},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "200 HTTP/1.1 -1 ", framing{length: -1, chunked: true}},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\n", "200 HTTP/1.1 -1 ", framing{length: -1, untilClose: true, close: true}},
		{"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", "200 HTTP/1.1 1 Connection=close;", framing{length: 1, close: true}},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", "200 HTTP/1.0 1 ", framing{length: 1, close: true}},
		{"HTTP/1.0 that keeps alive", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", "200 HTTP/1.0 1 Connection=keep-alive;", framing{length: 1}},
		{"HEAD with length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "200 HTTP/1.1 7 ", framing{}},
		{"HEAD chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 HTTP/1.1 -1 ", framing{}},
		{"HEAD with neither", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", "200 HTTP/1.1 -1 ", framing{}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "204 HTTP/1.1 0 ", framing{}},
		{"204 with an empty body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204 HTTP/1.1 0 ", framing{}},
		{"204 that says it has a body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", "204 HTTP/1.1 0 ", framing{close: true}},
		{"304 with the length of the 200", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "304 HTTP/1.1 0 ", framing{}},
		{"100", "POST", "HTTP/1.1 100 Continue\r\n\r\n", "100 HTTP/1.1 0 ", framing{}},
		{"103", "GET", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", "103 HTTP/1.1 0 Link=a;", framing{}},
		{"101", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: b\r\nContent-Length: 0\r\n\r\n", "101 HTTP/1.1 0 Connection=upgrade;Upgrade=b;", framing{}},
	} {
		var r exchange.Response
		f, fault := parseResponse([]byte(c.in), someLimits, c.method, &r)
		if fault != nil {
			t.Errorf("%s: %v", c.name, fault)
			continue
		}
		if got := fmt.Sprintf("%d %s %d %s", r.Status, r.Proto, r.Length, lines(&r.Header)); got != c.want || f != c.f {
			t.Errorf("%s: %s, framing %+v", c.name, got, f)
		}
	}
}

func TestRefusedResponses(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\n"
	for _, in := range []string{
		"\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 \r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 099 X\r\n\r\n", "HTTP/1.1 600 X\r\n\r\n",
		"HTTP/1.1 -20 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1\t200 OK\r\n\r\n", "HTTP/1.1 200\tOK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 200 O\x00K\r\n\r\n", "HTTP/1.1 200 O\rK\r\n\r\n", "HTTP/1.1 200 \x7f\r\n\r\n",
		ok + "A : b\r\n\r\n", ok + "A: b\r\n c\r\n\r\n", ok + " A: b\r\n\r\n", ok + "A: b\x00\r\n\r\n", ok + "A: b\rc\r\n\r\n", ok + "a b: c\r\n\r\n",
		ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", ok + "Content-Length: 1, 1\r\n\r\n", ok + "Content-Length: +1\r\n\r\n", ok + "Content-Length:\r\n\r\n",
		ok + "Content-Length: 99999999999999999999\r\n\r\n", ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n",
		ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", ok + "Transfer-Encoding: identity\r\n\r\n", ok + "Connection: a b\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 204 X\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		var r exchange.Response
		f, fault := parseResponse([]byte(in), someLimits, "GET", &r)
		if fault == nil {
			t.Errorf("%q is accepted", in)
			continue
		}
		if fault.Status != 502 || fault.Code != "bad-answer" || fault.Source != exchange.FromUpstream || fault.Proxy != "http_protocol_error" || !f.close {
			t.Errorf("%q: %+v, framing %+v", in, fault, f)
		}
	}
	for _, in := range []string{ok + "A: " + strings.Repeat("b", 64<<10) + "\r\n\r\n", ok + strings.Repeat("A: b\r\n", 129) + "\r\n"} {
		var r exchange.Response
		if _, fault := parseResponse([]byte(in), someLimits, "GET", &r); fault == nil || fault.Code != "answer-head-too-large" || fault.Proxy != "http_response_header_section_size" {
			t.Errorf("%.40q: %+v", in, fault)
		}
	}
}
