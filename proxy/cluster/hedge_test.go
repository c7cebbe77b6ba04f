package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// plays is a transport whose n-th request, whomever it goes to, does what the
// n-th of its acts says.
type plays struct {
	clustertest.Transport
	n     atomic.Int32
	ended atomic.Int32 // acts that were cancelled
	seen  []*exchange.Exchange
}

// act is how one attempt goes: it takes some time, and then fails or answers.
type act struct {
	takes  time.Duration
	fails  string
	status int
}

func newPlays(acts ...act) *plays {
	p := &plays{seen: make([]*exchange.Exchange, len(acts))}
	p.Answer = func(x *exchange.Exchange, address string) error {
		n := int(p.n.Add(1)) - 1
		a := acts[min(n, len(acts)-1)]
		if n < len(acts) {
			p.seen[n] = x
		}
		if err := x.Sleep(a.takes); err != nil {
			p.ended.Add(1)
			return &exchange.Fault{Source: exchange.FromUpstream, Status: 502, Code: "reset", Err: err}
		}
		if a.fails != "" {
			return clustertest.Fault(a.fails, false)
		}
		x.Response.Header.Add("X-From", address)
		clustertest.Respond(x, max(a.status, 200), "from "+fmt.Sprint(n+1))
		x.Response.Body = trailed{x.Response.Body, x}
		return nil
	}
	return p
}

// trailed is a body with trailers.
type trailed struct {
	io.ReadCloser
	x *exchange.Exchange
}

