package mirror

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

func build(t testing.TB, c Config) *Filter {
	t.Helper()
	c.Counts = &Counts{}
	if c.Share == 0 {
		c.Share = 1
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 10
	}
	if c.Methods == nil {
		c.Methods = []string{"GET", "POST"}
	}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// asks is a request whose copies are collected, not run.
func asks(method, body string, length int64) (x *exchange.Exchange, copies *[]*exchange.Exchange) {
	copies = new([]*exchange.Exchange)
	x = &exchange.Exchange{}
	x.Request.Method = method
	x.Request.Header.Add("Authorization", "Bearer t")
	x.Request.Header.Add("Cookie", "a=b")
	if length != 0 {
		x.Request.Body, x.Request.Length = io.NopCloser(strings.NewReader(body)), length
	}
	x.Again = func(x *exchange.Exchange, prepare func(*exchange.Exchange)) bool {
		y := x.Detached()
		prepare(y)
		*copies = append(*copies, y)
		return true
	}
	return x, copies
}

func TestWhatIsCopied(t *testing.T) {
	for name, c := range map[string]struct {
		cfg    Config
		change func(*exchange.Exchange)
		copied bool
	}{
		"a GET":                    {Config{}, func(*exchange.Exchange) {}, true},
		"a method not named":       {Config{}, func(x *exchange.Exchange) { x.Request.Method = "DELETE" }, false},
		"an upgrade":               {Config{}, func(x *exchange.Exchange) { x.Request.Upgrade = "websocket" }, false},
		"what explain asks":        {Config{}, func(x *exchange.Exchange) { x.Shadow = true }, false},
		"where there is no second": {Config{}, func(x *exchange.Exchange) { x.Again = nil }, false},
	} {
		f := build(t, c.cfg)
		x, copies := asks("GET", "", 0)
		c.change(x)
		f.OnRequest(x)
		if got := len(*copies) == 1; got != c.copied || f.cfg.Counts.InFlight.Load() != int64(len(*copies)) {
			t.Errorf("%s: %d copies, %d in flight", name, len(*copies), f.cfg.Counts.InFlight.Load())
		}
	}
}

// What explain says of copies is what is done.
func TestCopiesAreMadeAsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		method, upgrade string
		length          int64
		bare            bool
		says            string
	}{
		"a GET":                    {"GET", "", 0, false, "copied with a chance of 100%, with the credentials that the route forwards"},
		"a bare one":               {"GET", "", 0, true, "copied with a chance of 100%, without credentials"},
		"a body":                   {"POST", "", 8, true, "copied with a chance of 100%, without credentials"},
		"a body of unknown length": {"POST", "", -1, true, "copied with a chance of 100%, if its body has no more than 8 bytes, without credentials"},
		"a large body":             {"POST", "", 9, true, "not copied: its body is longer than max_body, 8 bytes"},
		"another method":           {"PUT", "", 0, false, "not copied: only GET, POST"},
		"an upgrade":               {"GET", "websocket", 0, false, "not copied: it asks for another protocol"},
	} {
		f := build(t, Config{Bare: c.bare, MaxBody: 8})
		x, copies := asks(c.method, "12345678", c.length)
		x.Request.Upgrade = c.upgrade
		if got := f.Account(x); got != c.says {
			t.Errorf("%s: %s, want %s", name, got, c.says)
		}
		f.OnRequest(x)
		if (len(*copies) == 1) != strings.HasPrefix(c.says, "copied") {
			t.Errorf("%s: %d copies", name, len(*copies))
		}
	}
}

func TestACopyIsMarkedAndMayBeBare(t *testing.T) {
	for _, bare := range []bool{false, true} {
		f := build(t, Config{Bare: bare})
		x, copies := asks("GET", "", 0)
		f.OnRequest(x)
		y := (*copies)[0]
		if h := &y.Request.Header; !y.Mirror || h.Get(Header) != "1" || h.Has("Authorization") == bare || h.Has("Cookie") == bare {
			t.Errorf("bare %v: %v", bare, h)
		}
		if h := &x.Request.Header; x.Mirror || h.Has(Header) || !h.Has("Authorization") {
			t.Errorf("the request itself: %v", h)
		}
	}
}

