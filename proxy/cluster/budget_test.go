package cluster

import (
	"context"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
)

func TestRetryBudgetIsAShareOfTheWindowAndAFew(t *testing.T) {
	b := newRetryBudget(RetryBudgetConfig{Ratio: 0.2, Window: 10 * time.Second, MinPerSecond: 0.5})
	now := time.Now()
	take := func(at time.Time) (n int) {
		for b.withdraw(at) {
			n++
		}
		return n
	}
	if n := take(now); n != 5 {
		t.Errorf("%d retries without any request, want 0.5 a second for 10 s", n)
	}
	for range 100 {
		b.deposit(now)
	}
	if n := take(now); n != 20 {
		t.Errorf("%d retries for 100 requests, want 20", n)
	}
	if n := take(now.Add(8 * time.Second)); n != 0 {
		t.Errorf("%d retries while the window holds those before", n)
	}
	if n := take(now.Add(11 * time.Second)); n != 5 {
		t.Errorf("%d retries in a new window, want the 5 again", n)
	}
	if b.retries.Load() != 30 || b.exhausted.Load() != 4 {
		t.Errorf("counted %d retries, %d refused", b.retries.Load(), b.exhausted.Load())
	}
	b.deposit(now) // long past by now: it must not disturb the newer slot
	if n := take(now.Add(11 * time.Second)); n != 0 {
		t.Errorf("an old request gave %d retries", n)
	}
	var none *retryBudget
	if none.deposit(now); !none.withdraw(now) || newRetryBudget(RetryBudgetConfig{}) != nil {
		t.Error("no budget must cap nothing")
	}
}

func TestRetryBudgetHoldsUnderConcurrency(t *testing.T) {
	b := newRetryBudget(RetryBudgetConfig{Ratio: 0.2, Window: time.Minute})
	now := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				b.deposit(now)
				b.withdraw(now)
				b.withdraw(now)
			}
		})
	}
	wg.Wait()
	if n := b.retries.Load(); n > 1600 || n < 1500 {
		t.Errorf("%d retries of 8000 requests, want up to 1600", n)
	}
}

func TestAFailingServiceIsNotRetriedBeyondItsBudget(t *testing.T) {
	for _, c := range []struct {
		budget   RetryBudgetConfig
		min, max int
	}{{RetryBudgetConfig{}, 3000, 3000}, {RetryBudgetConfig{Ratio: 0.2, Window: time.Minute}, 1150, 1200}} {
		sent := 0
		tr := &clustertest.Transport{Answer: func(*exchange.Exchange, string) error { sent++; return clustertest.Fault("reset", false) }}
		cl := newTest(t, tr, Config{RetryBudget: c.budget}, "a:1", "b:1", "c:1")
		for range 1000 {
			x := newExchange("GET", "")
			if f := cl.Forward(x, &opts); code(f) != "reset" {
				t.Fatal(f)
			}
			over(x)
		}
		if sent < c.min || sent > c.max {
			t.Errorf("%+v: 1000 requests became %d, want %d to %d", c.budget, sent, c.min, c.max)
		}
	}
}

// A dead endpoint is hidden from all requests, however many happen to go there.
func TestADeadEndpointCostsNothingOfTheBudget(t *testing.T) {
	tr := &clustertest.Transport{}
	tr.Connect = func(_ context.Context, address string) error {
		if address == "a:1" {
			return clustertest.Fault("connect-refused", true)
		}
		return nil
	}
	cl := newTest(t, tr, Config{Balance: "round_robin", RetryBudget: RetryBudgetConfig{Ratio: 0.01, Window: time.Minute}}, "a:1", "b:1")
	for range 1000 {
		x := newExchange("POST", "")
		if f := cl.Forward(x, &opts); f != nil {
			t.Fatal(f)
		}
		over(x)
	}
	if r := cl.resilience().Retries; r.Exhausted != 0 || tr.Calls()["a:1"] < 100 {
		t.Errorf("%+v, %v", r, tr.Calls())
	}
}
