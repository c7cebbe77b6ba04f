package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

// patient breaks after one failure, so that a miscounted one shows.
var patient = BreakerConfig{Enabled: true, Failures: 1, Window: time.Minute, Open: time.Minute, Trials: 1}

func TestAStalledUploadIsTheClientsFault(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		body := x.Request.Body
		go func() { _, _ = io.Copy(io.Discard, body) }() // as an engine's pump does, until the pipe is closed
		<-x.Context().Done()
		return clustertest.Fault("reset", false)
	}}
	c := newTest(t, tr, Config{Breaker: patient}, "a:1")
	o := opts
	o.Timeout = time.Second // the attempt must have begun by then
	x := newExchange("POST", "")
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	go func() { _, _ = io.WriteString(w, "abc") }() // and nothing more
	x.Request.Body, x.Request.Length = r, 100000
	if f := c.Forward(x, &o); code(f) != "upload-stalled" || f.Status != 408 || f.Source != exchange.FromClient {
		t.Errorf("%+v", f)
	}
	over(x)
	if c.State() != "closed" {
		t.Errorf("a slow client opened the breaker: %s", c.State())
	}
}

func TestAServiceThatDoesNotReadIsNotTheClientsFault(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		<-x.Context().Done()
		return clustertest.Fault("reset", false)
	}}
	c := newTest(t, tr, Config{Breaker: patient}, "a:1")
	o := opts
	o.Timeout = time.Second // the attempt must have begun by then
	x := newExchange("POST", "body")
	if f := c.Forward(x, &o); code(f) != "timeout" || f.Status != 504 {
		t.Errorf("%+v", f)
	}
	over(x)
	if c.State() != "open" {
		t.Errorf("a service that hangs did not open its breaker: %s", c.State())
	}
}

func TestACallerInAHurryOpensNoBreaker(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		<-x.Context().Done()
		return clustertest.Fault("reset", false)
	}}
	c := newTest(t, tr, Config{Breaker: patient}, "a:1")
	o := opts
	o.Timeout = time.Hour
	x := newExchange("GET", "")
	x.Txn = &exchange.Txn{Deadline: time.Now().Add(20 * time.Millisecond), Retries: -1}
	if f := c.Forward(x, &o); code(f) != "timeout" {
		t.Errorf("%+v", f)
	}
	over(x)
	if c.State() != "closed" {
		t.Errorf("a caller's own deadline opened the breaker: %s", c.State())
	}
}

// That all connections we allow ourselves are busy is what transports say when the
// wait for one has ended, which the route's timeout does.
func TestTheWaitForAConnectionIsNotTheEndpointsFault(t *testing.T) {
	tr := &clustertest.Transport{Connect: func(ctx context.Context, _ string) error {
		<-ctx.Done()
		return clustertest.Fault("pool-full", true)
	}}
	both := patient
	both.Per = "both"
	c := newTest(t, tr, Config{Breaker: both, Outlier: &Outlier{Consecutive: 1, Interval: time.Hour, Base: time.Hour, Longest: time.Hour, MaxEjected: 1}}, "a:1", "b:1")
	o := opts
	o.Timeout = 20 * time.Millisecond
	x := newExchange("GET", "")
	if f := c.Forward(x, &o); code(f) != "pool-full" {
		t.Errorf("%+v", f)
	}
	over(x)
	if s := c.Status(); s.Breaker != "closed" || s.Endpoints[0].Breaker != "closed" || s.Endpoints[1].Breaker != "closed" || s.Endpoints[0].State != "healthy" || s.Endpoints[1].State != "healthy" {
		t.Errorf("the service is blamed: %+v", s)
	}
	_ = c.Close()
}

// stalling sends nothing, until its exchange is over: so bodies of engines end.
type stalling struct{ x *exchange.Exchange }

func (s stalling) Read([]byte) (int, error) {
	<-s.x.Context().Done()
	return 0, fmt.Errorf("reading: %w", context.Cause(s.x.Context()))
}

func (stalling) Close() error { return nil }

func TestAnUploadThatIsKeptEndsWithTheRoutesTimeout(t *testing.T) {
	gone := errors.New("left")
	for name, want := range map[string]string{"timeout": "upload-stalled", "client": "client-gone"} {
		c := newTest(t, &clustertest.Transport{}, Config{Breaker: patient}, "a:1")
		o := opts
		o.Timeout = 50 * time.Millisecond
		x := newExchange("PUT", "1234")
		x.Request.Body = stalling{x}
		if name == "client" {
			o.Timeout = time.Hour
			life := x.Life()
			time.AfterFunc(20*time.Millisecond, func() { life.Cancel(gone) })
		}
		f := c.Forward(x, &o)
		if code(f) != want || f.Source != exchange.FromClient || x.Attempts != 0 {
			t.Errorf("%s: %+v, %d attempts", name, f, x.Attempts)
		}
		over(x)
	}
}

// The engine that sends the body on may hear of the timeout from the body first.
func TestAnUploadThatEndedWithTheTimeoutHasStalled(t *testing.T) {
	tr := &clustertest.Transport{Answer: func(x *exchange.Exchange, _ string) error {
		_, _ = io.Copy(io.Discard, x.Request.Body)
		return clustertest.Fault("reset", false)
	}}
	c := newTest(t, tr, Config{Breaker: patient}, "a:1")
	o := opts
	o.Timeout = 50 * time.Millisecond
	x := newExchange("POST", "1234")
	x.Request.Body = stalling{x}
	if f := c.Forward(x, &o); code(f) != "upload-stalled" || f.Status != 408 {
		t.Errorf("%+v", f)
	}
	over(x)
	if c.State() != "closed" {
		t.Errorf("a slow client opened the breaker: %s", c.State())
	}
}

// dribble is four bytes that take longer than the route allows.
type dribble struct{ n int }

func (d *dribble) Read(p []byte) (int, error) {
	if d.n++; d.n > 4 {
		return 0, io.EOF
	}
	time.Sleep(300 * time.Millisecond)
	p[0] = 'x'
	return 1, nil
}

func TestASlowUploadThatIsKeptForARetryBlamesNoEndpoint(t *testing.T) {
	c := newTest(t, &clustertest.Transport{}, Config{Breaker: patient}, "a:1")
	o := opts
	o.Timeout = 800 * time.Millisecond
	x := newExchange("PUT", "1234")
	x.Request.Body = io.NopCloser(&dribble{})
	if f := c.Forward(x, &o); code(f) != "upload-stalled" || f.Source != exchange.FromClient || x.Attempts != 0 {
		t.Errorf("%+v, %d attempts", f, x.Attempts)
	}
	over(x)
	if c.State() != "closed" {
		t.Errorf("a slow client opened the breaker: %s", c.State())
	}
}