func (b trailed) Read(p []byte) (int, error) {
	if b.x.Ended() != nil {
		return 0, b.x.Ended() // as transports do
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && b.x.Response.Trailer.Len() == 0 {
		b.x.Response.Trailer.Add("X-End", "yes")
	}
	return n, err
}

var hedging = Options{Timeout: time.Second, OnStatus: []int{503}, Backoff: time.Millisecond, MaxBackoff: time.Millisecond, BufferBody: 8,
	Hedge: HedgeAfter(10*time.Millisecond, []string{"GET", "HEAD"})}

func TestWhichOfTwoAttemptsCounts(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		acts     []act
		retries  int
		body     string // "" for a fault
		fault    string
		attempts int
		took     time.Duration
		counts   HedgeStatus
		ended    int32 // attempts that were cancelled
	}{
		"the first is in time":           {[]act{{takes: 9 * ms}}, 0, "from 1", "", 1, 9 * ms, HedgeStatus{}, 0},
		"the first fails in time":        {[]act{{takes: 9 * ms, fails: "reset"}}, 0, "", "reset", 1, 9 * ms, HedgeStatus{}, 0},
		"the second overtakes":           {[]act{{takes: 500 * ms}, {takes: 5 * ms}}, 0, "from 2", "", 2, 15 * ms, HedgeStatus{Won: 1}, 1},
		"the first comes before":         {[]act{{takes: 14 * ms}, {takes: 5 * ms}}, 0, "from 1", "", 2, 14 * ms, HedgeStatus{Lost: 1}, 1},
		"the second fails":               {[]act{{takes: 50 * ms}, {takes: 5 * ms, fails: "reset"}}, 0, "from 1", "", 2, 50 * ms, HedgeStatus{Failed: 1}, 0},
		"the second answers badly":       {[]act{{takes: 50 * ms}, {takes: 5 * ms, status: 500}}, 0, "from 1", "", 2, 50 * ms, HedgeStatus{Failed: 1}, 0},
		"the first fails":                {[]act{{takes: 12 * ms, fails: "reset"}, {takes: 50 * ms}}, 0, "from 2", "", 2, 60 * ms, HedgeStatus{Won: 1}, 0},
		"the first answers badly":        {[]act{{takes: 12 * ms, status: 503}, {takes: 50 * ms}}, 0, "from 2", "", 2, 60 * ms, HedgeStatus{Won: 1}, 0},
		"both fail":                      {[]act{{takes: 12 * ms, fails: "reset"}, {takes: 5 * ms, fails: "reset"}}, 0, "", "reset", 2, 15 * ms, HedgeStatus{Failed: 1}, 0},
		"both answer badly":              {[]act{{takes: 12 * ms, status: 503}, {takes: 5 * ms, status: 500}}, 0, "from 1", "", 2, 15 * ms, HedgeStatus{Failed: 1}, 0},
		"neither answers":                {[]act{{takes: time.Hour}, {takes: time.Hour}}, 0, "", "timeout", 2, time.Second, HedgeStatus{Failed: 1}, 2},
		"a retry after both":             {[]act{{takes: 12 * ms, status: 503}, {takes: 3 * ms, status: 503}, {takes: 30 * ms}}, 1, "from 3", "", 3, 0, HedgeStatus{Failed: 1}, 0},
		"a retry that takes long":        {[]act{{takes: 1 * ms, status: 503}, {takes: 500 * ms}, {takes: ms}}, 1, "from 3", "", 3, 0, HedgeStatus{Won: 1}, 1},
		"a stale connection is replaced": {[]act{{takes: 500 * ms}, {fails: "stale-connection"}, {takes: 5 * ms}}, 0, "from 3", "", 2, 15 * ms, HedgeStatus{Won: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlays(c.acts...)
				cl := newTest(t, &p.Transport, Config{}, "a:1", "b:1", "c:1")
				o := hedging
				o.Attempts, o.OnReset = c.retries, c.retries > 0
				x := newExchange("GET", "")
				began := time.Now()
				fault := cl.Forward(x, &o)
				took := time.Since(began)
				if code(fault) != c.fault || x.Attempts != c.attempts || c.took != 0 && took != c.took {
					t.Errorf("%q after %d attempts and %v, want %q after %d and %v", code(fault), x.Attempts, took, c.fault, c.attempts, c.took)
				}
				if c.body != "" {
					body, err := io.ReadAll(x.Response.Body)
					if string(body) != c.body || err != nil || x.Response.Trailer.Get("X-End") != "yes" || x.Response.Trailer.Len() != 1 {
						t.Errorf("%q %v, trailers %v", body, err, x.Response.Trailer)
					}
					if from := x.Response.Header.Get("X-From"); from != x.Endpoint || x.Response.Header.Len() != 1 || x.Response.Length != int64(len(body)) {
						t.Errorf("header %v, endpoint %s", x.Response.Header, x.Endpoint)
					}
					if x.Answered.Sub(x.Sent) <= 0 || x.Answered.After(time.Now()) {
						t.Errorf("sent %v, answered %v", x.Sent, x.Answered)
					}
				}
				over(x)
				synctest.Wait()
				if s := cl.Status(); s.Hedges != c.counts || p.ended.Load() != c.ended {
					t.Errorf("%+v, want %+v; %d were cancelled, want %d", s.Hedges, c.counts, p.ended.Load(), c.ended)
				}
				if n := len(cl.lineup.Load().members); n != 3 {
					t.Errorf("%d endpoints", n)
				}
			})
		})
	}
}

