package pipe

import (
	"context"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/route"
)

func TestFiltersRunInOrderAndBackInReverse(t *testing.T) {
	k := newKit(t).start()
	x := k.get("/a/x")
	k.pipe.Serve(x)
	if b, _ := io.ReadAll(x.Response.Body); string(b) != "ok" || x.Route != "r" || x.Pattern != "/a/*" || x.Service != "orders" {
		t.Errorf("%q %+v", b, x)
	}
	k.finish(x)
	if got := k.j.take(); got != "begin always.req a.req b.req forward b.resp a.resp always.resp b.done a.done always.done end" {
		t.Error(got)
	}
}

func TestOutcomes(t *testing.T) {
	teapot := func(x *exchange.Exchange) { x.Answer(418, "text/plain", []byte("tea")) }
	for name, c := range map[string]struct {
		set    func(k *kit, x *exchange.Exchange)
		status int
		fault  string
		want   string
	}{
		"a filter answers": {func(k *kit, _ *exchange.Exchange) { k.a.v = filter.Answered; k.a.do["req"] = teapot }, 418, "",
			"begin always.req a.req a.resp always.resp a.done always.done end"},
		"a filter refuses": {func(k *kit, _ *exchange.Exchange) {
			k.a.v = filter.Refuse(&exchange.Fault{Status: 403, Code: "no"})
		}, 403, "no", "begin always.req a.req a.fault always.fault a.resp always.resp a.done always.done end"},
		"a filter says it answered but did not": {func(k *kit, _ *exchange.Exchange) { k.a.v = filter.Answered }, 500, "no-answer",
			"begin always.req a.req a.fault always.fault a.resp always.resp a.done always.done end"},
		"an early filter refuses": {func(k *kit, _ *exchange.Exchange) {
			k.always.v = filter.Refuse(&exchange.Fault{Status: 403, Code: "no"})
		}, 403, "no", "begin always.req always.fault always.resp always.done end"},
		"no route":  {func(_ *kit, x *exchange.Exchange) { x.Request.Path = "/b" }, 404, "no-route", "begin always.req always.fault always.resp always.done end"},
		"no method": {func(_ *kit, x *exchange.Exchange) { x.Request.Method = "PUT" }, 405, "method-not-allowed", "begin always.req always.fault always.resp always.done end"},
		"TRACE":     {func(_ *kit, x *exchange.Exchange) { x.Request.Method = "TRACE" }, 405, "method-not-allowed", "begin always.req always.fault always.resp always.done end"},
		"bad path":  {func(_ *kit, x *exchange.Exchange) { x.Request.Path = "/a/%2f" }, 400, "bad-path", "begin always.req always.fault always.resp always.done end"},
		"bad host":  {func(_ *kit, x *exchange.Exchange) { x.Request.Authority = "a@b" }, 400, "bad-host", "begin always.req always.fault always.resp always.done end"},
		"engine refused": {func(_ *kit, x *exchange.Exchange) {
			*x = exchange.Exchange{Fault: &exchange.Fault{Status: 431, Code: "head"}}
		}, 431, "head", "begin end"},
		"service fails": {func(k *kit, _ *exchange.Exchange) {
			k.tr.Answer = func(*exchange.Exchange, string) error { return clustertest.Fault("reset", false) }
		}, 502, "reset", "begin always.req a.req b.req forward b.fault a.fault always.fault b.resp a.resp always.resp b.done a.done always.done end"},
		"a filter rescues": {func(k *kit, _ *exchange.Exchange) {
			k.tr.Answer = func(*exchange.Exchange, string) error { return clustertest.Fault("reset", false) }
			k.a.save = true
			k.a.do["fault"] = func(x *exchange.Exchange) {
				if x.Fault == nil {
					t.Error("OnFault must see x.Fault")
				}
				teapot(x)
			}
		}, 418, "", "begin always.req a.req b.req forward b.fault a.fault b.resp a.resp always.resp b.done a.done always.done end"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			x := k.get("/a/x")
			c.set(k, x)
			k.start().run(x)
			if got := k.j.take(); got != c.want {
				t.Error(got)
			}
			fault := ""
			if x.Fault != nil {
				fault = x.Fault.Code
			}
			if x.Response.Status != c.status || fault != c.fault {
				t.Errorf("status %d, fault %q", x.Response.Status, fault)
			}
			if (x.Rescued != nil) != (name == "a filter rescues") {
				t.Error("rescued from", x.Rescued)
			}
			if c.status == 405 && x.Response.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
}

func TestNoTableYetIs503(t *testing.T) {
	k := newKit(t)
	k.pipe = New(k.cfg, &k.live)
	if x := k.run(k.get("/a")); x.Response.Status != 503 || k.j.take() != "begin end" {
		t.Errorf("%+v", x.Response)
	}
}

// badBody wraps a body as filters do, and panics when closed.
type badBody struct{ io.ReadCloser }

func (b badBody) Close() error {
	if b.ReadCloser != nil {
		_ = b.ReadCloser.Close()
	}
	panic("close")
}

func TestAPanicCostsOneRequest(t *testing.T) {
	for _, where := range []string{"begin", "forward", "end", "always.req", "a.req", "b.resp", "a.resp", "a.fault", "b.done", "a.done", "always.done"} {
		t.Run(where, func(t *testing.T) {
			k := newKit(t)
			boom := func(x *exchange.Exchange) {
				x.Response.Body = badBody{x.Response.Body} // and what it leaves panics too
				panic("boom")
			}
			if who, what, ok := strings.Cut(where, "."); ok {
				map[string]*probe{"always": k.always, "a": k.a, "b": k.b}[who].do[what] = boom
			} else {
				k.obs.do[where] = boom
			}
			if where == "a.fault" {
				k.tr.Answer = func(*exchange.Exchange, string) error { return clustertest.Fault("reset", false) }
			}
			k.start()
			x := k.get("/a/x")
			done := 0
			x.OnDone(func() { done++ })
			x.OnDone(func() { panic("done") })
			k.pipe.Serve(x)
			late := strings.HasSuffix(where, "done") || where == "end"
			if want := map[bool]int{true: 200, false: 500}[late]; x.Response.Status != want {
				t.Error(x.Response.Status)
			}
			if !late && (x.Fault == nil || !x.Fault.Close || x.Fault.Code != "panic") {
				t.Error(x.Fault)
			}
			k.finish(x)
			got := k.j.take()
			if done != 1 || k.pipe.Panics.Load() < 2 || strings.Count(got, "end") != 1 {
				t.Errorf("done %d, panics %d: %s", done, k.pipe.Panics.Load(), got)
			}
			for _, name := range []string{"always", "a", "b"} {
				if n, m := strings.Count(" "+got, " "+name+".req"), strings.Count(" "+got, " "+name+".done"); n != m {
					t.Errorf("%s began %d and ended %d times: %s", name, n, m, got)
				}
			}
			k.live.Swap(nil)
			if k.released != 1 {
				t.Error("the table is not released")
			}
		})
	}
}

func TestTransportPanicGivesTheEndpointBack(t *testing.T) {
	k := newKit(t)
	k.tr.Answer = func(*exchange.Exchange, string) error { panic("transport") }
	if x := k.start().run(k.get("/a/x")); x.Response.Status != 500 { // newKit looks at the counters
		t.Error(x.Response.Status)
	}
}

func TestProblemHasEveryFieldAndGRPCGetsItsStatus(t *testing.T) {
	k := newKit(t)
	fault := &exchange.Fault{Status: 429, Code: "rate-limit", Title: "Too many", Detail: "é\n", RetryAfter: 1200e6, Proxy: "http_request_denied",
		Header: []exchange.Field{{Name: "RateLimit", Value: "a"}, {Name: "RateLimit", Value: "b"}},
		Errors: []exchange.Flaw{{In: "body", Pointer: "#/a", Detail: "d"}}}
	k.always.v = filter.Refuse(fault)
	k.start()
	x := k.get("/a")
	x.Trace.ID, x.Txn = [16]byte{1}, &exchange.Txn{ID: "t1"}
	k.pipe.Serve(x)
	var p Problem
	body, _ := io.ReadAll(x.Response.Body)
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	if want := (Problem{"about:blank", "Too many", 429, "é\n", "rate-limit", "id-1", "01000000000000000000000000000000", "t1", fault.Errors}); !reflect.DeepEqual(p, want) {
		t.Errorf("%+v", p)
	}
	h := &x.Response.Header
	if h.Get("Content-Type") != "application/problem+json" || h.Get("Retry-After") != "2" || h.Count("RateLimit") != 2 ||
		h.Get("Proxy-Status") != "lintel; error=http_request_denied" || h.Get("Cache-Control") != "no-store" || x.Response.Length != int64(len(body)) {
		t.Error(h)
	}
	k.finish(x)

	x = k.get("/a", "content-type", "application/grpc+proto")
	x.Request.Proto = "HTTP/2.0"
	k.run(x)
	h = &x.Response.Header
	if x.Response.Status != 200 || x.Response.Body != nil || h.Get("Grpc-Status") != "8" || h.Get("Grpc-Message") != "Too many: %C3%A9%0A" || h.Get("Content-Type") != "application/grpc" {
		t.Errorf("%+v", x.Response)
	}
	for status, want := range map[int]int{400: 13, 401: 16, 403: 7, 404: 12, 405: 12, 413: 8, 429: 8, 502: 14, 503: 14, 504: 14, 500: 2} {
		if got := grpcStatus(&exchange.Fault{Status: status}); got != want {
			t.Error(status, got)
		}
	}
	if grpcStatus(&exchange.Fault{Code: "timeout", Status: 504}) != 4 || grpcStatus(&exchange.Fault{Code: "client-gone", Status: 499}) != 1 {
		t.Error("codes")
	}
}

func TestATableIsReleasedOnceWithItsLastExchange(t *testing.T) {
	k := newKit(t).start()
	x, y := k.get("/a/1"), k.get("/a/2")
	k.pipe.Serve(x)
	k.pipe.Serve(y)
	k.live.Swap(k.table())
	if k.released != 0 {
		t.Fatal("released while two exchanges are in flight")
	}
	for i, e := range []*exchange.Exchange{x, y} {
		if k.released != 0 {
			t.Fatal("released with one in flight", i)
		}
		e.DropResponse()
		k.pipe.Finish(e)
		k.pipe.Finish(e)
	}
	if k.released != 1 {
		t.Fatal(k.released)
	}
	k.live.Swap(nil)
	if k.released != 2 {
		t.Fatal(k.released)
	}
}

func TestSwapsUnderLoad(t *testing.T) {
	k := newKit(t).start()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 300 {
				x := k.get("/a/1")
				k.pipe.Serve(x)
				if x.Response.Status != 200 {
					t.Error(x.Response.Status)
				}
				x.DropResponse()
				k.pipe.Finish(x)
			}
		})
	}
	var mu sync.Mutex
	released := 0
	for range 100 {
		table, err := route.Compile(route.Spec{Routes: []route.Route{k.route}, Release: func() { mu.Lock(); released++; mu.Unlock() }})
		if err != nil {
			t.Fatal(err)
		}
		k.live.Swap(table)
	}
	wg.Wait()
	k.live.Swap(nil)
	if released != 100 || k.released != 1 {
		t.Error(released, k.released)
	}
}

