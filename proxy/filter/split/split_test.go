package split

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

func build(t testing.TB, c Config) *Filter {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	if c.Counts == nil {
		c.Counts = NewCounts("r")
	}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	f.draw = rand.New(rand.NewPCG(1, 2)).IntN // every run draws the same
	return f
}

func two(v1, v2 int) []Side { return []Side{{Name: "v1", Weight: v1}, {Name: "v2", Weight: v2}} }

func asks(lines ...string) *exchange.Exchange {
	x := &exchange.Exchange{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		x.Request.Header.Add(name, value)
	}
	return x
}

func TestWeightsAreKept(t *testing.T) {
	const n = 100_000
	for _, weights := range [][]int{{95, 5}, {1, 1}, {0, 7}, {50, 30, 20}, {1000, 0, 1}} {
		var sides []Side
		total := 0
		for i, w := range weights {
			sides = append(sides, Side{Name: fmt.Sprint(i), Weight: w})
			total += w
		}
		for _, sticky := range []Sticky{{}, {Header: "X-User"}} {
			f := build(t, Config{Sides: sides, Sticky: sticky})
			got := map[string]int{}
			for i := range n {
				x := asks(fmt.Sprintf("X-User: user-%d", i))
				f.OnRequest(x)
				got[x.Side]++
			}
			for i, w := range weights {
				p := float64(w) / float64(total)
				if d := math.Abs(float64(got[fmt.Sprint(i)]) - n*p); d > 5*math.Sqrt(n*p*(1-p))+1e-9 {
					t.Errorf("%v %+v: side %d got %d of %d", weights, sticky, i, got[fmt.Sprint(i)], n)
				}
			}
		}
	}
}

// Raising the canary's weight moves users to it and nobody else anywhere, and
// lowering it moves only its own: also with more than two sides.
func TestAHashedClientMovesOnlyWithTheWeightThatChanges(t *testing.T) {
	at := func(w int) *Filter {
		return build(t, Config{Sides: []Side{{Name: "a", Weight: 60}, {Name: "b", Weight: 40}, {Name: "canary", Weight: w}}, Sticky: Sticky{Claim: "sub"}})
	}
	side := func(f *Filter, user int) string {
		x := &exchange.Exchange{Identity: &exchange.Identity{Subject: fmt.Sprint("u", user)}}
		f.OnRequest(x)
		return x.Side
	}
	steps := []*Filter{at(0), at(1), at(10), at(50), at(400)}
	moved := 0
	for user := range 5000 {
		before := side(steps[0], user)
		for _, f := range steps[1:] {
			now := side(f, user)
			if now != before && now != "canary" {
				t.Fatalf("user %d moved from %s to %s", user, before, now)
			}
			if now != before {
				moved++
			}
			before = now
		}
	}
	if moved < 3500 || moved > 4500 {
		t.Errorf("%d of 5000 moved, want about 4000", moved)
	}
}

func TestACookieKeepsItsSideWhileWeightsChange(t *testing.T) {
	sticky := Sticky{Cookie: "side", Secret: "a secret of sixteen"}
	f := build(t, Config{Sides: two(0, 1), Sticky: sticky})
	x := asks("Cookie: a=b")
	x.Request.Scheme = "https"
	f.OnRequest(x)
	f.OnResponse(x)
	set := x.Response.Header.Get("Set-Cookie")
	if x.Side != "v2" || !strings.HasSuffix(set, "; Path=/; HttpOnly; SameSite=Lax; Secure") || strings.Contains(set, "v2") {
		t.Fatalf("%s: %s", x.Side, set)
	}
	pair, _, _ := strings.Cut(set, ";")
	for name, c := range map[string]struct {
		f    *Filter
		side string
		set  bool
	}{
		"its weight is smaller": {build(t, Config{Sides: two(1_000_000, 1), Sticky: sticky}), "v2", false},
		"its weight is 0":       {build(t, Config{Sides: two(1, 0), Sticky: sticky}), "v1", true},
		"another secret":        {build(t, Config{Sides: two(1, 0), Sticky: Sticky{Cookie: "side", Secret: "another secret 16"}}), "v1", true},
	} {
		x := asks("Cookie: a=b; "+pair, "Cookie: c=d")
		c.f.OnRequest(x)
		c.f.OnResponse(x)
		if (f.AccountAnswer(x) != "") != c.set {
			t.Errorf("%s: it is said: %q", name, f.AccountAnswer(x))
		}
		if x.Side != c.side || x.Response.Header.Has("Set-Cookie") != c.set || x.Request.Header.Joined("Cookie") != "a=b; c=d" {
			t.Errorf("%s: side %s, set %q, to the service %q", name, x.Side, x.Response.Header.Get("Set-Cookie"), x.Request.Header.Joined("Cookie"))
		}
	}
}

