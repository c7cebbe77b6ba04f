package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

func newTest(t *testing.T, tr exchange.Transport, cfg Config, addresses ...string) *Cluster {
	cfg.Service, cfg.Transport = "orders", tr
	c := New(cfg)
	var eps []Endpoint
	for _, a := range addresses {
		eps = append(eps, Endpoint{Address: a})
	}
	c.Replace(eps)
	t.Cleanup(func() {
		s := c.Status()
		if s.InFlight != 0 || s.Connections != 0 {
			t.Errorf("left in flight: %+v", s)
		}
		for _, e := range s.Endpoints {
			if e.Busy != 0 {
				t.Errorf("%s is still busy: %d", e.Address, e.Busy)
			}
		}
	})
	return c
}

func newExchange(method, body string) *exchange.Exchange {
	x := &exchange.Exchange{}
	x.Request.Method = method
	if body != "" {
		x.Request.Body, x.Request.Length = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	return x
}

// over ends an exchange as the pipe and engine do.
func over(x *exchange.Exchange) { x.DropResponse(); x.RunDone() }

var opts = Options{Attempts: 2, OnConnect: true, OnReset: true, OnStatus: []int{503}, MaxBackoff: time.Millisecond, Backoff: time.Microsecond, BufferBody: 8}

func code(f *exchange.Fault) string {
	if f == nil {
		return ""
	}
	return f.Code
}

func TestRetryMatrix(t *testing.T) {
	const small, large = "12345678", "123456789"
	for _, c := range []struct {
		method, body, failure string
		attempts              int // how often it is sent when it always fails
	}{
		{"GET", "", "reset", 3}, {"HEAD", "", "reset", 3}, {"DELETE", "", "reset", 3}, {"PUT", small, "reset", 3}, {"PUT", large, "reset", 1},
		{"POST", "", "reset", 1}, {"POST", small, "reset", 1}, {"PATCH", "", "reset", 1}, {"LOCK", "", "reset", 1},
		{"GET", "", "503", 3}, {"POST", "", "503", 1}, {"PUT", small, "503", 3}, {"PUT", large, "503", 1}, {"GET", "", "500", 1},
		{"GET", "", "connect", 3}, {"POST", "", "connect", 3}, {"POST", large, "connect", 3}, {"POST", large, "connect-read", 1},
		{"GET", "", "stale", 5}, {"POST", "", "stale", 1}, {"PUT", small, "stale", 5}, {"PUT", large, "stale", 1}, {"POST", large, "stale-unsent", 5},
		{"GET", "", "bad-answer", 1}, {"GET", "", "client", 1}, {"GET", "", "other", 1},
	} {
		t.Run(fmt.Sprint(c.method, len(c.body), c.failure), func(t *testing.T) {
			var bodies []string
			tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
				if x.Response.Header.Len() != 0 || x.Response.Body != nil {
					t.Error("an earlier answer leaks into the next attempt")
				}
				if x.Request.Body != nil && c.failure != "connect" && c.failure != "stale-unsent" {
					b, _ := io.ReadAll(x.Request.Body)
					bodies = append(bodies, string(b))
				}
				switch c.failure {
				case "connect":
					return clustertest.Fault("connect", true)
				case "connect-read": // the body was read above
					return clustertest.Fault("connect", true)
				case "stale":
					return clustertest.Fault("stale-connection", false)
				case "stale-unsent":
					return clustertest.Fault("stale-connection", true)
				case "client":
					return &exchange.Fault{Source: exchange.FromClient, Code: "body-too-large", Retryable: true}
				case "other":
					return errors.New("what")
				case "503", "500":
					x.Response.Header.Add("X-Try", "1")
					clustertest.Respond(x, map[string]int{"503": 503, "500": 500}[c.failure], "no")
					return nil
				}
				return clustertest.Fault(c.failure, false)
			}}
			cl := newTest(t, tr, Config{}, "a:1", "b:1", "c:1")
			x := newExchange(c.method, c.body)
			f := cl.Forward(x, &opts)
			if x.Attempts != c.attempts {
				t.Errorf("%d attempts, want %d (%v)", x.Attempts, c.attempts, f)
			}
			if answered := c.failure == "503" || c.failure == "500"; (f == nil) != answered || answered && x.Response.Header.Count("X-Try") != 1 {
				t.Errorf("fault %v, response %+v", f, x.Response)
			}
			if slices.ContainsFunc(bodies, func(b string) bool { return b != c.body }) {
				t.Errorf("sent %q", bodies)
			}
			if c.attempts == 3 && len(tr.Calls()) != 3 {
				t.Errorf("a retry went where it had failed: %v", tr.Calls())
			}
			over(x)
		})
	}
}

