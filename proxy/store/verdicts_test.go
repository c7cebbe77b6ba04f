package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func question(b byte, more ...byte) (q Question) {
	q[0] = b
	copy(q[1:], more)
	return q
}

func reply(value string, keep time.Duration) func(context.Context) (Reply[string], error) {
	return func(context.Context) (Reply[string], error) { return Reply[string]{Value: value, Keep: keep}, nil }
}

func TestVerdictsAreRememberedForTheirTime(t *testing.T) {
	v := NewVerdicts[string](10)
	q := question(1)
	if got, err := v.Ask(t.Context(), q, reply("yes", time.Hour)); got != "yes" || err != nil {
		t.Fatal(got, err)
	}
	if got, err := v.Ask(t.Context(), q, reply("asked again", 0)); got != "yes" || err != nil {
		t.Errorf("asked again: %q %v", got, err)
	}
	if got, ok := v.Get(q, time.Now().Add(time.Hour)); ok {
		t.Errorf("%q is remembered past its time", got)
	}
	if v.Len() != 0 {
		t.Error("what has expired is kept")
	}
}

func TestVerdictsForgetErrorsAndWhatIsNotToBeKept(t *testing.T) {
	v := NewVerdicts[string](10)
	q := question(1)
	fails := errors.New("fails")
	if _, err := v.Ask(t.Context(), q, func(context.Context) (Reply[string], error) {
		return Reply[string]{Value: "no", Keep: time.Hour}, fails
	}); err != fails {
		t.Error(err)
	}
	_, _ = v.Ask(t.Context(), q, reply("not kept", 0))
	_, _ = v.Ask(t.Context(), q, func(context.Context) (Reply[string], error) {
		return Reply[string]{Value: "one's own", Keep: time.Hour, Alone: true}, nil
	})
	if v.Len() != 0 {
		t.Error("something is kept")
	}
}

func TestVerdictsAreBounded(t *testing.T) {
	for _, max := range []int{1, 7, 2000} {
		v := NewVerdicts[string](max)
		for i := range 3 * max {
			_, _ = v.Ask(t.Context(), question(byte(i), byte(i>>8)), reply("x", time.Hour))
			if n := v.Len(); n > max {
				t.Fatalf("%d are kept, at most %d are allowed", n, max)
			}
		}
		if v.Len() < max*3/4 {
			t.Errorf("%d of %d are kept", v.Len(), max)
		}
	}
}

// gate lets one asker in and holds him until opened.
type gate struct{ entered, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func TestConcurrentAskersSendOne(t *testing.T) {
	v := NewVerdicts[string](0) // nothing is kept: what is shared is the errand
	q, g := question(1), newGate()
	var wg sync.WaitGroup
	answers := make(chan string, 10)
	wg.Go(func() {
		got, _ := v.Ask(t.Context(), q, func(context.Context) (Reply[string], error) {
			close(g.entered)
			<-g.open
			return Reply[string]{Value: "shared", Keep: time.Hour}, nil
		})
		answers <- got
	})
	<-g.entered
	for range 5 {
		waits := make(chan struct{})
		wg.Go(func() {
			got, _ := v.Ask(told{t.Context(), waits}, q, func(context.Context) (Reply[string], error) {
				return Reply[string]{Value: "asked twice"}, nil
			})
			answers <- got
		})
		<-waits
	}
	close(g.open)
	wg.Wait()
	close(answers)
	for got := range answers {
		if got != "shared" {
			t.Error(got)
		}
	}
}

// told is a context that says when somebody begins to wait for its end.
type told struct {
	context.Context
	waits chan struct{}
}

func (c told) Done() <-chan struct{} {
	close(c.waits)
	return c.Context.Done()
}

func TestAnAskerWhoLeavesTakesNobodyWithHim(t *testing.T) {
	v := NewVerdicts[string](0)
	q, g := question(1), newGate()
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := v.Ask(ctx, q, func(ctx context.Context) (Reply[string], error) {
			close(g.entered)
			<-ctx.Done()
			return Reply[string]{}, ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-g.entered
	waits := make(chan struct{})
	wg.Go(func() {
		if got, err := v.Ask(told{t.Context(), waits}, q, reply("mine", 0)); got != "mine" || err != nil {
			t.Error(got, err)
		}
	})
	<-waits
	leave()
	wg.Wait()
}

func TestWhatIsForOneIsNotShared(t *testing.T) {
	v := NewVerdicts[string](10)
	q, g := question(1), newGate()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = v.Ask(t.Context(), q, func(context.Context) (Reply[string], error) {
			close(g.entered)
			<-g.open
			return Reply[string]{Value: "the first one's", Keep: time.Hour, Alone: true}, nil
		})
	})
	<-g.entered
	waits := make(chan struct{})
	wg.Go(func() {
		got, _ := v.Ask(told{t.Context(), waits}, q, reply("the second one's", 0))
		if got != "the second one's" {
			t.Error(got)
		}
	})
	<-waits
	close(g.open)
	wg.Wait()
}

func TestAPanicHoldsNobodyUp(t *testing.T) {
	v := NewVerdicts[string](10)
	q := question(1)
	func() {
		defer func() { _ = recover() }()
		_, _ = v.Ask(t.Context(), q, func(context.Context) (Reply[string], error) { panic("boom") })
	}()
	if got, err := v.Ask(t.Context(), q, reply("fine", 0)); got != "fine" || err != nil {
		t.Error(got, err)
	}
}

func BenchmarkVerdictsHit(b *testing.B) {
	v := NewVerdicts[string](10000)
	_, _ = v.Ask(b.Context(), question(1), reply("yes", time.Hour))
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := v.Get(question(1), now); !ok {
			b.Fatal("forgotten")
		}
	}
}