func TestConditionsGoAheadOfWeights(t *testing.T) {
	f := build(t, Config{Sides: []Side{{Name: "v1", Weight: 1}, {Name: "v2", When: []When{
		{Header: map[string]string{"X-Canary": "1"}}, {Claim: map[string]string{"groups": "beta", "plan.name": "*"}}, {Cookie: map[string]string{"try": "v2"}}}}}})
	with := func(claims map[string]any) *exchange.Exchange {
		return &exchange.Exchange{Identity: &exchange.Identity{Claims: claims}}
	}
	plan := map[string]any{"name": "gold"}
	for name, c := range map[string]struct {
		x    *exchange.Exchange
		side string
	}{
		"nothing":              {asks(), "v1"},
		"the header":           {asks("x-canary: 1"), "v2"},
		"another value":        {asks("X-Canary: 0"), "v1"},
		"the header twice":     {asks("X-Canary: 1", "X-Canary: 0"), "v1"},
		"the cookie":           {asks("Cookie: x=1; try=v2"), "v2"},
		"both claims, a list":  {with(map[string]any{"groups": []any{"alpha", "beta"}, "plan": plan}), "v2"},
		"both claims, one":     {with(map[string]any{"groups": "beta", "plan": plan}), "v2"},
		"only one of both":     {with(map[string]any{"groups": "beta"}), "v1"},
		"a claim with dots":    {with(map[string]any{"groups": "beta", "plan.name": "x"}), "v2"},
		"a header is no claim": {asks("groups: beta"), "v1"},
	} {
		f.OnRequest(c.x)
		if c.x.Side != c.side {
			t.Errorf("%s: %s, want %s", name, c.x.Side, c.side)
		}
	}
}

func TestWrongConfigIsRefused(t *testing.T) {
	for want, c := range map[string]Config{
		"two or more":        {Sides: two(1, 1)[:1]},
		"every weight is 0":  {Sides: two(0, 0)},
		"called v1":          {Sides: []Side{{Name: "v1", Weight: 1}, {Name: "v1"}}},
		"found no condition": {Sides: []Side{{Name: "v1", Weight: 1}, {Name: "v2", When: []When{{}}}}},
		"is no header name":  {Sides: []Side{{Name: "v1", Weight: 1}, {Name: "v2", When: []When{{Header: map[string]string{"X *": "1"}}}}}},
		"found 2 of cookie":  {Sides: two(1, 1), Sticky: Sticky{Cookie: "a", Address: true}},
		"want 16 at least":   {Sides: two(1, 1), Sticky: Sticky{Cookie: "a", Secret: "short"}},
	} {
		c.Counts = NewCounts("r")
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestChoosingAllocatesNothing(t *testing.T) {
	for name, s := range map[string]Sticky{"drawn": {}, "cookie": {Cookie: "side"}, "header": {Header: "X-User"}} {
		f := build(t, Config{Sides: two(95, 5), Sticky: s})
		x := asks("X-User: ada", "Cookie: a=b")
		if n := testing.AllocsPerRun(100, func() { f.OnRequest(x) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	for name, s := range map[string]Sticky{"drawn": {}, "cookie": {Cookie: "side"}, "header": {Header: "X-User"}} {
		b.Run(name, func(b *testing.B) {
			f := build(b, Config{Sides: two(95, 5), Sticky: s})
			x := asks("X-User: ada", "Cookie: a=b; side="+f.sides[1].token)
			b.ReportAllocs()
			for b.Loop() {
				f.choose(x)
			}
		})
	}
}
