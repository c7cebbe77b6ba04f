package cluster

import (
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// grpcCall is a unary call as an HTTP/2 engine fills it: a body of unknown length.
func grpcCall(body string) *exchange.Exchange {
	x := newExchange("POST", body)
	x.Request.Proto, x.Request.Length = "HTTP/2.0", -1
	x.Request.Header.Set("Content-Type", "application/grpc")
	return x
}

func TestWhatIsRetried(t *testing.T) {
	with := func(change func(*Options)) *Options { o := opts; change(&o); return &o }
	key := func(x *exchange.Exchange) { x.Request.Header.Set("Idempotency-Key", "k") }
	for name, c := range map[string]struct {
		o        *Options
		x        *exchange.Exchange
		prepare  func(*exchange.Exchange)
		answer   func(*exchange.Exchange)
		fault    string
		attempts int
	}{
		"5xx":                        {o: with(func(o *Options) { o.On5xx = true }), x: newExchange("GET", ""), answer: status(501), attempts: 3},
		"5xx but 499":                {o: with(func(o *Options) { o.On5xx = true }), x: newExchange("GET", ""), answer: status(499), attempts: 1},
		"409 listed":                 {o: with(func(o *Options) { o.OnStatus = []int{409} }), x: newExchange("PUT", "a"), answer: status(409), attempts: 3},
		"POST":                       {o: &opts, x: newExchange("POST", "a"), answer: status(503), attempts: 1},
		"POST listed":                {o: with(func(o *Options) { o.Methods = []string{"POST"} }), x: newExchange("POST", "a"), answer: status(503), attempts: 3},
		"GET not listed":             {o: with(func(o *Options) { o.Methods = []string{"POST"} }), x: newExchange("GET", ""), answer: status(503), attempts: 1},
		"key without leave":          {o: &opts, x: newExchange("POST", "a"), prepare: key, answer: status(503), attempts: 1},
		"leave without key":          {o: with(func(o *Options) { o.IdempotencyKey = true }), x: newExchange("POST", "a"), answer: status(503), attempts: 1},
		"key":                        {o: with(func(o *Options) { o.IdempotencyKey = true }), x: newExchange("POST", "a"), prepare: key, answer: status(503), attempts: 3},
		"key, reset":                 {o: with(func(o *Options) { o.IdempotencyKey = true }), x: newExchange("POST", "a"), prepare: key, fault: "reset", attempts: 3},
		"key, large":                 {o: with(func(o *Options) { o.IdempotencyKey = true }), x: newExchange("POST", "123456789"), prepare: key, answer: status(503), attempts: 1},
		"gRPC unavailable":           {o: with(func(o *Options) { o.OnGRPC = Statuses(14) }), x: grpcCall("hello"), answer: trailersOnly("14"), attempts: 3},
		"gRPC other status":          {o: with(func(o *Options) { o.OnGRPC = Statuses(14) }), x: grpcCall("hello"), answer: trailersOnly("5"), attempts: 1},
		"gRPC status not asked for":  {o: &opts, x: grpcCall("hello"), answer: trailersOnly("14"), attempts: 1},
		"gRPC OK":                    {o: with(func(o *Options) { o.OnGRPC = Statuses(14) }), x: grpcCall("hello"), answer: trailersOnly("0"), attempts: 1},
		"gRPC nonsense":              {o: with(func(o *Options) { o.OnGRPC = Statuses(14) }), x: grpcCall("hello"), answer: trailersOnly("x"), attempts: 1},
		"gRPC larger than is kept":   {o: with(func(o *Options) { o.OnGRPC = Statuses(14) }), x: grpcCall("123456789"), answer: trailersOnly("14"), attempts: 1},
		"gRPC status without gRPC":   {o: with(func(o *Options) { o.OnGRPC = Statuses(14) }), x: newExchange("GET", ""), answer: trailersOnly("14"), attempts: 1},
		"gRPC never sent":            {o: with(func(o *Options) { o.OnGRPC = Statuses(14) }), x: grpcCall("hello"), fault: "connect", attempts: 3},
		"retried by those behind it": {o: &opts, x: newExchange("GET", ""), answer: func(x *exchange.Exchange) { status(503)(x); x.Response.Header.Set(HeaderRetried, "1") }, attempts: 3},
	} {
		t.Run(name, func(t *testing.T) {
			var bodies []string
			tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
				if x.Request.Body != nil && c.fault != "connect" {
					b, _ := io.ReadAll(x.Request.Body)
					bodies = append(bodies, string(b))
				}
				if c.fault != "" {
					return clustertest.Fault(c.fault, c.fault == "connect")
				}
				c.answer(x)
				return nil
			}}
			cl := newTest(t, tr, Config{}, "a:1", "b:1", "c:1")
			if c.prepare != nil {
				c.prepare(c.x)
			}
			f := cl.Forward(c.x, c.o)
			if c.x.Attempts != c.attempts || (f != nil) != (c.fault != "") {
				t.Errorf("%d attempts, want %d (%v)", c.x.Attempts, c.attempts, f)
			}
			for _, b := range bodies {
				if b != bodies[0] {
					t.Errorf("the bodies sent differ: %q", bodies)
				}
			}
			over(c.x)
		})
	}
}

