package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// comesTo is a transport that gives an exchange the trouble of that name, every
// time: the whole body is read before, unless nothing was sent.
func comesTo(trouble string) *clustertest.Transport {
	tr := &clustertest.Transport{}
	switch trouble {
	case "breaker-open", "no-endpoint": // or else nothing is sent
		tr.Connect = func(context.Context, string) error { return clustertest.Fault(trouble, false) }
		return tr
	case "connect":
		tr.Connect = func(context.Context, string) error { return clustertest.Fault("connect-refused", true) }
		return tr
	}
	tr.Answer = func(x *exchange.Exchange, _ string) error {
		if x.Request.Body != nil {
			_, _ = io.ReadAll(x.Request.Body)
		}
		if n, err := strconv.Atoi(strings.Fields(trouble)[0]); err == nil {
			clustertest.Respond(x, n, "")
			if strings.Contains(trouble, "further on") {
				x.Response.Header.Set(HeaderRetried, "1")
			}
			return nil
		}
		if trouble == "a break in the answer's body" {
			clustertest.Respond(x, 200, "")
			x.Response.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(clustertest.Fault("reset", false))))
			return nil
		}
		for _, g := range grpcNames {
			if trouble == g.name {
				clustertest.Respond(x, 200, "")
				x.Response.Header.Set("Grpc-Status", strconv.Itoa(g.code))
				return nil
			}
		}
		switch trouble {
		case "per_try_timeout", "timeout":
			<-x.Context().Done()
			return context.Cause(x.Context())
		}
		return clustertest.Fault(trouble, false)
	}
	return tr
}

// every calls f with every kind of exchange and of terms. The exchange is made anew
// by each call of its function.
func every(f func(name string, x func() *exchange.Exchange, o Options)) {
	const small, large = "12345678", "123456789"
	exchanges := map[string]func() *exchange.Exchange{}
	for _, method := range []string{"GET", "PUT", "POST"} {
		for what, body := range map[string]string{"nothing": "", "a small body": small, "a large body": large} {
			exchanges[method+" with "+what] = func() *exchange.Exchange { return newExchange(method, body) }
		}
	}
	exchanges["PUT with a body of unknown length"] = func() *exchange.Exchange {
		x := newExchange("PUT", small)
		x.Request.Length = -1
		return x
	}
	exchanges["POST with a key"] = func() *exchange.Exchange {
		x := newExchange("POST", small)
		x.Request.Header.Set("Idempotency-Key", "k")
		return x
	}
	exchanges["a gRPC call"] = func() *exchange.Exchange { return grpcCall(small) }
	exchanges["a long gRPC call"] = func() *exchange.Exchange {
		x := grpcCall(large)
		x.Request.Length = int64(len(large))
		return x
	}
	exchanges["a WebSocket"] = func() *exchange.Exchange {
		x := newExchange("GET", "")
		x.Request.Upgrade = "websocket"
		return x
	}
	base := Options{Timeout: time.Second, Attempts: 1, OnConnect: true, OnReset: true, OnStatus: []int{503}, MaxBackoff: time.Millisecond, Backoff: time.Microsecond, BufferBody: 8}
	for what, change := range map[string]func(*Options){
		"as usual":         func(*Options) {},
		"no attempts":      func(o *Options) { o.Attempts = 0 },
		"only statuses":    func(o *Options) { o.OnConnect, o.OnReset, o.On5xx = false, false, true },
		"other methods":    func(o *Options) { o.Methods = []string{"POST"} },
		"a key is enough":  func(o *Options) { o.IdempotencyKey = true },
		"gRPC statuses":    func(o *Options) { o.OnGRPC = Statuses(14, 8) },
		"a time per try":   func(o *Options) { o.PerTry = 10 * time.Millisecond },
		"a hedge":          func(o *Options) { o.Hedge = HedgeAfter(300*time.Millisecond, []string{"GET", "POST"}) },
		"a hedge, no more": func(o *Options) { o.Attempts, o.Hedge = 0, HedgeAfter(300*time.Millisecond, []string{"GET", "PUT"}) },
	} {
		o := base
		change(&o)
		for name, x := range exchanges {
			f(name+", "+what, x, o)
		}
	}
}

func termOf(t *testing.T, terms []Term, kind string) Term {
	t.Helper()
	for _, term := range terms {
		if term.Kind == kind {
			return term
		}
	}
	t.Fatalf("nothing is said of %s: %+v", kind, terms)
	return Term{}
}

