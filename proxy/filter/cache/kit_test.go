package cache

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a cache in front of an origin, with a clock that the test moves.
type rig struct {
	*cache
	ns    atomic.Int64
	calls atomic.Int64 // times the origin was asked
}

var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func (r *rig) time() time.Time         { return epoch.Add(time.Duration(r.ns.Load())) }
func (r *rig) advance(d time.Duration) { r.ns.Add(int64(d)) }

func mustBuild(t testing.TB, c Config, set *store.Set, route string) (*cache, *store.Lease) {
	t.Helper()
	lease := set.Lease()
	f, err := Kind().Build(&c, &filter.Env{Store: lease, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Route: route})
	if err != nil {
		t.Fatal(err)
	}
	return f.(*cache), lease
}

func newRig(t testing.TB, c Config) *rig {
	t.Helper()
	f, _ := mustBuild(t, c, store.NewSet(), "r")
	r := &rig{cache: f}
	f.now = r.time
	return r
}

// request builds an exchange from "GET /path?query" and "Name: value" lines.
func request(line string, header ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	method, target, _ := strings.Cut(line, " ")
	x.Request.Method, x.Request.Scheme, x.Request.Authority = method, "https", "api.example"
	x.Request.Path, x.Request.Query, _ = strings.Cut(target, "?")
	addLines(&x.Request.Header, header)
	return x
}

func addLines(h *exchange.Fields, lines []string) {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
}

func user(x *exchange.Exchange, name string) *exchange.Exchange {
	x.Identity = &exchange.Identity{Method: "jwt", Issuer: "https://id", Subject: name}
	return x
}

type origin func(x *exchange.Exchange) *exchange.Fault

// says is an origin that answers with a status, a body and header lines.
func says(status int, body string, header ...string) origin {
	return func(x *exchange.Exchange) *exchange.Fault {
		x.Answer(status, "", []byte(body))
		addLines(&x.Response.Header, header)
		return nil
	}
}

func broken(x *exchange.Exchange) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromUpstream, Status: 503, Code: "breaker-open"}
}

// head runs x as the pipe does, up to where the engine writes the answer.
func (r *rig) head(x *exchange.Exchange, o origin) {
	v := r.OnRequest(x)
	fault := v.Fault()
	if fault == nil && !v.Answered() {
		r.calls.Add(1)
		x.Attempts++
		fault = o(x)
	}
	if fault != nil {
		x.Fault = fault
		x.DropResponse()
		if !r.OnFault(x, fault) {
			x.Answer(fault.Status, "", []byte(fault.Code))
		}
	}
	r.OnResponse(x)
}

// behind lets x be renewed: o answers the exchange without a client, which runs
// to its end when the test calls run.
func (r *rig) behind(x *exchange.Exchange, o origin) (run func()) {
	later := func() {}
	x.Again = func(x *exchange.Exchange, prepare func(*exchange.Exchange)) bool {
		y := x.Detached()
		prepare(y)
		later = func() {
			r.calls.Add(1)
			y.Attempts++
			if y.Fault = o(y); y.Fault != nil {
				y.DropResponse()
			}
			r.OnResponse(y)
			if y.Response.Body != nil {
				_, _ = io.Copy(io.Discard, y.Response.Body)
			}
			y.DropResponse()
			r.Done(y)
		}
		return true
	}
	return func() { later() }
}

// do runs x to its end and returns the body the client got.
func (r *rig) do(x *exchange.Exchange, o origin) string {
	defer r.Done(x)
	r.head(x, o)
	if x.Response.Body == nil {
		return ""
	}
	b, err := io.ReadAll(x.Response.Body)
	_ = x.Response.Body.Close()
	if err != nil {
		return "broken: " + err.Error()
	}
	return string(b)
}

func want(t *testing.T, x *exchange.Exchange, status int, info string) {
	t.Helper()
	if x.Response.Status != status || x.CacheInfo != info {
		t.Errorf("got %d %q, want %d %q", x.Response.Status, x.CacheInfo, status, info)
	}
	lines := x.Response.Header.Joined("Cache-Status")
	if info != "" && !strings.HasSuffix(lines, info) {
		t.Errorf("Cache-Status: %q, want it to end with %q", lines, info)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}

func ExampleConfig() {
	c := Config{TTL: time.Minute}
	set := store.NewSet()
	f, err := Kind().Build(&c, &filter.Env{Store: set.Lease(), Route: "orders"})
	fmt.Println(f.(filter.Explainer).Explain(), err)
	// Output: 67108864 bytes, bodies up to 1048576, ttl 1m0s, known users shared <nil>
}