func status(n int) func(*exchange.Exchange) {
	return func(x *exchange.Exchange) { clustertest.Respond(x, n, "no") }
}

func trailersOnly(code string) func(*exchange.Exchange) {
	return func(x *exchange.Exchange) {
		x.Response.Status = 200
		x.Response.Header.Set("Grpc-Status", code)
	}
}

// A gRPC stream that the client has not ended is sent on at once and not sent
// twice: somebody may still be reading it.
func TestAStreamIsNotAwaitedAndNotSentTwice(t *testing.T) {
	o := opts
	o.OnGRPC = Statuses(14)
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		var b [3]byte
		_, _ = io.ReadFull(x.Request.Body, b[:])
		trailersOnly("14")(x)
		return nil
	}}
	cl := newTest(t, tr, Config{}, "a:1", "b:1")
	x := grpcCall("abc")
	r, w := io.Pipe()
	x.Request.Body = r
	go func() { _, _ = io.WriteString(w, "abc") }()
	if f := cl.Forward(x, &o); f != nil || x.Attempts != 1 {
		t.Error(f, x.Attempts)
	}
	over(x)
}

// What a Lintel further on has retried is not retried again, and the caller of
// this one learns of it through the transaction.
func TestRetriesFurtherOnCount(t *testing.T) {
	tr := &clustertest.Transport{PeerID: "spiffe://d/svc/orders", Answer: func(x *exchange.Exchange, _ string) error {
		clustertest.Respond(x, 503, "no")
		x.Response.Header.Set(HeaderRetried, "2")
		return nil
	}}
	c := newTest(t, tr, Config{}, "a:1", "b:1")
	x := newExchange("GET", "")
	x.Txn = &exchange.Txn{Retries: 5, Spent: new(atomic.Int32)}
	if f := c.Forward(x, &opts); f != nil || x.Attempts != 1 || x.Txn.Spent.Load() != 2 || x.Response.Header.Has(HeaderRetried) {
		t.Error(f, x.Attempts, x.Txn.Spent.Load(), x.Response.Header.Get(HeaderRetried))
	}
	over(x)
}

// A service that claims more retries than it was left does not spend the whole
// transaction's: other services still get theirs.
func TestClaimedRetriesAreNoMoreThanWereLeft(t *testing.T) {
	greedy := &clustertest.Transport{PeerID: "spiffe://d/svc/greedy", Answer: func(x *exchange.Exchange, _ string) error {
		clustertest.Respond(x, 503, "no")
		x.Response.Header.Set(HeaderRetried, "1000")
		return nil
	}}
	c := newTest(t, greedy, Config{}, "a:1", "b:1")
	x := newExchange("GET", "")
	x.Txn = &exchange.Txn{Retries: 5, Spent: new(atomic.Int32)}
	if f := c.Forward(x, &opts); f != nil || x.Attempts != 1 {
		t.Error(f, x.Attempts)
	}
	over(x)
	if got := int(x.Txn.Spent.Load()); got != opts.Attempts || got >= x.Txn.Retries {
		t.Errorf("%d of the transaction's %d retries are spent by a claim, at most %d were left to it", got, x.Txn.Retries, opts.Attempts)
	}
}