func TestRetryThatSucceedsReleasesTheFirst(t *testing.T) {
	n := 0
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		if n++; n == 1 {
			clustertest.Respond(x, 503, "no")
		} else {
			clustertest.Respond(x, 200, "yes")
		}
		return nil
	}}
	c := newTest(t, tr, Config{}, "a:1", "b:1")
	x := newExchange("GET", "")
	var spare []int
	x.BeforeWrite = func(x *exchange.Exchange, _ *exchange.ConnInfo) error { spare = append(spare, x.Spare); return nil }
	if f := c.Forward(x, &opts); f != nil || x.Response.Status != 200 {
		t.Fatal(f)
	}
	if s := c.Status(); s.InFlight != 1 || tr.Open() != 1 || len(tr.Calls()) != 2 || !slices.Equal(spare, []int{2, 1}) {
		t.Errorf("%+v open %d spare %v", s, tr.Open(), spare)
	}
	over(x)
}

func TestCallersRetriesAndDeadlineAreRespected(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(*exchange.Exchange, string) error { return clustertest.Fault("reset", false) }}
	c := newTest(t, tr, Config{}, "a:1")
	for retries, want := range map[int]int{-1: 3, 0: 1, 1: 2, 9: 3} {
		x := newExchange("GET", "")
		x.Txn = &exchange.Txn{Retries: retries}
		if c.Forward(x, &opts); x.Attempts != want {
			t.Errorf("retries %d: %d attempts", retries, x.Attempts)
		}
		over(x)
	}
	x := newExchange("GET", "")
	x.Txn = &exchange.Txn{Retries: -1, Deadline: time.Now().Add(-time.Second)}
	if f := c.Forward(x, &opts); code(f) != "timeout" || x.Attempts != 0 {
		t.Error(f, x.Attempts)
	}
	over(x)
	// A pause that would outlast the deadline is not begun.
	o := opts
	o.Timeout, o.Backoff, o.MaxBackoff, o.Attempts = time.Minute, 1000*time.Hour, 1000*time.Hour, 5
	x = newExchange("GET", "")
	if f := c.Forward(x, &o); code(f) != "reset" || x.Attempts > 2 { // a pause begun would end as a timeout
		t.Error(f, x.Attempts)
	}
	over(x)
}

func TestTimeoutIs504AndNeverCutsABodyThatBegan(t *testing.T) {
	hang := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		<-x.Context().Done()
		return clustertest.Fault("reset", false)
	}}
	c := newTest(t, hang, Config{}, "a:1")
	o := opts
	o.Timeout = time.Second // the attempt must have begun by then
	x := newExchange("GET", "")
	if f := c.Forward(x, &o); code(f) != "timeout" || f.Status != 504 || x.Attempts != 1 || !x.Answered.IsZero() {
		t.Errorf("%+v", f)
	}
	over(x)
	// Heads that arrive around the deadline: either a timeout, or a context
	// that lives on.
	edge := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		time.Sleep(time.Until(x.Deadline))
		clustertest.Respond(x, 200, "late")
		return nil
	}}
	c = newTest(t, edge, Config{}, "a:1")
	o.Timeout = 200 * time.Microsecond
	for range 300 {
		x := newExchange("GET", "")
		if f := c.Forward(x, &o); f == nil {
			time.Sleep(100 * time.Microsecond) // give a late timer its chance
			if x.Context().Err() != nil {
				t.Fatal("the timeout cut an answer that had been accepted")
			}
		} else if code(f) != "timeout" {
			t.Fatal(f)
		}
		over(x)
	}
}

func TestClientGoneIs499AndNotTheServicesFault(t *testing.T) {
	var leave func()
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		leave() // while the service is asked
		<-x.Context().Done()
		return clustertest.Fault("reset", false)
	}}
	c := newTest(t, tr, Config{Breaker: BreakerConfig{Enabled: true, Failures: 1, Window: time.Minute, Open: time.Minute, Trials: 1}}, "a:1")
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		leave = cancel
		x := newExchange("GET", "")
		x.Begin(ctx)
		if f := c.Forward(x, &opts); code(f) != "client-gone" || f.Status != 499 || f.Source != exchange.FromClient || x.Attempts != 1 {
			t.Errorf("%+v", f)
		}
		over(x)
	}
	if c.State() != "closed" {
		t.Error(c.State())
	}
}

func TestClientGoneWhilePausingAfterAStatus(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		clustertest.Respond(x, 503, "no")
		time.AfterFunc(50*time.Millisecond, cancel)
		return nil
	}}
	c := newTest(t, tr, Config{}, "a:1")
	o := opts
	o.Backoff, o.MaxBackoff = 1000*time.Hour, 1000*time.Hour
	x := newExchange("GET", "")
	x.Begin(ctx)
	if f := c.Forward(x, &o); code(f) != "client-gone" || x.Response.Body != nil {
		t.Error(f)
	}
	over(x)
}

func TestNoEndpointIs503(t *testing.T) {
	c := newTest(t, &clustertest.Transport{}, Config{})
	x := newExchange("GET", "")
	if f := c.Forward(x, &opts); code(f) != "no-endpoint" || f.Status != 503 || f.RetryAfter == 0 || x.Attempts != 0 {
		t.Errorf("%+v", f)
	}
	over(x)
}

