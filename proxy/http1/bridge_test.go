package http1

import (
	"io"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// askedTwice is a transport that answers the first attempt without a look at the
// body, and reads it in the second.
type askedTwice struct {
	exchange.Transport
	n    int
	body string
}

func (a *askedTwice) Reserve(*exchange.Exchange, string, exchange.Protocol) (exchange.Upstream, error) {
	return a, nil
}

func (a *askedTwice) Info() *exchange.ConnInfo { return &exchange.ConnInfo{} }
func (a *askedTwice) Release()                 {}

func (a *askedTwice) RoundTrip(x *exchange.Exchange) error {
	if a.n++; a.n == 2 {
		b, _ := io.ReadAll(x.Request.Body)
		a.body = string(b)
	}
	x.Answer(200, "", nil)
	return nil
}

// A body that an attempt over another transport has left untouched can go out with
// the next one: read through two loops' hops at once it would stop its loop for good.
func TestAnUntouchedBodyOutlivesABridge(t *testing.T) {
	each(t, func(t *testing.T, opt Options) {
		far := &askedTwice{}
		tr := Bridge(far)
		over := make(chan bool, 1)
		_, addr := running(t, opt, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
			body, same := x.Request.Body, true
			for range 2 {
				up, err := tr.Reserve(x, "a:1", exchange.HTTP1)
				if err == nil {
					err = up.RoundTrip(x)
				}
				if same = err == nil && x.Request.Body == body; !same {
					break
				}
			}
			over <- same
		}})
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		if !receive(t, "the exchange", over) {
			t.Fatal("the exchange is left with another body")
		}
		if res, _ := c.answer("POST"); res.StatusCode != 200 || far.body != "hello" {
			t.Errorf("%d, the second attempt had the body %q", res.StatusCode, far.body)
		}
	})
}
