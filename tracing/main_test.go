package tracing

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// request is an exchange as an engine fills it.
func request(fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{Start: time.Now()}
	x.Request.Method, x.Request.Scheme, x.Request.Authority = "GET", "https", "shop.example:8443"
	x.Request.Target, x.Request.Path, x.Request.Query = "/orders/17?token=hush", "/orders/17", "token=hush"
	x.Request.Proto = "HTTP/1.1"
	x.Client = exchange.ConnInfo{Listener: "public", Remote: netip.MustParseAddrPort("203.0.113.9:4711")}
	x.ClientIP = netip.MustParseAddr("203.0.113.9")
	for i := 0; i < len(fields); i += 2 {
		x.Request.Header.Add(fields[i], fields[i+1])
	}
	return x
}

// answered fills in what routing and forwarding find out.
func answered(x *exchange.Exchange, status int) *exchange.Exchange {
	x.Route, x.Pattern, x.Service, x.Endpoint, x.Attempts = "orders", "/orders/{id}", "orders", "10.0.0.7:8080", 1
	x.Sent = x.Start.Add(time.Millisecond)
	x.Answered = x.Start.Add(3 * time.Millisecond)
	x.Response.Status, x.Response.Written = status, 254
	return x
}

func failed(x *exchange.Exchange, f *exchange.Fault) *exchange.Exchange {
	x.Fault = f
	x.Response.Status = f.Status
	return x
}

var timedOut = &exchange.Fault{Source: exchange.FromUpstream, Status: 504, Code: "upstream-timeout", Err: errors.New("no answer\nin 2s")}

// eventually polls until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