func TestBadQueryIsRefused(t *testing.T) {
	k := newKit(t).start()
	for query, ok := range map[string]bool{"": true, "a=b&c=%20d?/": true, "a HTTP/1.0": false, "a\tb": false, "a\x7f": false, "\xc3\xa9": false, "a#b": false} {
		x := k.get("/a/x")
		x.Request.Query = query
		if k.run(x); (x.Response.Status != 400) != ok {
			t.Errorf("%q: %d", query, x.Response.Status)
		}
		k.finish(x)
	}
}

// A filter that cannot let an answer pass puts a fault in its place; those
// before it see what became of it.
func TestAnAnswerIsRefusedOnItsWayBack(t *testing.T) {
	k := newKit(t)
	body := &closes{Reader: strings.NewReader("secret")}
	k.tr.Answer = func(x *exchange.Exchange, _ string) error {
		clustertest.Respond(x, 200, "")
		x.Response.Header.Add("X-Secret", "7")
		x.Response.Body, x.Response.Length = body, 6
		return nil
	}
	k.b.do["resp"] = func(x *exchange.Exchange) {
		x.Fault = &exchange.Fault{Source: exchange.FromUpstream, Status: 502, Code: "unreadable", Title: "No"}
	}
	k.a.do["resp"] = func(x *exchange.Exchange) {
		if x.Response.Status != 502 || x.Response.Header.Has("X-Secret") {
			t.Errorf("the filter before it sees %+v", x.Response)
		}
	}
	x := k.get("/a/x")
	k.start()
	k.pipe.Serve(x)
	if b, _ := io.ReadAll(x.Response.Body); !strings.Contains(string(b), `"code":"unreadable"`) || body.n != 1 {
		t.Errorf("%q, closed %d times", b, body.n)
	}
	k.finish(x)
	if got := k.j.take(); got != "begin always.req a.req b.req forward b.resp a.resp always.resp b.done a.done always.done end" {
		t.Error(got)
	}
}

type closes struct {
	io.Reader
	n int
}

func (c *closes) Close() error { c.n++; return nil }

// What a replaced table holds is closed by its last exchange, and some of it waits
// for its goroutines: that must not hold an event loop.
func TestAReplacedTableIsReleasedOffTheLoop(t *testing.T) {
	k := newKit(t).start()
	x := k.get("/a/x")
	before, waiting := -1, false
	x.Waiter = func(ctx context.Context, wait func(context.Context) error) error {
		before, waiting = k.released, true
		return wait(ctx)
	}
	k.pipe.Serve(x)
	k.live.Swap(nil)
	k.finish(x)
	if k.released != 1 || !waiting || before != 0 {
		t.Errorf("released %d times, awaited %t, with %d released before", k.released, waiting, before)
	}
	// One that is not the last has nothing to wait for.
	k.start()
	x = k.get("/a/x")
	x.Waiter = func(context.Context, func(context.Context) error) error {
		t.Error("an exchange waits although its table stays")
		return nil
	}
	k.run(x)
}