// The attempt that was not needed is held against nobody.
func TestWhatWasGivenUpBlamesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, slow := range []time.Duration{time.Minute, 14 * time.Millisecond} { // the second wins, the first does
			p := newPlays(act{takes: slow}, act{takes: 6 * time.Millisecond})
			cl := newTest(t, &p.Transport, Config{
				Breaker: BreakerConfig{Enabled: true, Per: "both", Failures: 1, Open: time.Hour, Window: time.Hour, Trials: 1},
				Outlier: &Outlier{Consecutive: 1, Interval: time.Hour, Base: time.Hour, Longest: time.Hour, MaxEjected: 1},
				Limit:   &LimitConfig{Max: 2, QueueTimeout: time.Second},
			}, "a:1", "b:1")
			x := newExchange("GET", "")
			if f := cl.Forward(x, &hedging); f != nil {
				t.Fatal(f)
			}
			if n := cl.Status().Concurrency.Busy; slow == time.Minute && n != 1 {
				t.Errorf("%d in progress once it was decided", n)
			}
			over(x)
			synctest.Wait()
			s := cl.Status()
			if s.Breaker != "closed" || s.Ejections != 0 || s.Endpoints[0].Breaker != "closed" || s.Endpoints[1].Breaker != "closed" || s.Concurrency.Busy != 0 {
				t.Errorf("%+v", s)
			}
			if err := cl.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestWhatIsNotSentTwice(t *testing.T) {
	late := act{takes: 100 * time.Millisecond}
	txn := func(retries int) *exchange.Txn { return &exchange.Txn{Retries: retries, Spent: new(atomic.Int32)} }
	for name, c := range map[string]struct {
		cfg      Config
		only     bool // one endpoint
		change   func(x *exchange.Exchange, o *Options)
		attempts int
		refused  uint64
	}{
		"a GET is":                 {change: func(*exchange.Exchange, *Options) {}, attempts: 2},
		"another method":           {change: func(x *exchange.Exchange, _ *Options) { x.Request.Method = "DELETE" }, attempts: 1},
		"an upgrade":               {change: func(x *exchange.Exchange, _ *Options) { x.Request.Upgrade = "websocket" }, attempts: 1},
		"a mirrored copy":          {change: func(x *exchange.Exchange, _ *Options) { x.Mirror = true }, attempts: 1},
		"a body that streams":      {change: func(x *exchange.Exchange, _ *Options) { *x = *newExchange("GET", "12345678"); x.Request.Length = -1 }, attempts: 1},
		"a body that is too large": {change: func(x *exchange.Exchange, _ *Options) { *x = *newExchange("GET", "123456789") }, attempts: 1},
		"a kept body is":           {change: func(x *exchange.Exchange, _ *Options) { *x = *newExchange("GET", "12345678") }, attempts: 2},
		"a declared POST is": {change: func(x *exchange.Exchange, o *Options) {
			*x = *newExchange("POST", "12345678")
			o.Hedge = HedgeAfter(time.Millisecond, []string{"POST"})
		}, attempts: 2},
		"where nobody else is":       {only: true, change: func(*exchange.Exchange, *Options) {}, attempts: 1, refused: 1},
		"beyond the retry budget":    {cfg: Config{RetryBudget: RetryBudgetConfig{Ratio: 0.5, Window: time.Second}}, change: func(*exchange.Exchange, *Options) {}, attempts: 1, refused: 1},
		"beyond the limit":           {cfg: Config{Limit: &LimitConfig{Max: 1}}, change: func(*exchange.Exchange, *Options) {}, attempts: 1, refused: 1},
		"beyond the purse":           {change: func(x *exchange.Exchange, _ *Options) { x.Txn = txn(0) }, attempts: 1, refused: 1},
		"within the purse is":        {change: func(x *exchange.Exchange, _ *Options) { x.Txn = txn(1) }, attempts: 2},
		"while too little is known":  {change: func(_ *exchange.Exchange, o *Options) { o.Hedge = HedgeBeyond(0.9, []string{"GET"}) }, attempts: 1},
		"within a limit that is one": {cfg: Config{Limit: &LimitConfig{Max: 2}}, change: func(*exchange.Exchange, *Options) {}, attempts: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlays(late)
				bodies := make(chan string, 2)
				sends := p.Answer
				p.Answer = func(x *exchange.Exchange, address string) error {
					if x.Request.Body != nil {
						b, _ := io.ReadAll(x.Request.Body)
						bodies <- string(b)
					}
					return sends(x, address)
				}
				all := []string{"a:1", "b:1"}
				if c.only {
					all = all[:1]
				}
				cl := newTest(t, &p.Transport, c.cfg, all...)
				x, o := newExchange("GET", ""), hedging
				c.change(x, &o)
				txn := x.Txn
				if f := cl.Forward(x, &o); f != nil {
					t.Fatal(f)
				}
				over(x)
				synctest.Wait()
				if n := int(p.n.Load()); n != c.attempts || x.Attempts != n || cl.Status().Hedges.Refused != c.refused {
					t.Errorf("%d sent, %d counted, %+v", n, x.Attempts, cl.Status().Hedges)
				}
				if calls := p.Calls(); c.attempts == 2 && (calls["a:1"] != 1 || calls["b:1"] != 1) {
					t.Errorf("both went to one: %v", calls)
				}
				if txn != nil && int(txn.Spent.Load()) != c.attempts-1 {
					t.Errorf("%d spent of the purse", txn.Spent.Load())
				}
				close(bodies)
				for b := range bodies {
					if want := "12345678"; b != want && c.attempts == 2 {
						t.Errorf("the service got %q", b)
					}
				}
			})
		})
	}
}

