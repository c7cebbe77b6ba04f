package nethttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/exchange/enginetest"
)

// A request body that panics costs its exchange, and not the process.
func TestARequestBodyThatPanics(t *testing.T) {
	tr := newTransport(t, exchange.TransportConfig{})
	address := service(t, func(_ net.Conn, br *bufio.Reader) {
		if r, err := http.ReadRequest(br); err == nil {
			_, _ = io.Copy(io.Discard, r.Body) // and no answer without it
		}
	})
	x := get(t.Context())
	x.Request.Method, x.Request.Length, x.Request.Body = "POST", 5, enginetest.Panicking{Reader: strings.NewReader("hello")}
	u, err := tr.Reserve(x, address, exchange.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	if f := fault(t, u.RoundTrip(x)); f.Code != "panic" || f.Source != exchange.FromSelf || f.Status != 500 {
		t.Errorf("%+v", f)
	}
	x.RunDone()
}

// An exchange is finished also when what a filter made of its answer panics as it is
// closed: or its place in limits were lost.
func TestAnAnswerThatPanicsWhenClosed(t *testing.T) {
	finished := make(chan struct{}, 1)
	_, addr := serve(t, exchange.ServerConfig{}, &finisher{
		serve: func(x *exchange.Exchange) {
			x.Response.Status, x.Response.Length, x.Response.Body = 200, -1, enginetest.Panicking{Reader: strings.NewReader("fine"), OnClose: true}
		},
		finish: func(*exchange.Exchange) { finished <- struct{}{} },
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if res, err := client.Get("http://" + addr); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	select {
	case <-finished:
	case <-time.After(10 * time.Second):
		t.Fatal("the exchange was never finished")
	}
}