func TestNoMoreThanSoManyAtOnce(t *testing.T) {
	f := build(t, Config{MaxInFlight: 3})
	x, copies := asks("GET", "", 0)
	for range 10 {
		f.OnRequest(x)
	}
	n := f.cfg.Counts
	if len(*copies) != 3 || n.InFlight.Load() != 3 || n.Busy.Load() != 7 {
		t.Errorf("%d copies, %d in flight, %d refused", len(*copies), n.InFlight.Load(), n.Busy.Load())
	}
	for i, y := range *copies {
		y.Response.Status = []int{200, 404, 500}[i]
		f.Done(y)
	}
	if n.InFlight.Load() != 0 || n.OK.Load() != 2 || n.Failed.Load() != 1 {
		t.Errorf("%d in flight, %d ok, %d failed", n.InFlight.Load(), n.OK.Load(), n.Failed.Load())
	}
	x.Again = func(*exchange.Exchange, func(*exchange.Exchange)) bool { return false }
	if f.OnRequest(x); n.InFlight.Load() != 0 || n.Busy.Load() != 8 {
		t.Errorf("where no second could begin: %d in flight, %d refused", n.InFlight.Load(), n.Busy.Load())
	}
}

func TestABodyIsCopiedWhileItPasses(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		length int64
		read   int // bytes the service takes; -1 all, and the end
		want   string
		err    error
	}{
		"of known length":             {"hello", 5, 5, "hello", nil},
		"of known length to its end":  {"hello", 5, -1, "hello", nil},
		"of unknown length":           {"hello", -1, -1, "hello", nil},
		"cut off":                     {"hello", 5, 3, "", errCut},
		"of unknown length, no end":   {"hello", -1, 5, "", errCut},
		"exactly as large as allowed": {strings.Repeat("x", 64), -1, -1, strings.Repeat("x", 64), nil},
		"too large":                   {strings.Repeat("x", 65), -1, -1, "", errLarge},
		"ended before its length":     {"hel", 5, -1, "", errCut},
	} {
		f := build(t, Config{MaxBody: 64})
		x, copies := asks("POST", c.body, c.length)
		f.OnRequest(x)
		if len(*copies) != 1 {
			t.Fatalf("%s: %d copies", name, len(*copies))
		}
		y := (*copies)[0]
		held := make(chan error, 1)
		go func() { held <- cause(Hold{}.OnRequest(y).Fault()) }()
		if c.read < 0 {
			if got, err := io.ReadAll(x.Request.Body); err != nil || string(got) != c.body {
				t.Errorf("%s: the service got %q, %v", name, got, err)
			}
		} else if _, err := io.ReadFull(x.Request.Body, make([]byte, c.read)); err != nil {
			t.Error(err)
		}
		f.Done(x)
		select {
		case err := <-held:
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %v, want %v", name, err, c.err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: the copy waits for ever", name)
		}
		if c.err == nil {
			if got, _ := io.ReadAll(y.Request.Body); string(got) != c.want || y.Request.Length != int64(len(c.want)) {
				t.Errorf("%s: the copy has %q, length %d", name, got, y.Request.Length)
			}
		}
	}
}

// A body that is declared too large is not even begun with.
func TestADeclaredBodyIsMeasuredBefore(t *testing.T) {
	f := build(t, Config{MaxBody: 4})
	x, copies := asks("POST", "hello", 5)
	f.OnRequest(x)
	if len(*copies) != 0 || f.cfg.Counts.Large.Load() != 1 {
		t.Errorf("%d copies, %d too large", len(*copies), f.cfg.Counts.Large.Load())
	}
}

func TestACopyThatIsCancelledStopsWaiting(t *testing.T) {
	f := build(t, Config{MaxBody: 64})
	x, copies := asks("POST", "hello", 5)
	f.OnRequest(x)
	y := (*copies)[0]
	ctx, cancel := context.WithCancel(context.Background())
	y.Begin(ctx)
	cancel()
	if fault := (Hold{}).OnRequest(y).Fault(); fault == nil || !errors.Is(fault, context.Canceled) {
		t.Errorf("%v", fault)
	}
	y.RunDone()
	f.Done(x)
}

func TestTheServiceAndTheEndMayRace(t *testing.T) {
	for range 200 {
		f := build(t, Config{MaxBody: 64})
		x, copies := asks("POST", "hello", 5)
		f.OnRequest(x)
		var both sync.WaitGroup
		body := x.Request.Body
		both.Go(func() { _, _ = io.ReadAll(body) })
		both.Go(func() { f.Done(x) })
		both.Go(func() { Hold{}.OnRequest((*copies)[0]) })
		both.Wait()
	}
}

func TestWrongMethodsAreRefused(t *testing.T) {
	if _, err := New(Config{Methods: []string{"get"}}); err == nil {
		t.Error("get is no method")
	}
}

func TestARequestThatIsNotCopiedCostsNothing(t *testing.T) {
	f := build(t, Config{Share: 1e-9})
	x, _ := asks("GET", "", 0)
	if n := testing.AllocsPerRun(100, func() { f.OnRequest(x); f.Done(x) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNotCopied(b *testing.B) {
	f := build(b, Config{Share: 1e-9})
	x, _ := asks("GET", "", 0)
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}

func cause(f *exchange.Fault) error {
	if f == nil {
		return nil
	}
	return f.Err
}