// What is said of retries is what is done.
func TestExchangesAreRetriedAsExplained(t *testing.T) {
	again := 0
	every(func(name string, exchanges func() *exchange.Exchange, o Options) {
		terms, fault := newTest(t, &clustertest.Transport{}, Config{}, "a:1", "b:1").Explain(exchanges(), &o, Asking{Mesh: true})
		if fault != nil {
			t.Fatal(name, fault)
		}
		says := termOf(t, terms, "retries")
		for _, c := range says.Cases {
			if c.Again == (c.Why != "") {
				t.Errorf("%s, after %s: %+v", name, c.After, c)
			}
			synctest.Test(t, func(t *testing.T) {
				tr := comesTo(c.After)
				tr.PeerID = "spiffe://example.org/svc/orders"
				cl := newTest(t, tr, Config{}, "a:1", "b:1")
				x, o := exchanges(), o
				o.Hedge = o.Hedge.withoutTiming()
				if c.After == "timeout" {
					o.PerTry = 0 // which would come first
				}
				x.Start = time.Now()
				_ = cl.Forward(x, &o)
				if x.Response.Body != nil {
					_, _ = io.ReadAll(x.Response.Body)
				}
				if sent := x.Attempts > 1; sent != c.Again {
					t.Errorf("%s, after %s: %d attempts, but it was said: %+v", name, c.After, x.Attempts, c)
				} else if sent {
					again++
				}
				over(x)
				_ = cl.Close()
			})
		}
	})
	if again < 100 {
		t.Errorf("only %d were sent again: the test tests little", again)
	}
}

// withoutTiming is a hedge that is never late, but has bodies kept as any.
func (o *Hedge) withoutTiming() *Hedge {
	if o == nil {
		return nil
	}
	return HedgeAfter(time.Hour, o.Methods)
}

// What is said of hedges is what is done.
func TestExchangesAreHedgedAsExplained(t *testing.T) {
	hedged := 0
	every(func(name string, exchanges func() *exchange.Exchange, o Options) {
		if o.Hedge == nil {
			return
		}
		terms, _ := newTest(t, &clustertest.Transport{}, Config{}, "a:1", "b:1").Explain(exchanges(), &o, Asking{})
		says := termOf(t, terms, "hedge")
		synctest.Test(t, func(t *testing.T) {
			tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
				select {
				case <-time.After(500 * time.Millisecond):
					clustertest.Respond(x, 200, "")
					return nil
				case <-x.Context().Done():
					return context.Cause(x.Context())
				}
			}}
			cl := newTest(t, tr, Config{}, "a:1", "b:1")
			x := exchanges()
			x.Start = time.Now()
			_ = cl.Forward(x, &o)
			over(x)
			synctest.Wait()
			if sent := x.Attempts > 1; sent != (says.Why == "") || sent == strings.Contains(says.Verdict, "not hedged") {
				t.Errorf("%s: %d attempts, but it was said: %+v", name, x.Attempts, says)
			} else if sent {
				hedged++
			}
			_ = cl.Close()
		})
	})
	if hedged < 3 {
		t.Errorf("only %d were hedged", hedged)
	}
}

// A reason is one: without what it names, it is another, or there is none.
func TestReasonsAgainstARetry(t *testing.T) {
	for name, c := range map[string]struct {
		x     *exchange.Exchange
		o     func(*Options)
		after string
		why   string
	}{
		"a method":           {newExchange("POST", ""), func(*Options) {}, "503", "POST is none of retries.methods (GET, HEAD, OPTIONS, PUT, DELETE)"},
		"methods":            {newExchange("GET", ""), func(o *Options) { o.Methods = []string{"PUT"} }, "reset", "GET is none of retries.methods (PUT)"},
		"no key":             {newExchange("POST", ""), func(o *Options) { o.IdempotencyKey = true }, "503", "and it has no Idempotency-Key"},
		"a body":             {newExchange("PUT", "123456789"), func(*Options) {}, "503", "its body is longer than retries.buffer_body (8 bytes), and is not kept"},
		"a method, a body":   {newExchange("POST", "123456789"), func(*Options) {}, "503", "DELETE); its body is longer than"},
		"a status":           {newExchange("GET", ""), func(*Options) {}, "502", "retries.on does not name it"},
		"a status of POST":   {newExchange("POST", ""), func(*Options) {}, "502", "retries.on does not name it"},
		"attempts":           {newExchange("GET", ""), func(o *Options) { o.Attempts = 0 }, "503", "no further attempts are configured"},
		"attempts, a method": {newExchange("POST", ""), func(o *Options) { o.Attempts = 0 }, "503", "no further attempts are configured; POST is none of"},
		"no time":            {newExchange("GET", ""), func(*Options) {}, "timeout", "there is no time left"},
		"one tier":           {newExchange("GET", ""), func(*Options) {}, "503 that a Lintel further on has retried", "one tier retries"},
	} {
		cl := newTest(t, &clustertest.Transport{}, Config{}, "a:1")
		o := opts
		c.o(&o)
		terms, _ := cl.Explain(c.x, &o, Asking{Mesh: true})
		found := false
		for _, said := range termOf(t, terms, "retries").Cases {
			if said.After == c.after {
				found = true
				if !strings.Contains(said.Why, c.why) {
					t.Errorf("%s: %+v, want %q", name, said, c.why)
				}
			}
		}
		if !found {
			t.Errorf("%s: nothing is said of %s", name, c.after)
		}
	}
	x := newExchange("POST", "")
	x.Request.Header.Set("Idempotency-Key", "k")
	terms, _ := newTest(t, &clustertest.Transport{}, Config{}, "a:1").Explain(x, &opts, Asking{})
	if all := fmt.Sprint(terms); !strings.Contains(all, "retries.idempotency_key is not set") {
		t.Error(all)
	}
}