// What a second attempt is told: as much time as is left, no retries, the user.
func TestWhatASecondAttemptCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlays(act{takes: time.Minute}, act{takes: time.Millisecond})
		cl := newTest(t, &p.Transport, Config{}, "a:1", "b:1")
		o := hedging
		o.Attempts, o.DeadlineTo = 3, "X-Left-Ms"
		x := newExchange("GET", "")
		x.Request.Path, x.Identity = "/p", &exchange.Identity{Subject: "ada"}
		var hops []string
		x.BeforeWrite = func(x *exchange.Exchange, _ *exchange.ConnInfo) error {
			x.Request.Header.Set("Hop", fmt.Sprint(x.Spare))
			hops = append(hops, x.Request.Header.Get("Hop")+" "+x.Request.Header.Get("X-Left-Ms"))
			return nil
		}
		if f := cl.Forward(x, &o); f != nil {
			t.Fatal(f)
		}
		y := p.seen[1]
		if y == x || y.Request.Path != "/p" || y.Request.Method != "GET" || y.Identity.Subject != "ada" || y.Request.Header.Count("Hop") != 1 || x.Request.Header.Get("Hop") != "3" {
			t.Errorf("%+v", y.Request)
		}
		if len(hops) != 2 || hops[0] != "3 1000" || hops[1] != "0 990" {
			t.Errorf("%v", hops)
		}
		over(x)
	})
}

func TestWhoGoesAwayEndsBothAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlays(act{takes: time.Hour})
		cl := newTest(t, &p.Transport, Config{}, "a:1", "b:1")
		x := newExchange("GET", "")
		life := x.Life()
		time.AfterFunc(50*time.Millisecond, func() { life.Cancel(errors.New("left")) })
		if f := cl.Forward(x, &hedging); code(f) != "client-gone" {
			t.Errorf("%v", f)
		}
		over(x)
		synctest.Wait()
		if p.n.Load() != 2 || p.ended.Load() != 2 {
			t.Errorf("%d attempts, %d ended", p.n.Load(), p.ended.Load())
		}
	})
}

// A body that is read after the decision ends with the exchange, whoever won.
func TestAHedgedAnswerEndsWithItsExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, first := range []time.Duration{time.Millisecond, 12 * time.Millisecond, time.Hour} {
			p := newPlays(act{takes: first}, act{takes: 5 * time.Millisecond})
			cl := newTest(t, &p.Transport, Config{}, "a:1", "b:1")
			x := newExchange("GET", "")
			if f := cl.Forward(x, &hedging); f != nil {
				t.Fatal(f)
			}
			one := make([]byte, 1)
			if n, err := x.Response.Body.Read(one); n != 1 || err != nil {
				t.Errorf("%v: %d %v", first, n, err)
			}
			left := errors.New("left")
			x.Cancel(left)
			if _, err := x.Response.Body.Read(one); !errors.Is(err, left) {
				t.Errorf("%v: %v", first, err)
			}
			over(x)
		}
	})
}