// A sidecar that had nobody to give a request to has it go elsewhere, whatever it
// is; only a mesh peer is believed, and what it says goes no further.
func TestWhatASidecarCouldNotGiveToItsAppGoesElsewhere(t *testing.T) {
	for _, c := range []struct {
		mesh        bool
		app, method string
		want        int
	}{{true, "unreached", "POST", 200}, {true, "reset", "POST", 502}, {true, "reset", "PUT", 200}, {true, "nonsense", "GET", 502}, {false, "unreached", "GET", 502}} {
		tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, address string) error {
			if x.Attempts == 1 {
				clustertest.Respond(x, 502, "no")
				x.Response.Header.Set(HeaderApp, c.app)
			} else {
				clustertest.Respond(x, 200, address)
			}
			return nil
		}}
		if c.mesh {
			tr.PeerID = "spiffe://d/svc/orders"
		}
		x := newExchange(c.method, "")
		f := newTest(t, tr, Config{}, "a:1", "b:1").Forward(x, &opts)
		if f != nil || x.Response.Status != c.want || c.mesh && x.Response.Header.Has(HeaderApp) {
			t.Errorf("%+v: %v, %d after %d attempts", c, f, x.Response.Status, x.Attempts)
		}
		over(x)
	}
}

// A body that has begun to go out is not there any more for another endpoint, even
// where the request as such could go there: engines count what they read of it
// only when all is over.
func TestABodyThatIsSpentGoesNowhereElse(t *testing.T) {
	for _, length := range []int64{9, -1} { // neither is kept for a retry
		var second []byte
		tr := &clustertest.Transport{PeerID: "spiffe://d/svc/orders", Answer: func(x *exchange.Exchange, _ string) error {
			if x.Attempts > 1 {
				second, _ = io.ReadAll(x.Request.Body)
				clustertest.Respond(x, 200, "ok")
				return nil
			}
			_, _ = io.ReadFull(x.Request.Body, make([]byte, 4))
			clustertest.Respond(x, 502, "no")
			x.Response.Header.Set(HeaderApp, "unreached")
			return nil
		}}
		x := newExchange("POST", "123456789")
		x.Request.Length = length
		if f := newTest(t, tr, Config{}, "a:1", "b:1").Forward(x, &opts); f != nil || x.Response.Status != 502 || x.Attempts != 1 {
			t.Errorf("length %d: %v, %d after %d attempts, the second had the body %q", length, f, x.Response.Status, x.Attempts, second)
		}
		over(x)
	}
}

// One that nobody has touched does go elsewhere.
func TestAnUntouchedBodyGoesElsewhere(t *testing.T) {
	tr := &clustertest.Transport{PeerID: "spiffe://d/svc/orders", Answer: func(x *exchange.Exchange, _ string) error {
		if x.Attempts > 1 {
			b, _ := io.ReadAll(x.Request.Body)
			clustertest.Respond(x, 200, string(b))
			return nil
		}
		clustertest.Respond(x, 502, "no")
		x.Response.Header.Set(HeaderApp, "unreached")
		return nil
	}}
	x := newExchange("POST", "123456789")
	if f := newTest(t, tr, Config{}, "a:1", "b:1").Forward(x, &opts); f != nil || x.Response.Status != 200 {
		t.Errorf("%v, %d", f, x.Response.Status)
	} else if b, _ := io.ReadAll(x.Response.Body); string(b) != "123456789" {
		t.Errorf("the second had the body %q", b)
	}
	over(x)
}

// Who is late to begin with the body, an attempt that was answered at once, takes
// none of it from the next attempt.
func TestALateReaderOfAnEarlierAttemptGetsNothing(t *testing.T) {
	var late io.Reader
	tr := &clustertest.Transport{PeerID: "spiffe://d/svc/orders", Answer: func(x *exchange.Exchange, _ string) error {
		if x.Attempts > 1 {
			if n, err := late.Read(make([]byte, 4)); n != 0 || err == nil || err == io.EOF {
				t.Errorf("the earlier attempt read %d bytes, %v", n, err)
			}
			b, _ := io.ReadAll(x.Request.Body)
			clustertest.Respond(x, 200, string(b))
			return nil
		}
		late = x.Request.Body
		clustertest.Respond(x, 502, "no")
		x.Response.Header.Set(HeaderApp, "unreached")
		return nil
	}}
	x := newExchange("POST", "123456789")
	if f := newTest(t, tr, Config{}, "a:1", "b:1").Forward(x, &opts); f != nil || x.Response.Status != 200 {
		t.Errorf("%v, %d", f, x.Response.Status)
	} else if b, _ := io.ReadAll(x.Response.Body); string(b) != "123456789" {
		t.Errorf("the second attempt had the body %q", b)
	}
	over(x)
}