// Explaining costs nobody anything: no budget, no turn, no key, no request.
func TestExplainingHasNoEffects(t *testing.T) {
	tr := &clustertest.Transport{}
	cl := newTest(t, tr, Config{Balance: "round_robin", RetryBudget: RetryBudgetConfig{Ratio: 0.2, Window: time.Second, MinPerSecond: 2},
		Limit: &LimitConfig{Max: 1}, Breaker: BreakerConfig{Enabled: true, Per: "both", Failures: 1, Trials: 1, Window: time.Minute}}, "a:1", "b:1")
	turn := cl.pick.(*roundRobin)
	o := opts
	o.Hedge = HedgeBeyond(0.9, []string{"GET"})
	state := func() string {
		b, err := json.Marshal(cl.Status())
		return fmt.Sprint(string(b), err, turn.next.Load())
	}
	before := state()
	for range 100 {
		x := newExchange("GET", "")
		if _, fault := cl.Explain(x, &o, Asking{Live: true, Mesh: true}); fault != nil {
			t.Fatal(fault)
		}
		if x.Attempts != 0 || x.Response.Status != 0 || x.Response.Header.Len() != 0 {
			t.Errorf("%+v", x)
		}
	}
	if after := state(); after != before || len(tr.Calls()) != 0 || o.Hedge.usual.seen.Load() != 0 {
		t.Errorf("%s\n%s\n%v", before, after, tr.Calls())
	}
	if !cl.limit.take() {
		t.Error("a place is taken")
	}
	cl.limit.give()
}

// Where a key is said to be, there it goes, also with some endpoints' breakers open.
func TestAKeyIsWhereItIsSaidToBe(t *testing.T) {
	tr := &clustertest.Transport{}
	cl := newTest(t, tr, Config{Balance: "consistent_hash", Hash: []HashKey{{From: "header", Name: "X-Tenant"}, {From: "address"}, {From: "cookie", Name: "lb", Cookie: &Cookie{Path: "/"}}}},
		"a:1", "b:1", "c:1", "d:1")
	for i := range 50 {
		x := newExchange("GET", "")
		by := " by header X-Tenant"
		if i%2 == 0 {
			x.Request.Header.Set("X-Tenant", strconv.Itoa(i))
		} else {
			x.ClientIP, by = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), " by address"
		}
		terms, _ := cl.Explain(x, &opts, Asking{Live: true})
		says := termOf(t, terms, "balance")
		if f := cl.Forward(x, &opts); f != nil {
			t.Fatal(f)
		}
		if !strings.HasSuffix(says.Now, "; its key is at "+x.Endpoint) || !strings.HasSuffix(says.Verdict, by) {
			t.Errorf("it went to %s, but it was said: %+v", x.Endpoint, says)
		}
		over(x)
	}
	terms, _ := cl.Explain(newExchange("GET", ""), &opts, Asking{Live: true})
	if says := termOf(t, terms, "balance"); !strings.Contains(says.Verdict, "gets cookie lb") || strings.Contains(says.Now, "key") {
		t.Errorf("%+v", says)
	}
}

