package split

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// world is a split under a load of its own time.
type world struct {
	f     *Filter
	state *State
	now   time.Time
	rng   *rand.Rand
	hurt  int // requests that the canary failed
	asked map[string]int
}

func newWorld(t *testing.T, seed uint64, r Rollback, sides ...Side) *world {
	t.Helper()
	if sides == nil {
		sides = two(90, 10)
	}
	w := &world{now: time.Unix(1_700_000_000, 0), rng: rand.New(rand.NewPCG(seed, 1)), asked: map[string]int{}}
	w.state = NewState(r, "r", sides, slog.New(slog.DiscardHandler))
	w.state.now = func() time.Time { return w.now }
	w.f = build(t, Config{Route: "r", Sides: sides, Rollback: &r, State: w.state})
	w.f.draw = w.rng.IntN
	return w
}

var defaults = Rollback{ErrorMargin: 0.02, LatencyMargin: 0.5, LatencyFloor: 10 * time.Millisecond, MinRequests: 100, Window: time.Minute}

// how a side behaves: its share of failures, and its usual time.
type how struct {
	failures float64
	took     time.Duration
}

// load sends n requests, 100 a second.
func (w *world) load(n int, stable, canary how) {
	for range n {
		w.now = w.now.Add(10 * time.Millisecond)
		x := asks()
		w.f.OnRequest(x)
		w.asked[x.Side]++
		does := stable
		if x.Side == "v2" {
			does = canary
		}
		x.Attempts, x.Sent = 1, w.now
		x.Answered = w.now.Add(time.Duration(float64(does.took) * (0.5 + w.rng.ExpFloat64())))
		x.Response.Status = 200
		if w.rng.Float64() < does.failures {
			x.Response.Status = 500
			if x.Side == "v2" {
				w.hurt++
			}
		}
		w.f.Done(x)
	}
}

func (w *world) down() string { return w.state.of("v2").rolledBack() }

func TestABadCanaryIsRolledBackWithFewHurt(t *testing.T) {
	fine := how{0.001, 20 * time.Millisecond}
	for name, c := range map[string]struct {
		canary  how
		why     string
		hurt, n int
	}{
		"it fails always":         {how{1, 20 * time.Millisecond}, "failed", 130, 3000},
		"it fails every fifth":    {how{0.2, 20 * time.Millisecond}, "failed", 60, 6000},
		"it fails every twelfth":  {how{0.08, 20 * time.Millisecond}, "failed", 150, 40_000},
		"it takes twice as long":  {how{0.001, 44 * time.Millisecond}, "take longer", 10, 20_000},
		"it takes ten times that": {how{0.001, 200 * time.Millisecond}, "take longer", 5, 3000},
	} {
		w := newWorld(t, 7, defaults)
		w.load(c.n, fine, c.canary)
		if why := w.down(); !strings.Contains(why, c.why) || w.hurt > c.hurt {
			t.Errorf("%s: %q, %d hurt of %v, want at most %d", name, why, w.hurt, w.asked, c.hurt)
		}
		before := w.asked["v2"]
		w.load(1000, fine, c.canary)
		if w.asked["v2"] != before {
			t.Errorf("%s: it is still asked", name)
		}
	}
}

// Neither a canary that is as good, nor one within the margins, nor noise. Of
// the times here half are within 1.2 and nine tenths within 2.8 times the usual,
// so that 4 ms are some 1.6 ms short of the floor.
func TestAGoodCanaryIsNotRolledBack(t *testing.T) {
	for name, c := range map[string]struct{ stable, canary how }{
		"as good":             {how{0.01, 20 * time.Millisecond}, how{0.01, 20 * time.Millisecond}},
		"both are bad":        {how{0.3, 20 * time.Millisecond}, how{0.3, 20 * time.Millisecond}},
		"within the margin":   {how{0.01, 20 * time.Millisecond}, how{0.02, 26 * time.Millisecond}},
		"better":              {how{0.1, 80 * time.Millisecond}, how{0.001, 20 * time.Millisecond}},
		"too short to matter": {how{0, time.Millisecond}, how{0, 4 * time.Millisecond}},
	} {
		for seed := range uint64(2) {
			w := newWorld(t, seed, defaults)
			w.load(60_000, c.stable, c.canary) // ten minutes
			if why := w.down(); why != "" {
				t.Errorf("%s, seed %d: %s", name, seed, why)
			}
		}
	}
}

func TestTooFewRequestsSayNothing(t *testing.T) {
	w := newWorld(t, 1, Rollback{ErrorMargin: 0.02, MinRequests: 100, Window: time.Minute}, two(1000, 1)...)
	w.load(20_000, how{0, time.Millisecond}, how{1, time.Millisecond}) // some 6 a minute
	if why := w.down(); why != "" || w.hurt == 0 {
		t.Errorf("%q after %d", why, w.hurt)
	}
}

func TestARolledBackSideComesBackAfterAWhileIfToldSo(t *testing.T) {
	r := defaults
	r.RetryAfter = 5 * time.Minute
	w := newWorld(t, 3, r)
	w.load(3000, how{}, how{failures: 1})
	if w.down() == "" || w.state.Rollbacks() != 1 {
		t.Fatal("it was not rolled back")
	}
	st := w.f.Status()
	if st[1].Weight != 10 || st[1].RolledBack == "" || st[1].Until == nil || st[0].RolledBack != "" {
		t.Errorf("%+v", st)
	}
	w.now = w.now.Add(5 * time.Minute)
	if why := w.down(); why != "" {
		t.Errorf("still: %s", why)
	}
	w.load(3000, how{}, how{})
	if w.down() != "" || w.asked["v2"] < 300 {
		t.Errorf("%q %v", w.down(), w.asked)
	}
}

func TestOnlyTheServicesOwnFailuresCount(t *testing.T) {
	x := func(f func(*exchange.Exchange)) *exchange.Exchange {
		x := &exchange.Exchange{Attempts: 1}
		x.Response.Status = 200
		f(x)
		return x
	}
	grpc := func(status string) func(*exchange.Exchange) {
		return func(x *exchange.Exchange) {
			x.Request.Proto = "HTTP/2.0"
			x.Request.Header.Set("Content-Type", "application/grpc")
			x.Response.Trailer.Set("grpc-status", status)
		}
	}
	for i, c := range []struct {
		do            func(*exchange.Exchange)
		failed, asked bool
	}{
		{func(x *exchange.Exchange) {}, false, true},
		{func(x *exchange.Exchange) { x.Response.Status = 404 }, false, true},
		{func(x *exchange.Exchange) { x.Response.Status = 500 }, true, true},
		{func(x *exchange.Exchange) { x.Fault = &exchange.Fault{Source: exchange.FromUpstream} }, true, true},
		{func(x *exchange.Exchange) { x.Rescued = &exchange.Fault{Source: exchange.FromUpstream} }, true, true},
		{func(x *exchange.Exchange) { x.Fault = &exchange.Fault{Source: exchange.FromClient} }, true, false},
		{func(x *exchange.Exchange) { x.Attempts = 0 }, false, false}, // the cache answered
		{func(x *exchange.Exchange) { x.Abort = fmt.Errorf("gone") }, false, false},
		{grpc("0"), false, true}, {grpc("5"), false, true}, {grpc("14"), true, true},
	} {
		if failed, asked := outcome(x(c.do)); asked != c.asked || asked && failed != c.failed {
			t.Errorf("%d: failed %v, asked %v", i, failed, asked)
		}
	}
}