// A gRPC service that is unavailable says so with status 200, which is no good
// answer.
func TestUnavailableIsNoGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, late := range []int32{1, 2} {
			p := newPlays(act{takes: 20 * time.Millisecond})
			sends := p.Answer
			p.Answer = func(x *exchange.Exchange, address string) error {
				if p.n.Load()+1 == late {
					p.n.Add(1)
					_ = x.Sleep(50 * time.Millisecond)
					x.Response.Header.Add("Grpc-Status", "0")
					clustertest.Respond(x, 200, "fine")
					return x.Ended()
				}
				x.Response.Header.Add("Grpc-Status", "14")
				return sends(x, address)
			}
			cl := newTest(t, &p.Transport, Config{}, "a:1", "b:1")
			x, o := newExchange("POST", "12345678"), hedging
			x.Request.Proto = "HTTP/2.0"
			x.Request.Header.Add("Content-Type", "application/grpc")
			o.Hedge = HedgeAfter(10*time.Millisecond, []string{"POST"})
			if f := cl.Forward(x, &o); f != nil || x.Response.Header.Get("Grpc-Status") != "0" {
				t.Errorf("%d: %v %v", late, f, x.Response.Header)
			}
			over(x)
			synctest.Wait()
		}
	})
}

// A retry goes where neither of two attempts has failed.
func TestARetryAfterTwoAttemptsGoesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, second := range []act{{takes: 3 * time.Millisecond, status: 503}, {takes: 3 * time.Millisecond, fails: "reset"}} {
			for range 20 {
				p := newPlays(act{takes: 12 * time.Millisecond, status: 503}, second, act{})
				cl := newTest(t, &p.Transport, Config{}, "a:1", "b:1", "c:1")
				x, o := newExchange("GET", ""), hedging
				o.Attempts = 1
				if f := cl.Forward(x, &o); f != nil || x.Response.Status != 200 {
					t.Error(f, x.Response.Status)
				}
				if calls := p.Calls(); len(calls) != 3 {
					t.Errorf("asked were %v", calls)
				}
				over(x)
			}
		}
	})
}

// An attempt that was over by itself took no longer than that.
func TestHowLongTheFirstAttemptTook(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		first         act
		cost, usually time.Duration
	}{
		"given up": {act{takes: time.Minute}, 510 * ms, 510 * ms},
		"answered": {act{takes: 20 * ms, status: 500}, 20 * ms, 500 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlays(c.first, act{takes: 500 * ms})
				cl := newTest(t, &p.Transport, Config{Balance: "peak_ewma"}, "a:1", "b:1")
				first := ""
				p.Connect = func(_ context.Context, address string) error {
					if first == "" {
						first = address
					}
					return nil
				}
				x, o := newExchange("GET", ""), hedging
				usual := &quantile{q: 0.5}
				o.Hedge = &Hedge{Methods: o.Hedge.Methods, after: 10 * ms}
				x.BeforeWrite = func(y *exchange.Exchange, _ *exchange.ConnInfo) error {
					if y == x {
						o.Hedge.usual = usual // how long to wait is known by now
					}
					return nil
				}
				if f := cl.Forward(x, &o); f != nil {
					t.Fatal(f)
				}
				for _, m := range cl.lineup.Load().members {
					if got := time.Duration(math.Float64frombits(m.cost.nanos.Load())); m.Address == first && got.Round(ms) != c.cost {
						t.Errorf("the endpoint is thought to take %v, want %v", got, c.cost)
					}
				}
				if got := time.Duration(math.Float64frombits(usual.nanos.Load())); got.Round(ms) != c.usually {
					t.Errorf("usual is %v, want %v", got, c.usually)
				}
				over(x)
			})
		})
	}
}

func TestPanicsInHedgedAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, which := range []int32{1, 2} {
			p := newPlays(act{takes: 20 * time.Millisecond})
			sends := p.Answer
			p.Answer = func(x *exchange.Exchange, address string) error {
				if p.n.Load()+1 == which {
					p.n.Add(1)
					_ = x.Sleep(15 * time.Millisecond)
					panic("of a test")
				}
				return sends(x, address)
			}
			cl := newTest(t, &p.Transport, Config{}, "a:1", "b:1")
			x := newExchange("GET", "")
			func() {
				defer func() {
					if v := recover(); (v != nil) != (which == 1) {
						t.Errorf("%d: %v", which, v)
					}
				}()
				if f := cl.Forward(x, &hedging); f != nil {
					t.Error(f)
				}
			}()
			over(x)
			synctest.Wait()
		}
	})
}

