package http1

import (
	"fmt"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func TestParseRequest(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     string // method scheme-less authority path ? query proto length flags
		fields   string
		f        framing
	}{
		{"origin-form", "GET /a%2Fb?c=d?e HTTP/1.1\r\nHost: A.example:80\r\nX-A:  1 \r\nx-a: 2\r\n\r\n",
			"GET A.example:80 /a%2Fb c=d?e HTTP/1.1 0", "X-A=1;x-a=2;", framing{}},
		{"two slashes", "GET //b.example/c HTTP/1.1\r\nHost: a\r\n\r\n", "GET a //b.example/c  HTTP/1.1 0", "", framing{}},
		{"empty query", "GET /? HTTP/1.1\r\nHost: a\r\n\r\n", "GET a /  HTTP/1.1 0", "", framing{}},
		{"absolute-form wins over Host", "GET http://b.example:8080/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET b.example:8080 /x y HTTP/1.1 0", "", framing{}},
		{"absolute-form, upper case, no path", "GET HTTPS://B.example?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET B.example / y HTTP/1.1 0", "", framing{}},
		{"absolute-form with an empty Host", "GET http://b HTTP/1.1\r\nHost:\r\n\r\n", "GET b /  HTTP/1.1 0", "", framing{}},
		{"IPv6", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n", "GET [2001:db8::1]:443 /  HTTP/1.1 0", "", framing{}},
		{"asterisk-form", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS a *  HTTP/1.1 0", "", framing{}},
		{"OPTIONS of a whole server by absolute-form", "OPTIONS http://b:81 HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS b:81 *  HTTP/1.1 0", "", framing{}},
		{"OPTIONS of its root", "OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS b /  HTTP/1.1 0", "", framing{}},
		{"length", "POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 0042\r\n\r\n", "POST a /  HTTP/1.1 42", "", framing{length: 42}},
		{"largest length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n", "POST a /  HTTP/1.1 9223372036854775807", "", framing{length: 1<<63 - 1}},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tCHUNKED \r\nTrailer: X-Sum, ,X-B\r\n\r\n", "POST a /  HTTP/1.1 -1", "Trailer=X-Sum, ,X-B;", framing{length: -1, chunked: true}},
		{"close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, , CLOSE\r\n\r\n", "GET a /  HTTP/1.1 0", "Connection=keep-alive, , CLOSE;", framing{close: true}},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET  /  HTTP/1.0 0", "", framing{close: true}},
		{"HTTP/1.0 that keeps alive", "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", "GET a /  HTTP/1.0 0", "Connection=Keep-Alive;", framing{}},
		{"HTTP/1.0 that says both", "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", "GET  /  HTTP/1.0 0", "Connection=keep-alive;Connection=close;", framing{close: true}},
		{"upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n", "GET a /  HTTP/1.1 0 upgrade=websocket", "Connection=keep-alive, Upgrade;Upgrade=WebSocket;", framing{}},
		{"upgrade with a version", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n\r\n", "GET a /  HTTP/1.1 0 upgrade=foo/2", "Connection=upgrade;Upgrade=foo/2;", framing{}},
		{"upgrade not nominated", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "GET a /  HTTP/1.1 0", "Upgrade=websocket;", framing{}},
		{"upgrade to h2c", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: H2C\r\n\r\n", "GET a /  HTTP/1.1 0", "Connection=upgrade;Upgrade=H2C;", framing{}},
		{"upgrade to one of two", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c, websocket\r\n\r\n", "GET a /  HTTP/1.1 0", "Connection=upgrade;Upgrade=h2c, websocket;", framing{}},
		{"upgrade twice", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: b\r\nUpgrade: c\r\n\r\n", "GET a /  HTTP/1.1 0", "Connection=upgrade;Upgrade=b;Upgrade=c;", framing{}},
		{"upgrade with a body", "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: b\r\nContent-Length: 1\r\n\r\n", "POST a /  HTTP/1.1 1", "Connection=upgrade;Upgrade=b;", framing{length: 1}},
		{"upgrade in HTTP/1.0", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: b\r\n\r\n", "GET  /  HTTP/1.0 0", "Connection=upgrade;Upgrade=b;", framing{close: true}},
		{"expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", "POST a /  HTTP/1.1 1 expect", "Expect=100-Continue;", framing{length: 1}},
		{"expectation without a body", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "GET a /  HTTP/1.1 0", "", framing{}},
		{"expectation in HTTP/1.0", "POST / HTTP/1.0\r\nExpect: anything\r\nContent-Length: 1\r\n\r\n", "POST  /  HTTP/1.0 1", "", framing{length: 1, close: true}},
		{"a method of its own", "M-SEARCH! /x HTTP/1.1\r\nHost: a\r\n\r\n", "M-SEARCH! a /x  HTTP/1.1 0", "", framing{}},
		{"Connection nominates framing fields", "POST / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length\r\nContent-Length: 3\r\n\r\n", "POST a /  HTTP/1.1 3", "Connection=host, content-length;", framing{length: 3, connection: "host, content-length"}},
	} {
		var r exchange.Request
		f, fault := parseRequest([]byte(c.in), someLimits, &r)
		if fault != nil {
			t.Errorf("%s: %v", c.name, fault)
			continue
		}
		got := fmt.Sprintf("%s %s %s %s %s %d", r.Method, r.Authority, r.Path, r.Query, r.Proto, r.Length)
		if r.Upgrade != "" {
			got += " upgrade=" + r.Upgrade
		}
		if r.Expect {
			got += " expect"
		}
		if got != c.want || lines(&r.Header) != c.fields || f != c.f {
			t.Errorf("%s: %s, fields %s, framing %+v", c.name, got, lines(&r.Header), f)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	get, post := "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\n"
	for _, c := range []struct {
		in     string
		status int
		code   string
	}{
		{"\r\n", 400, "bad-method"},
		{" / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-method"},
		{"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-method"},
		{"GET\r\n\r\n", 400, "bad-method"},
		{"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-method"},
		{strings.Repeat("M", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-method"},
		{"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-version"},
		{"GET /\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET http://a/#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-target"},
		{"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, "connect-not-served"},
		{"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "connect-not-served"},
		{"GET /\r\n\r\n", 400, "bad-version"},
		{"GET / \r\nHost: a\r\n\r\n", 400, "bad-version"},
		{"GET / http/1.1\r\nHost: a\r\n\r\n", 400, "bad-version"},
		{"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "bad-version"},
		{"GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "bad-version"},
		{"GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400, "bad-version"},
		{"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, "bad-version"},
		{"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "bad-version"},
		{"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "bad-version"},
		{"PRI * HTTP/2.0\r\n\r\n", 505, "bad-version"},
		{"GET / HTTP/1.1\r\n\r\n", 400, "no-authority"},
		{"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "no-authority"},
		{"GET http://a/ HTTP/1.1\r\n\r\n", 400, "no-authority"},
		{get + "hOST: a\r\n\r\n", 400, "bad-host"},
		{"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400, "bad-host"},
		{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad-host"},
		{"GET / HTTP/1.1\r\nHost: a,b:80:90\r\n\r\n", 400, "bad-host"},
		{"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "bad-host"},
		{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad-host"},
		{"GET / HTTP/1.1\r\nHost: a:\xff\r\n\r\n", 400, "bad-host"},
		{"GET http://b/ HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad-host"},
		{get + "A : b\r\n\r\n", 400, "bad-line"},
		{get + " A: b\r\n\r\n", 400, "bad-line"},
		{get + "A: b\r\n c\r\n\r\n", 400, "bad-line"},
		{get + "A: b\x00\r\n\r\n", 400, "bad-line"},
		{get + "A: b\rc: d\r\n\r\n", 400, "bad-line"},
		{get + "A\r\n\r\n", 400, "bad-line"},
		{get + "Connection: a b\r\n\r\n", 400, "bad-framing"},
		{get + "Connection: close;x\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 1, 1\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: +1\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: -1\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length:\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 1 2\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 0x1\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 1_0\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 9223372036854775808\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 00000000000000000001\r\n\r\n", 400, "bad-framing"},
		{post + "Content_Length: 1\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer.Encoding: chunked\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding:\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: chunked,\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: chunked;a=b\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: \"chunked\"\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: chunked, identity\r\n\r\n", 400, "bad-framing"},
		{post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "unknown-coding"},
		{post + "Transfer-Encoding: identity\r\n\r\n", 501, "unknown-coding"},
		{post + "Transfer-Encoding: xchunked\r\n\r\n", 501, "unknown-coding"},
		{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad-framing"},
		{"POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "bad-framing"},
		{post + "Content-Length: 1\r\nExpect: 200-ok\r\n\r\n", 417, "expectation-failed"},
		{post + "Content-Length: 1\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 417, "expectation-failed"},
		{get + "Expect: 100-continue, 100-continue\r\n\r\n", 417, "expectation-failed"},
		{get + "Trailer: a b\r\n\r\n", 400, "bad-trailer"},
		{get + "Trailer: content-length\r\n\r\n", 400, "bad-trailer"},
		{get + "Trailer: a, Transfer-Encoding\r\n\r\n", 400, "bad-trailer"},
		{get + strings.Repeat("A: b\r\n", 128) + "\r\n", 431, "too-many-fields"},
		{get + "A: " + strings.Repeat("b", 64<<10) + "\r\n\r\n", 431, "head-too-large"},
	} {
		var r exchange.Request
		f, fault := parseRequest([]byte(c.in), someLimits, &r)
		if fault == nil {
			t.Errorf("%.80q is accepted", c.in)
			continue
		}
		if fault.Status != c.status || fault.Code != c.code || fault.Source != exchange.FromClient || !fault.Close || !f.close {
			t.Errorf("%.80q: %+v, framing %+v", c.in, fault, f)
		}
	}
}

// Observers log refused requests too.
func TestARefusedRequestIsFilledAsFarAsItWasUnderstood(t *testing.T) {
	for in, want := range map[string]string{
		"GET /a?b HTTP/1.1\r\nHost: a\r\nB : c\r\n\r\n":          "GET /a?b /a b HTTP/1.1 0",
		"GET /a?b HTTP/2.7\r\nHost: a\r\n\r\n":                   "GET /a?b /a b  0",
		"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n":        "CONNECT a:1 /  HTTP/1.1 0",
		"GET x HTTP/1.1\r\nHost: a\r\n\r\n":                      "GET x /  HTTP/1.1 0",
		"POST /a HTTP/1.1\r\nX: y\r\nHost: b\r\nHost: b\r\n\r\n": "POST /a /a  HTTP/1.1 1",
	} {
		var r exchange.Request
		if _, fault := parseRequest([]byte(in), someLimits, &r); fault == nil {
			t.Errorf("%q is accepted", in)
		}
		if got := fmt.Sprintf("%s %s %s %s %s %d", r.Method, r.Target, r.Path, r.Query, r.Proto, r.Header.Len()); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

func TestValidAuthority(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "a.b-c_d~": true, "a:": true, "a:0": true, "a:65535": true, "1.2.3.4:80": true, "a%41": true, "[::1]": true, "[::1]:8": true, "[1:2::1.2.3.4]:": true, "x!$&'()*+,;=": true,
		"": false, ":80": false, "a:65536": false, "a:000080": false, "a:8 ": false, "a:8a": false, "a:-1": false, "a:1:2": false, "a%4": false, "a%zz": false, "%": false,
		"[]": false, "[:": false, "[::1": false, "[::1]x": false, "::1": false, "[::1]:x": false, "[fe80::1%25eth0]": false, "[v1.a]": false, "a@b": false, "a/b": false, "a?b": false, "a#b": false,
		"a b": false, "a\\b": false, "a\x00": false, "\xc3\xa4": false, "<a>": false, "a\"": false, "a\tb": false,
	} {
		if validAuthority(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