// Calls of one transaction share what its caller left them.
func TestCallsOfATransactionShareItsRetries(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(*exchange.Exchange, string) error { return clustertest.Fault("reset", false) }}
	c := newTest(t, tr, Config{}, "a:1", "b:1", "c:1")
	spent := new(atomic.Int32)
	var attempts, spare []int
	for range 3 {
		x := newExchange("GET", "")
		x.Txn = &exchange.Txn{Retries: 3, Spent: spent}
		_ = c.Forward(x, &opts)
		attempts, spare = append(attempts, x.Attempts), append(spare, x.Spare)
		over(x)
	}
	if !slices.Equal(attempts, []int{3, 2, 1}) || !slices.Equal(spare, []int{0, 0, 0}) || spent.Load() != 3 {
		t.Errorf("attempts %v, left to those behind %v, spent %d", attempts, spare, spent.Load())
	}
}

// A retry that the service's budget refuses is not to be made by the caller either.
func TestARefusedRetryCountsWithTheTransaction(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(*exchange.Exchange, string) error { return clustertest.Fault("reset", false) }}
	c := newTest(t, tr, Config{RetryBudget: RetryBudgetConfig{Window: time.Minute}}, "a:1", "b:1")
	x := newExchange("GET", "")
	x.Txn = &exchange.Txn{Retries: 3, Spent: new(atomic.Int32)}
	if f := c.Forward(x, &opts); code(f) != "reset" || x.Attempts != 1 || x.Txn.Spent.Load() != 1 {
		t.Error(f, x.Attempts, x.Txn.Spent.Load())
	}
	over(x)
}

func TestRetryAfterIsHonouredWhenThereIsNobodyElse(t *testing.T) {
	for _, c := range []struct {
		endpoints []string
		after     string
		most      time.Duration
		attempts  int
		least     time.Duration
	}{
		{[]string{"a:1"}, "1", 2 * time.Second, 2, time.Second},
		{[]string{"a:1"}, "3", 2 * time.Second, 1, 0},
		{[]string{"a:1", "b:1"}, "3", time.Millisecond, 2, 0},
		{[]string{"a:1"}, "soon", time.Millisecond, 2, 0},
		{[]string{"a:1"}, "Wed, 21 Oct 2015 07:28:00 GMT", time.Millisecond, 2, 0},
		{[]string{"a:1"}, "Wed, 21 Oct 2065 07:28:00 GMT", time.Millisecond, 1, 0},
	} {
		tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
			clustertest.Respond(x, 503, "no")
			x.Response.Header.Set("Retry-After", c.after)
			return nil
		}}
		cl := newTest(t, tr, Config{}, c.endpoints...)
		o := opts
		o.Attempts, o.MaxBackoff = 1, c.most
		x, from := newExchange("GET", ""), time.Now()
		_ = cl.Forward(x, &o)
		if took := time.Since(from); x.Attempts != c.attempts || took < c.least {
			t.Errorf("%v Retry-After %s: %d attempts after %s", c.endpoints, c.after, x.Attempts, took)
		}
		over(x)
	}
}

func TestFailingGRPCCountsAgainstTheBreaker(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error { trailersOnly("14")(x); return nil }}
	c := newTest(t, tr, Config{Breaker: BreakerConfig{Enabled: true, Failures: 2, Open: time.Minute, Window: time.Minute, Trials: 1}}, "a:1")
	for _, want := range []string{"", "", "breaker-open"} {
		x := grpcCall("a")
		if f := c.Forward(x, &Options{}); code(f) != want {
			t.Errorf("%v, want %q", f, want)
		}
		over(x)
	}
}

func TestKeptBodies(t *testing.T) {
	for body, want := range map[string]bool{"": true, "12345678": true, "123456789": false} {
		k := &kept{ReadCloser: io.NopCloser(strings.NewReader(body)), limit: 8}
		if k.whole() {
			t.Error("whole before it was read")
		}
		b, err := io.ReadAll(k)
		if err != nil || string(b) != body || k.whole() != want || want && string(k.bytes) != body {
			t.Errorf("%q: read %q, whole %t, kept %q", body, b, k.whole(), k.bytes)
		}
	}
}