// Nobody waits for the end of the second attempt's answer when the first panics
// after all.
func TestAPanicDoesNotWaitForTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlays(act{takes: time.Millisecond})
		sends, closed := p.Answer, make(chan bool)
		p.Answer = func(x *exchange.Exchange, address string) error {
			if p.n.CompareAndSwap(0, 1) {
				_ = x.Sleep(time.Hour)
				panic("of a test")
			}
			err := sends(x, address)
			x.Response.Body = closing{x.Response.Body, closed}
			return err
		}
		cl := newTest(t, &p.Transport, Config{Limit: &LimitConfig{Max: 2}}, "a:1", "b:1")
		x := newExchange("GET", "")
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = cl.Forward(x, &hedging)
		}()
		over(x)
		close(closed)
		synctest.Wait()
		if n := cl.Status().Concurrency.Busy; n != 0 {
			t.Errorf("%d in progress", n)
		}
	})
}

// closing is a body whose end takes until something else has happened.
type closing struct {
	io.ReadCloser
	after chan bool
}

func (c closing) Close() error {
	<-c.after
	return c.ReadCloser.Close()
}

func TestAQuantileFollowsWhatItSees(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, q := range []float64{0.5, 0.9, 0.95, 0.99} {
		e := quantile{q: q}
		draw := func(mean float64) time.Duration {
			return time.Duration(rng.ExpFloat64() * mean * float64(time.Millisecond))
		}
		above := func(mean float64, n int) float64 {
			more := 0
			for range n {
				d := draw(mean)
				if d > e.value() {
					more++
				}
				e.observe(d)
			}
			return float64(more) / float64(n)
		}
		for range quantileLearns - 1 {
			e.observe(draw(5))
		}
		if e.value() != 0 {
			t.Errorf("p%g: a value after too few", 100*q)
		}
		for _, mean := range []float64{5, 50, 0.5} {
			above(mean, 5000) // learns
			if share := above(mean, 20_000); share < 0.8*(1-q) || share > 1.25*(1-q) {
				t.Errorf("p%g, mean %g ms: %.2f%% are above %v", 100*q, mean, 100*share, e.value())
			}
		}
	}
}

// With a quantile, few are sent twice, and those are the slow ones.
func TestAHedgeAfterAQuantile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // of rng
		rng := rand.New(rand.NewPCG(3, 4))
		tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
			mu.Lock()
			d := 10*time.Millisecond + time.Duration(rng.IntN(1000))*time.Microsecond
			if rng.Float64() < 0.04 {
				d += time.Second
			}
			mu.Unlock()
			if err := x.Sleep(d); err != nil {
				return err
			}
			clustertest.Respond(x, 200, "ok")
			return nil
		}}
		cl := newTest(t, tr, Config{}, "a:1", "b:1")
		o := hedging
		o.Timeout, o.Hedge = 10*time.Second, HedgeBeyond(0.95, []string{"GET"})
		slow, n := 0, 3000
		for i := range n {
			x := newExchange("GET", "")
			began := time.Now()
			if f := cl.Forward(x, &o); f != nil {
				t.Fatal(f)
			}
			if took := time.Since(began); i > 500 && took > 100*time.Millisecond {
				slow++
			}
			over(x)
			synctest.Wait()
		}
		h := cl.Status().Hedges
		if sent := h.Won + h.Lost + h.Failed; sent > uint64(n)/10 || sent < uint64(n)/50 {
			t.Errorf("%+v", h)
		}
		if slow > 20 { // of 100 without
			t.Errorf("%d took long; %+v", slow, h)
		}
	})
}
