package admin

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
)

func TestWebPagesAreKeptOut(t *testing.T) {
	var drains atomic.Int32
	s := started(t, Config{Address: local, Hosts: []string{"gateway.internal"}}, Sources{
		Routes: func() any { return "x" }, Drain: func() { drains.Add(1) },
	})
	base := "http://" + s.Addr().String()
	for host, ok := range map[string]bool{
		"localhost": true, "localhost:9901": true, "LOCALHOST.": true, "lintel.localhost": true, "127.0.0.1:1": true, "[::1]:9": true,
		"gateway.internal:80": true, "evil.example": false, "127.0.0.1.evil.example": false, "localhost.evil.example": false,
		"10.0.0.1": false, "evil.example:9901": false, "evillocalhost": false,
	} {
		resp, body := ask(t, "GET", base+"/routes", host)
		if ok && resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", host, resp.StatusCode, body)
		} else if !ok {
			wantProblem(t, resp, body, http.StatusMisdirectedRequest)
		}
	}
	for _, c := range []struct {
		method string
		fields []string
		ok     bool
	}{
		{"POST", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"POST", []string{"Sec-Fetch-Site", "same-site"}, false},
		{"POST", []string{"Origin", "http://evil.example"}, false},
		{"POST", []string{"Origin", "null"}, false},
		{"GET", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:9901"}, true},
		{"POST", []string{"Sec-Fetch-Site", "none"}, true},
		{"POST", nil, true},
	} {
		path, before := "/drain", drains.Load()
		if c.method == "GET" {
			path = "/routes"
		}
		resp, body := ask(t, c.method, base+path, "localhost:9901", c.fields...)
		if c.ok && resp.StatusCode >= 300 {
			t.Errorf("%s %v: %d %s", c.method, c.fields, resp.StatusCode, body)
		} else if !c.ok {
			wantProblem(t, resp, body, 403)
			if drains.Load() != before {
				t.Errorf("%v drained", c.fields)
			}
		}
	}
	if drains.Load() != 1 {
		t.Errorf("drained %d times", drains.Load())
	}
}

func TestAnAPIOnAnyAddressIsCalledByAddressOrItsNames(t *testing.T) {
	s := started(t, Config{Address: "0.0.0.0:0", AllowNonLoopback: true}, Sources{Routes: func() any { return "x" }})
	_, port, _ := strings.Cut(strings.TrimPrefix(s.Addr().String(), "[::]"), ":")
	for host, status := range map[string]int{"10.0.0.1:9901": 200, "evil.example": 421} {
		if resp, _ := ask(t, "GET", "http://127.0.0.1:"+port+"/routes", host); resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", host, resp.StatusCode, status)
		}
	}
}

func TestExplain(t *testing.T) {
	var got ExplainRequest
	s := started(t, Config{Address: local}, Sources{Explain: func(r ExplainRequest) (any, error) {
		if r.Host == "nowhere" {
			return nil, errors.New("no listener takes it")
		}
		got = r
		return map[string]string{"route": "orders"}, nil
	}})
	base := "http://" + s.Addr().String() + "/explain?"
	q := url.Values{"method": {"POST"}, "host": {"shop.example"}, "path": {"/a%2Fb?c=d"}, "header": {"X-A: 1", "Accept:"},
		"listener": {"edge"}, "client_ip": {"2001:db8::1"}, "peer": {"spiffe://a.example/x"}}
	resp, body := ask(t, "GET", base+q.Encode(), "localhost")
	if resp.StatusCode != 200 || !strings.Contains(body, `"route": "orders"`) {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	want := ExplainRequest{Method: "POST", Host: "shop.example", Path: "/a%2Fb", Query: "c=d", Header: []Field{{"X-A", "1"}, {"Accept", ""}},
		Listener: "edge", ClientIP: netip.MustParseAddr("2001:db8::1"), Peer: "spiffe://a.example/x"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []url.Values{
		{}, {"host": {"a b"}}, {"host": {"h"}, "method": {"G T"}}, {"host": {"h"}, "path": {"x"}}, {"host": {"h"}, "path": {"/a b"}},
		{"host": {"h"}, "path": {"/ä"}}, {"host": {"h"}, "scheme": {"ftp"}}, {"host": {"h"}, "header": {"no colon"}},
		{"host": {"h"}, "header": {"A: x\r\nB: y"}}, {"host": {"h"}, "header": make([]string, 101)},
		{"host": {"h"}, "client_ip": {"1.2.3"}}, {"host": {"h"}, "peer": {"ada"}}, {"host": {"h"}, "client_cert": {"none"}},
		{"host": {"h"}, "client_cert": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}},
	} {
		resp, body := ask(t, "GET", base+bad.Encode(), "localhost")
		wantProblem(t, resp, body, 400)
	}
	resp, body = ask(t, "GET", base+"host=nowhere", "localhost")
	wantProblem(t, resp, body, 422)
	for _, line := range []string{"Authorization+Bearer+hush", "Authorization%00:+hush", "A:+hush%0a"} {
		resp, body := ask(t, "GET", base+"host=h&header="+line, "localhost")
		wantProblem(t, resp, body, 400)
		if strings.Contains(body, "hush") {
			t.Errorf("%s: the credential is repeated: %s", line, body)
		}
	}
}

func FuzzExplain(f *testing.F) {
	f.Add("method=GET&host=h&path=/a?b&header=A:b")
	f.Add("host=%00&path=//")
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r, err := ReadExplain(v)
		if err != nil {
			return
		}
		if r.Method == "" || r.Host == "" || r.Path[0] != '/' || len(r.Header) > maxExplainFields || strings.ContainsAny(r.Path+r.Query, " \r\n#") {
			t.Fatalf("%q became %+v", query, r)
		}
		for _, h := range r.Header {
			if strings.ContainsAny(h.Name+h.Value, "\r\n\x00") {
				t.Fatalf("%q became %+v", query, h)
			}
		}
	})
}

