package system

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"lintel.dev/lintel/test/kit"
)

func ecKey(x, y string) (*ecdsa.PublicKey, error) {
	bx, err1 := base64.RawURLEncoding.DecodeString(x)
	by, err2 := base64.RawURLEncoding.DecodeString(y)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, bx...), by...))
}

// h2Ask sends one request over h2c with header fields as they are, and returns
// its status, 0 when the stream or connection was refused instead.
func h2Ask(t *testing.T, addr string, fields [][2]string, body string, trailers [][2]string) (status int, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(limit))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	_ = f.WriteSettings()
	block := func(fields [][2]string) []byte {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for _, h := range fields {
			_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		return b.Bytes()
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(fields), EndHeaders: true, EndStream: body == "" && trailers == nil})
	if body != "" || trailers != nil {
		_ = f.WriteData(1, trailers == nil, []byte(body))
	}
	if trailers != nil {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(trailers), EndHeaders: true, EndStream: true})
	}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatal("no answer")
			}
			return status, text
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if v, err := strconv.Atoi(frame.PseudoValue("status")); err == nil && v >= 200 {
				status = v
			}
		case *http2.DataFrame:
			text += string(frame.Data())
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status, text
		}
		if frame.Header().Flags.Has(http2.FlagDataEndStream) && frame.Header().StreamID == 1 {
			return status, text
		}
	}
}

// HTTP/2 towards us becomes HTTP/1.1 towards the services: what has no meaning
// in the one must not get one in the other.
func TestHTTP2RequestsCannotSmuggleHTTP1(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	var mu sync.Mutex
	seen := map[string]string{}
	c.Orders.App.Extra["/x"] = func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		mu.Lock()
		seen[r.URL.RawQuery] += fmt.Sprintf("%s %s host=%s %q %v %v %v\n", r.Method, r.RequestURI, r.Host, b, err, r.Header, r.Trailer)
		mu.Unlock()
	}
	smuggled := 0
	c.Orders.App.Extra["/smuggled"] = func(http.ResponseWriter, *http.Request) { mu.Lock(); smuggled++; mu.Unlock() }
	request := func(i int, more ...[2]string) [][2]string {
		return append([][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "good.test"}, {":path", "/open/x?" + strconv.Itoa(i)}}, more...)
	}
	next := "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for i, tc := range []struct {
		name     string
		change   map[string]string // pseudo-headers
		fields   [][2]string
		body     string
		trailers [][2]string
		refused  bool
		never    string // what the app must not see
	}{
		{name: "nothing wrong", fields: [][2]string{{"x-fine", "1"}}, body: "abc"},
		{name: "CRLF in a value", fields: [][2]string{{"x-a", "b\r\nX-User-Id: root"}}, refused: true},
		{name: "LF in a value", fields: [][2]string{{"x-a", "b\nX-User-Id: root"}}, refused: true},
		{name: "CRLF in a name", fields: [][2]string{{"x-a: b\r\nx-user-id", "root"}}, refused: true},
		{name: "colon in a name", fields: [][2]string{{"x-user-id:", "root"}}, refused: true},
		{name: "upper case in a name", fields: [][2]string{{"X-User-Id", "root"}}, refused: true},
		{name: "Transfer-Encoding", fields: [][2]string{{"transfer-encoding", "chunked"}}, body: "0\r\n\r\n" + next, refused: true},
		{name: "Content-Length too small", fields: [][2]string{{"content-length", "3"}}, body: "abc" + next},
		{name: "Content-Length too large", fields: [][2]string{{"content-length", "300"}}, body: "abc"},
		{name: "two Content-Lengths", fields: [][2]string{{"content-length", "3"}, {"content-length", "36"}}, body: "abc"},
		{name: "Connection", fields: [][2]string{{"connection", "x-fine"}}, refused: true},
		{name: "Upgrade", fields: [][2]string{{"upgrade", "websocket"}, {"connection", "upgrade"}}, refused: true},
		{name: "path with a request in it", change: map[string]string{":path": "/open/x HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled"}, refused: true},
		{name: "path with a space", change: map[string]string{":path": "/open/x y HTTP/1.1"}},
		{name: "path without a slash", change: map[string]string{":path": "open/x"}, refused: true},
		{name: "method with a request in it", change: map[string]string{":method": "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nPOST"}, refused: true},
		{name: "authority with CRLF", change: map[string]string{":authority": "a\r\nX-User-Id: root"}, refused: true},
		{name: "scheme with a request in it", change: map[string]string{":scheme": "http://a/smuggled HTTP/1.1\r\n"}},
		{name: "another Host", fields: [][2]string{{"host", "evil.test"}}, never: "evil.test"},
		{name: "a pseudo-header after a field", fields: [][2]string{{"x-a", "1"}, {":path", "/smuggled"}}, refused: true},
		{name: "identity in a trailer", fields: [][2]string{{"trailer", "x-user-id, x_user_id, txn-token, x-fine"}}, body: "abc", trailers: [][2]string{{"x-user-id", "root"}, {"x_user_id", "root"}, {"txn-token", "root"}}, never: "root"},
		{name: "identity in a field", fields: [][2]string{{"x-user-id", "root"}, {"x_user_id", "root"}, {"hop-token", "root"}}, never: "root"},
		{name: "framing in a trailer", fields: [][2]string{{"trailer", "x-fine"}}, body: "abc", trailers: [][2]string{{"transfer-encoding", "chunked"}, {"x-fine", "1"}}, never: "chunked"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := request(i, tc.fields...)
			for j := range fields {
				if v, ok := tc.change[fields[j][0]]; ok {
					fields[j][1] = v
				}
			}
			status, text := h2Ask(t, c.Edge, fields, tc.body, tc.trailers)
			if status >= 500 || tc.refused && status != 0 && status < 400 {
				t.Errorf("status %d %s, refusal needed: %v", status, text, tc.refused)
			}
			mu.Lock()
			defer mu.Unlock()
			got := seen[strconv.Itoa(i)]
			if i == 0 && (status != 200 || !strings.Contains(got, `"abc"`)) {
				t.Fatalf("%d %s: the app saw %q", status, text, got)
			}
			if n := strings.Count(got, "\n"); n > 1 || tc.refused && n > 0 {
				t.Errorf("%d requests reached the app: %s", n, got)
			}
			if tc.never != "" && strings.Contains(got, tc.never) {
				t.Errorf("the app saw %s", got)
			}
			if smuggled > 0 {
				t.Error("a request was smuggled")
				smuggled = 0
			}
		})
	}
	if status, body := c.Get("/orders/x", c.Token(nil)); status != http.StatusOK {
		t.Errorf("after all that: %d %s", status, body)
	}
}
