package http1

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func TestARequestWithoutTLSIsToldSo(t *testing.T) {
	serverTLS, clientTLS := certified(t)
	each(t, func(t *testing.T, opt Options) {
		var refused, served atomic.Int32
		s, addr := running(t, opt, exchange.ServerConfig{TLS: serverTLS}, handler{serve: func(x *exchange.Exchange) {
			if x.Fault == nil {
				served.Add(1)
				x.Answer(200, "text/plain", []byte("ok"))
				return
			}
			refused.Add(1)
			if x.Fault.Code != "tls-expected" || x.Request.Path != "" || x.Request.Header.Len() != 0 || x.Request.Scheme != "http" {
				t.Errorf("%+v, %+v", x.Fault, x.Request)
			}
			x.Answer(x.Fault.Status, "application/problem+json", []byte("{}"))
		}})
		for n, request := range []string{aGet, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n" + aGet,
			"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
			c := dial(t, addr)
			c.send(request)
			if res, body := c.answer("GET"); res.StatusCode != 400 || body != "{}" || !res.Close {
				t.Errorf("%q: %d %q", request, res.StatusCode, body)
			}
			c.ended()
			if refused.Load() != int32(n+1) {
				t.Errorf("%q: %d refusals", request, refused.Load())
			}
		}
		// What is neither is not answered.
		for _, bytes := range []string{"get / HTTP/1.1\r\n\r\n", "\x00\x01\x02\x03\x04\x05", "\x16\x03\x01\xff\xff\x00", "SSH-2.0-x\r\n"} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, bytes)
			_ = c.(*net.TCPConn).CloseWrite()
			if b, _ := io.ReadAll(c); len(b) > 0 && b[0] != 21 { // an alert
				t.Errorf("%q is answered by %q", bytes, b)
			}
			_ = c.Close()
		}
		c := peerOn(t, tls.Client(dial(t, addr).Conn, clientTLS))
		c.send(aGet)
		if res, _ := c.answer("GET"); res.StatusCode != 200 || served.Load() != 1 || refused.Load() != 5 {
			t.Errorf("over TLS: %d; %d served, %d refused", res.StatusCode, served.Load(), refused.Load())
		}
		_ = c.Close()
		eventually(t, "the connections to be over", func() bool { open, _ := conns(s); return open == 0 })
	})
}