func TestBodyThatEndsEarlyIsTheClientsFault(t *testing.T) {
	c := newTest(t, &clustertest.Transport{}, Config{}, "a:1")
	x := newExchange("PUT", "1234")
	x.Request.Length = 8
	if f := c.Forward(x, &opts); code(f) != "body-incomplete" || f.Status != 400 || x.Attempts != 0 {
		t.Errorf("%+v", f)
	}
	over(x)
	x = newExchange("PUT", "1234")
	x.Request.Body = io.NopCloser(io.MultiReader(strings.NewReader("1"), broken{}))
	if f := c.Forward(x, &opts); code(f) != "engine-says" {
		t.Errorf("%+v", f)
	}
	over(x)
}

// A filter that makes a body longer and does not say so sends no half of it.
func TestBodyLongerThanItSaysIsNotCutShort(t *testing.T) {
	c := newTest(t, &clustertest.Transport{}, Config{}, "a:1")
	x := newExchange("PUT", "1234")
	x.Request.Length = 3
	if f := c.Forward(x, &opts); code(f) != "internal" || x.Attempts != 0 {
		t.Errorf("%+v", f)
	}
	over(x)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, &exchange.Fault{Code: "engine-says"} }

func TestPanicsAndRefusalsGiveEverythingBack(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(*exchange.Exchange, string) error { panic("transport") }}
	c := newTest(t, tr, Config{Breaker: BreakerConfig{Enabled: true, Failures: 9}}, "a:1")
	for _, before := range []func(*exchange.Exchange, *exchange.ConnInfo) error{nil, func(*exchange.Exchange, *exchange.ConnInfo) error { panic("before") },
		func(*exchange.Exchange, *exchange.ConnInfo) error { return errors.New("no key") }} {
		x := newExchange("GET", "")
		x.BeforeWrite = before
		func() {
			defer func() { _ = recover() }()
			if f := c.Forward(x, &opts); code(f) != "internal" || f.Status != 500 {
				t.Errorf("%+v", f)
			}
		}()
		over(x) // the cleanup of newTest looks at the counters
	}
}

func TestPauseStaysWithinBounds(t *testing.T) {
	for n := 1; n < 100; n++ {
		for range 50 {
			if d := pause(&Options{Backoff: 10 * time.Millisecond, MaxBackoff: 80 * time.Millisecond}, n); d < 0 || d > time.Duration(min(80, 10<<min(n-1, 10)))*time.Millisecond {
				t.Fatal(n, d)
			}
		}
		for _, o := range []Options{{}, {Backoff: -1, MaxBackoff: -1}, {MaxBackoff: time.Hour}, {Backoff: time.Second}} {
			if d := pause(&o, n); d != 0 {
				t.Fatal(o, n, d)
			}
		}
		pause(&Options{Backoff: 1 << 62, MaxBackoff: 1 << 62}, n)
	}
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	var mu sync.Mutex
	failing := true
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if failing {
			return clustertest.Fault("reset", false)
		}
		clustertest.Respond(x, 200, "ok")
		return nil
	}}
	c := newTest(t, tr, Config{Breaker: BreakerConfig{Enabled: true, Failures: 3, Window: time.Minute, Open: time.Second, Trials: 2}}, "a:1")
	send := func() *exchange.Fault {
		x := newExchange("POST", "")
		defer over(x)
		return c.Forward(x, &opts)
	}
	for range 3 {
		if f := send(); code(f) != "reset" {
			t.Fatal(f)
		}
	}
	if f := send(); code(f) != "breaker-open" || f.Status != 503 || f.RetryAfter < time.Second || c.State() != "open" {
		t.Fatal(f, c.State())
	}
	wait := func(state string) {
		for until := time.Now().Add(30 * time.Second); c.State() != state; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%s, never %s", c.State(), state)
			}
		}
	}
	wait("half-open")
	if f := send(); code(f) != "reset" || c.State() != "open" {
		t.Fatal("a failed trial must open it again", f, c.State())
	}
	wait("half-open")
	mu.Lock()
	failing = false
	mu.Unlock()
	for range 2 {
		if f := send(); f != nil {
			t.Fatal(f)
		}
	}
	if c.State() != "closed" {
		t.Fatal(c.State())
	}
}

func TestBreakerCountsSharesOfWhatWasAnswered(t *testing.T) {
	statuses := []int{200, 200, 503, 503}
	i := 0
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		clustertest.Respond(x, statuses[i], "")
		i++
		return nil
	}}
	c := newTest(t, tr, Config{Breaker: BreakerConfig{Enabled: true, FailureRate: 0.5, MinRequests: 4, Window: time.Minute, Open: time.Minute, Trials: 1}}, "a:1")
	for n := range statuses {
		if c.State() != "closed" {
			t.Fatal("open after", n)
		}
		x := newExchange("POST", "")
		c.Forward(x, &opts)
		over(x)
	}
	if c.State() != "open" {
		t.Error(c.State())
	}
}
