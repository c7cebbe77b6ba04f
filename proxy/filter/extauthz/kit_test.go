package extauthz

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authorizer is a real server that keeps what it was asked.
type authorizer struct {
	*httptest.Server
	mu    sync.Mutex
	asked []*http.Request
	body  []string
}

func newAuthorizer(t testing.TB, answer http.HandlerFunc) *authorizer {
	t.Helper()
	a := &authorizer{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		a.asked = append(a.asked, r.Clone(context.Background()))
		a.body = append(a.body, string(body))
		a.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *authorizer) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

func (a *authorizer) last(t testing.TB) (*http.Request, string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.asked) == 0 {
		t.Fatal("the authorizer was not asked")
	}
	return a.asked[len(a.asked)-1], a.body[len(a.body)-1]
}

// allow answers 200 with fields.
func allow(fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Add(fields[i], fields[i+1])
		}
	}
}

func newFilter(t testing.TB, c Config) *Filter {
	t.Helper()
	if c.OnError == "" {
		c.OnError = "deny"
	}
	lease := store.NewSet().Lease()
	f, err := Kind().Build(&c, &filter.Env{Store: lease, Log: slog.New(slog.DiscardHandler), Route: "r",
		Consumers: []filter.Consumer{{Name: "shop"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lease.Release)
	return f.(*Filter)
}

// request is an exchange as the pipe hands it to a filter.
func request(method, path, query string, fields ...string) *exchange.Exchange {
	x := &exchange.Exchange{Route: "r", ClientIP: netip.MustParseAddr("192.0.2.7")}
	x.Client.Remote = netip.MustParseAddrPort("192.0.2.7:4711")
	x.Request.Method, x.Request.Scheme, x.Request.Authority = method, "https", "shop.example.com"
	x.Request.Path, x.Request.Query, x.Request.Proto = path, query, "HTTP/1.1"
	for i := 0; i < len(fields); i += 2 {
		x.Request.Header.Add(fields[i], fields[i+1])
	}
	return x
}

func passes(t testing.TB, f *Filter, x *exchange.Exchange) {
	t.Helper()
	if v := f.OnRequest(x); v != filter.Next {
		t.Fatalf("refused: %v, %d", v.Fault(), x.Response.Status)
	}
}
