package nethttp

import (
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// net/http says so by itself, in plain text.
func TestARequestWithoutTLSIsToldSo(t *testing.T) {
	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	t.Cleanup(certs.Close)
	_, addr := serve(t, exchange.ServerConfig{TLS: certs.TLS}, handlerFunc(func(*exchange.Exchange) { t.Error("it is served") }))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.") {
		t.Errorf("%q", b)
	}
}