func TestWhatIsSaidOfARunningService(t *testing.T) {
	cl := newTest(t, comesTo("reset"), Config{RetryBudget: RetryBudgetConfig{Window: 5 * time.Minute, MinPerSecond: 2.0 / 300},
		Breaker: BreakerConfig{Enabled: true, Failures: 4, Trials: 1, Window: time.Minute, Open: time.Hour}, Limit: &LimitConfig{Max: 3, Queue: 2, QueueTimeout: time.Second}}, "a:1")
	o := opts
	o.Hedge = HedgeBeyond(0.9, []string{"GET"})
	said := func(live bool) string {
		terms, _ := cl.Explain(newExchange("GET", ""), &o, Asking{Live: live})
		var all []string
		for _, term := range terms {
			if term.Now != "" {
				now, _, _ := strings.Cut(term.Now, ", for another")
				all = append(all, term.Kind+": "+now)
			}
		}
		return strings.Join(all, "\n")
	}
	want := "hedge: nothing is hedged yet: 0 of 100 answers are measured\nretry_budget: 2 are left; 0 were made and 0 were not for want of it so far\n" +
		"balance: endpoints: 1 healthy\nbreaker: closed\nconcurrency: 0 of 3 in progress, 0 waiting"
	if got := said(true); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for range 3 {
		x := newExchange("GET", "")
		x.Start = time.Now()
		_ = cl.Forward(x, &o)
		over(x)
	}
	for range quantileLearns {
		o.Hedge.observe(20 * time.Millisecond)
	}
	want = "hedge: there is no second endpoint to ask\nretry_budget: 0 are left; 2 were made and 1 were not for want of it so far\n" +
		"balance: endpoints: 1 healthy\nbreaker: open\nconcurrency: 0 of 3 in progress, 0 waiting"
	if got := said(true); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	cl.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}})
	if got := said(true); !strings.Contains(got, "hedge: after 2") || !strings.Contains(got, "balance: endpoints: 2 healthy") {
		t.Error(got)
	}
	if got := said(false); got != "" {
		t.Errorf("of no running Lintel: %s", got)
	}
	_ = cl.Close()
}

func TestWhatIsSaidOfTimeouts(t *testing.T) {
	cl := newTest(t, &clustertest.Transport{}, Config{}, "a:1")
	terms := func(x *exchange.Exchange, o Options) (Term, string) {
		list, fault := cl.Explain(x, &o, Asking{})
		if len(list) == 0 {
			return Term{}, code(fault)
		}
		return list[0], code(fault)
	}
	if s, f := terms(newExchange("GET", ""), Options{Timeout: 30 * time.Second, DeadlineTo: "X-Left"}); f != "" || s.Verdict != "the answer's head must come within 30s, attempts and pauses included; X-Left tells the service" {
		t.Error(s, f)
	}
	if s, f := terms(newExchange("GET", ""), Options{}); f != "" || s.Verdict != "an answer's head is waited for without limit" {
		t.Error(s, f)
	}
	x := grpcCall("")
	x.Request.Header.Set("Grpc-Timeout", "2S")
	if s, f := terms(x, Options{Timeout: time.Minute}); f != "" || !strings.Contains(s.Verdict, "within 2s") || s.Why == "" || s.Settings != "1m" {
		t.Error(s, f)
	}
	x.Request.Header.Set("Grpc-Timeout", "soon")
	if _, f := terms(x, Options{}); f != "bad-deadline" {
		t.Error(f)
	}
	x.Request.Header.Set("Grpc-Timeout", "0n")
	if _, f := terms(x, Options{}); f != "timeout" {
		t.Error(f)
	}
}

func TestAFallbackIsNotForGRPC(t *testing.T) {
	cl := New(Config{Service: "orders", Transport: &clustertest.Transport{}, Fallback: &Fallback{Answer: exchange.Instead{Status: 203}, On: []string{"no-endpoint"}}})
	for _, x := range []*exchange.Exchange{newExchange("GET", ""), grpcCall("")} {
		terms, _ := cl.Explain(x, &opts, Asking{})
		says := termOf(t, terms, "fallback")
		fault := cl.Forward(x, &opts)
		if (fault.Instead != nil) != (says.Why == "") || (fault.Instead == nil) != x.IsGRPC() {
			t.Errorf("%+v, but it was said: %+v", fault, says)
		}
		over(x)
	}
}

// What is said of streams is what is done.
func TestStreamsAreConnectedAgainAsExplained(t *testing.T) {
	for _, o := range []Options{opts, {OnConnect: true}, {Attempts: 3}, {Attempts: 1, OnConnect: true}} {
		cl, _ := newDials(t, Config{Balance: "round_robin", Fallback: &Fallback{}, Limit: &LimitConfig{Max: 1}}, func(context.Context, string, int) error {
			return clustertest.Fault("connect-refused", true)
		}, "a:1", "b:1", "c:1", "d:1", "e:1")
		terms := cl.ExplainConnect(&o, true)
		says := termOf(t, terms, "retries")
		st := &exchange.Stream{}
		_, _, _, fault := cl.Connect(t.Context(), st, &o)
		if c := says.Cases[0]; fault == nil || c.Again != (st.Attempts > 1) || c.Again == (c.Why != "") || says.Verdict != atMost(st.Attempts-1, true) {
			t.Errorf("%+v: %d attempts, but it was said: %+v", o, st.Attempts, says)
		}
		for _, term := range terms {
			if term.Kind == "fallback" || term.Kind == "concurrency" {
				t.Errorf("streams have none: %+v", term)
			}
		}
		if says := termOf(t, terms, "balance"); says.Now != "endpoints: 5 healthy" {
			t.Errorf("%+v", says)
		}
	}
}