// Who writes routes in Consul must not get the API by a route to it.
func TestWhatARouteBroughtIsRefusedWhereRoutesComeFromElsewhere(t *testing.T) {
	for _, c := range []struct {
		unrouted bool
		via      []string
		ok       bool
	}{
		{true, nil, true},
		{true, []string{"Via", "1.1 nginx"}, true},
		{true, []string{"Via", "1.1 lintel"}, false},
		{true, []string{"Via", "1.1 nginx", "Via", "2 Lintel"}, false},
		{true, []string{"Via", "1.1 nginx, 1.1 lintel, 1.1 b"}, false},
		{false, []string{"Via", "1.1 lintel"}, true}, // the file's owner may want it
	} {
		s := started(t, Config{Address: local}, Sources{Routes: func() any { return "x" }, Unrouted: c.unrouted})
		resp, body := ask(t, "GET", "http://"+s.Addr().String()+"/routes", "localhost", c.via...)
		if c.ok && resp.StatusCode != 200 {
			t.Errorf("%+v: %d %s", c, resp.StatusCode, body)
		} else if !c.ok {
			wantProblem(t, resp, body, 403)
		}
	}
}

// A made-up request is framed as an engine would have read it.
func TestExplainReadsHowARequestIsFramed(t *testing.T) {
	for name, c := range map[string]struct {
		header  []string
		body    int64
		left    int // header fields
		upgrade string
		grpc    bool
		err     string
	}{
		"nothing":             {nil, 0, 0, "", false, ""},
		"a length":            {[]string{"Content-Length: 70000", "X-A: 1"}, 70000, 1, "", false, ""},
		"chunked":             {[]string{"transfer-encoding: Chunked"}, -1, 0, "", false, ""},
		"a gRPC call":         {[]string{"Content-Type: application/grpc+proto"}, -1, 1, "", true, ""},
		"a sized gRPC call":   {[]string{"Content-Type: application/grpc", "Content-Length: 5"}, 5, 1, "", true, ""},
		"gRPC-Web":            {[]string{"Content-Type: application/grpc-web"}, 0, 1, "", false, ""},
		"a WebSocket":         {[]string{"Connection: keep-alive, Upgrade", "Upgrade: WebSocket"}, 0, 2, "websocket", false, ""},
		"an idle upgrade":     {[]string{"Upgrade: websocket"}, 0, 1, "", false, ""},
		"one with a body":     {[]string{"Connection: upgrade", "Upgrade: websocket", "Content-Length: 1"}, 1, 2, "", false, ""},
		"a negative length":   {[]string{"Content-Length: -1"}, 0, 0, "", false, "must be a number of bytes"},
		"another coding":      {[]string{"Transfer-Encoding: gzip"}, 0, 0, "", false, "only chunked is taken"},
		"chunked, and length": {[]string{"Transfer-Encoding: chunked", "Content-Length: 5"}, 0, 0, "", false, "exclude each other"},
	} {
		r, err := ReadExplain(url.Values{"host": {"h"}, "header": c.header})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", name, err, c.err)
			}
			continue
		}
		if err != nil || r.Body != c.body || len(r.Header) != c.left || r.Upgrade != c.upgrade || r.GRPC != c.grpc {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
}
