package cluster

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func TestAnAttemptThatTakesLongIsGivenUp(t *testing.T) {
	const ms = time.Millisecond
	perTry := Options{Timeout: time.Second, Attempts: 2, OnReset: true, Backoff: ms, MaxBackoff: ms, BufferBody: 8, PerTry: 100 * ms}
	for name, c := range map[string]struct {
		acts     []act
		change   func(x *exchange.Exchange, o *Options)
		body     string
		fault    string
		attempts int
		most     time.Duration
		failed   int // attempts held against endpoints
	}{
		"in time":                     {[]act{{takes: 99 * ms}}, nil, "from 1", "", 1, 99 * ms, 0},
		"the second is":               {[]act{{takes: time.Hour}, {takes: 50 * ms}}, nil, "from 2", "", 2, 151 * ms, 1},
		"the last has all the time":   {[]act{{takes: time.Hour}, {takes: time.Hour}, {takes: 700 * ms}}, nil, "from 3", "", 3, 902 * ms, 2},
		"none is":                     {[]act{{takes: time.Hour}}, nil, "", "timeout", 3, time.Second, 3},
		"no retries":                  {[]act{{takes: 500 * ms}}, func(_ *exchange.Exchange, o *Options) { o.Attempts = 0 }, "from 1", "", 1, 500 * ms, 0},
		"a method that is sent once":  {[]act{{takes: 500 * ms}}, func(x *exchange.Exchange, _ *Options) { x.Request.Method = "POST" }, "from 1", "", 1, 500 * ms, 0},
		"a body that streams":         {[]act{{takes: 500 * ms}}, func(x *exchange.Exchange, _ *Options) { *x = *newExchange("PUT", "123456789") }, "from 1", "", 1, 500 * ms, 0},
		"a body that is kept":         {[]act{{takes: 500 * ms}, {takes: ms}}, func(x *exchange.Exchange, _ *Options) { *x = *newExchange("PUT", "12345678") }, "from 2", "", 2, 102 * ms, 1},
		"a caller in a hurry":         {[]act{{takes: time.Hour}, {takes: ms}}, func(x *exchange.Exchange, _ *Options) { x.Due = time.Now().Add(300 * ms) }, "from 2", "", 2, 102 * ms, 1},
		"a caller in a greater hurry": {[]act{{takes: time.Hour}}, func(x *exchange.Exchange, _ *Options) { x.Due = time.Now().Add(50 * ms) }, "", "timeout", 1, 50 * ms, 0},
		"with a hedge that helps":     {[]act{{takes: time.Hour}, {takes: 5 * ms}}, func(_ *exchange.Exchange, o *Options) { o.Hedge = hedging.Hedge }, "from 2", "", 2, 15 * ms, 0},
		"with a hedge that does not":  {[]act{{takes: time.Hour}, {takes: time.Hour}, {takes: ms}}, func(_ *exchange.Exchange, o *Options) { o.Hedge = hedging.Hedge }, "from 3", "", 3, 102 * ms, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlays(c.acts...)
				cl := newTest(t, &p.Transport, Config{Outlier: &Outlier{FailureRate: 1, MinRequests: 100, Interval: time.Hour, MaxEjected: 1}}, "a:1", "b:1", "c:1")
				x, o := newExchange("GET", ""), perTry
				x.Start = time.Now()
				if c.change != nil {
					c.change(x, &o)
				}
				began := time.Now()
				fault := cl.Forward(x, &o)
				if took := time.Since(began); code(fault) != c.fault || x.Attempts != c.attempts || took > c.most {
					t.Errorf("%v after %d attempts and %v, want %q after %d and at most %v", fault, x.Attempts, took, c.fault, c.attempts, c.most)
				}
				if c.body != "" {
					if body, err := io.ReadAll(x.Response.Body); string(body) != c.body || err != nil {
						t.Errorf("%q %v", body, err)
					}
				}
				over(x)
				synctest.Wait()
				failed := 0
				for _, m := range cl.members {
					failed += int(m.bad.Load())
				}
				if failed != c.failed {
					t.Errorf("%d attempts count as failed, want %d", failed, c.failed)
				}
				if err := cl.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The exchange's end is that of the attempt, also once it has been answered.
func TestAnAttemptEndsWithItsExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := errors.New("left")
		for _, when := range []time.Duration{10 * time.Millisecond, 200 * time.Millisecond} {
			p := newPlays(act{takes: 50 * time.Millisecond})
			cl := newTest(t, &p.Transport, Config{}, "a:1", "b:1")
			x, o := newExchange("GET", ""), opts
			o.PerTry = 100 * time.Millisecond
			life := x.Life()
			time.AfterFunc(when, func() { life.Cancel(left) })
			fault := cl.Forward(x, &o)
			if when < 50*time.Millisecond {
				if code(fault) != "client-gone" {
					t.Error(fault)
				}
			} else {
				time.Sleep(when)
				if _, err := x.Response.Body.Read(make([]byte, 1)); !errors.Is(err, left) {
					t.Error(err)
				}
			}
			over(x)
		}
	})
}
