package pipe

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/cluster/clustertest"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// stale answers the first exchange at once and has a second one run.
func (k *kit) stale(prepare func(*exchange.Exchange)) (begun *bool) {
	begun = new(bool)
	k.a.v = filter.Answered
	k.a.do["req"] = func(x *exchange.Exchange) {
		*begun = x.Again(x, func(y *exchange.Exchange) {
			y.Keep("a")
			if prepare != nil {
				prepare(y)
			}
		})
		x.Answer(200, "", []byte("stale"))
	}
	return begun
}

// client runs the client's exchange alone to its end.
func (k *kit) client() {
	x := k.get("/a/x")
	k.pipe.Serve(x)
	k.pipe.Finish(x)
}

func TestASecondExchangeTakesTheRestOfTheWay(t *testing.T) {
	k := newKit(t)
	arrived, leave := make(chan *exchange.Exchange, 1), make(chan struct{})
	k.tr.Answer = func(x *exchange.Exchange, _ string) error {
		arrived <- x
		<-leave
		clustertest.Respond(x, 200, "fresh")
		return nil
	}
	begun := k.stale(func(y *exchange.Exchange) { y.Request.Header.Add("X-Prepared", "1") })
	var read strings.Builder
	k.a.do["resp"] = func(x *exchange.Exchange) {
		if x.Attempts > 0 {
			x.Response.Body = struct {
				io.Reader
				io.Closer
			}{io.TeeReader(x.Response.Body, &read), x.Response.Body}
		}
	}
	k.start()
	x := k.get("/a/x", "X-Kept", "1")
	k.pipe.Serve(x)
	y := <-arrived
	if b, _ := io.ReadAll(x.Response.Body); string(b) != "stale" || !*begun {
		t.Errorf("the client got %q; begun %v", b, *begun)
	}
	if h := &y.Request.Header; y == x || h.Get("X-Kept") != "1" || h.Get("X-Prepared") != "1" || y.Client.Remote != x.Client.Remote {
		t.Errorf("the service was asked %+v", y.Request)
	}
	k.pipe.Finish(x)
	if k.released != 0 {
		t.Error("the table is gone while it is used")
	}
	k.live.Swap(nil)
	if k.released != 0 {
		t.Error("the table is gone while the second exchange uses it")
	}
	close(leave)
	k.pipe.seconds.all.Wait()
	if got := strings.Count(k.j.take(), "begin"); got != 1 {
		t.Errorf("observers saw %d exchanges begin, want the client's alone", got)
	}
	if read.String() != "fresh" || k.released != 1 || k.pipe.Open.Load() != 0 {
		t.Errorf("read %q, released %d times, %d open", read.String(), k.released, k.pipe.Open.Load())
	}
}

func TestASecondExchangeRunsOnlyTheFiltersBehind(t *testing.T) {
	k := newKit(t)
	k.stale(nil)
	k.start().client()
	k.pipe.seconds.all.Wait()
	counts := map[string]int{}
	for what := range strings.FieldsSeq(k.j.take()) {
		counts[what]++
	}
	for what, want := range map[string]int{"always.req": 1, "always.resp": 1, "always.done": 1, "a.req": 1, "a.resp": 2, "a.done": 2,
		"b.req": 1, "b.resp": 1, "b.done": 1, "forward": 1, "begin": 1, "end": 1} {
		if counts[what] != want {
			t.Errorf("%s happened %d times, want %d", what, counts[what], want)
		}
	}
}

func TestASecondExchangeThatFailsIsDoneAllTheSame(t *testing.T) {
	for name, set := range map[string]func(k *kit){
		"the service fails": func(k *kit) {
			k.tr.Answer = func(*exchange.Exchange, string) error { return clustertest.Fault("reset", false) }
		},
		"the service panics": func(k *kit) {
			k.tr.Answer = func(*exchange.Exchange, string) error { panic("service") }
		},
		"a filter refuses": func(k *kit) { k.b.v = filter.Refuse(&exchange.Fault{Status: 403, Code: "no"}) },
		"a filter panics":  func(k *kit) { k.b.do["req"] = func(*exchange.Exchange) { panic("filter") } },
		"preparing panics": func(k *kit) { k.stale(func(*exchange.Exchange) { panic("prepare") }) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			k.stale(nil)
			set(k)
			k.start().client()
			k.pipe.seconds.all.Wait()
			k.live.Swap(nil)
			if got := strings.Count(k.j.take(), "a.done"); got != 2 || k.released != 1 || k.pipe.Open.Load() != 0 {
				t.Errorf("done %d times, table released %d times, %d open", got, k.released, k.pipe.Open.Load())
			}
		})
	}
}

func TestEndingCancelsSecondExchangesAndBeginsNoMore(t *testing.T) {
	k := newKit(t)
	arrived := make(chan struct{})
	cause := make(chan error, 1)
	k.tr.Connect = func(ctx context.Context, _ string) error {
		close(arrived)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return clustertest.Fault("reset", false)
	}
	begun := k.stale(nil)
	k.start().client()
	<-arrived
	k.pipe.EndAgain()
	if err := <-cause; !errors.Is(err, errEnding) {
		t.Errorf("it ended because of %v", err)
	}
	if k.client(); *begun {
		t.Error("another was begun after the end")
	}
}

func TestSecondExchangesAreBounded(t *testing.T) {
	s := newSeconds()
	for range againMost {
		if !s.enter() {
			t.Fatal("refused below the bound")
		}
	}
	if s.enter() {
		t.Error("one too many")
	}
	s.leave()
	if !s.enter() {
		t.Error("refused although one has left")
	}
}

// Copies for a service that hangs are bounded by who makes them, and keep nobody
// from renewing what is stale.
func TestCopiesTakeNoPlacesOfOtherSecondExchanges(t *testing.T) {
	k := newKit(t)
	leave := make(chan struct{})
	k.b.do["req"] = func(x *exchange.Exchange) {
		if x.Mirror {
			<-leave
		}
	}
	mirror := true
	begun := k.stale(func(y *exchange.Exchange) { y.Mirror = mirror })
	k.start()
	for i := range againMost + 50 {
		if k.client(); !*begun {
			t.Errorf("copy %d was not begun", i)
			break
		}
	}
	mirror = false
	if k.client(); !*begun {
		t.Error("copies keep others from beginning")
	}
	close(leave)
	k.pipe.seconds.all.Wait()
	if n := k.pipe.seconds.running; n != 0 {
		t.Errorf("%d count as running", n)
	}
}
