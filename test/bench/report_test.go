package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestSpreadAndPercentile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{3, 1, 2}, spread{1, 2, 3}},
		{[]float64{4, 1, 3, 2}, spread{1, 2.5, 4}},
	} {
		if got, ok := spreadOf(c.values); !ok || got != c.want {
			t.Errorf("spread of %v: %v, want %v", c.values, got, c.want)
		}
	}
	if _, ok := spreadOf(nil); ok {
		t.Error("nothing has a spread")
	}
	var took []time.Duration
	for i := range 200 {
		took = append(took, time.Duration(i+1))
	}
	for p, want := range map[float64]time.Duration{0: 1, 50: 100, 99: 198, 100: 200} {
		if got := percentile(took, p); got != want {
			t.Errorf("percentile %v of 1…200: %d, want %d", p, got, want)
		}
	}
	if percentile(nil, 50) != 0 {
		t.Error("the percentile of nothing is not 0")
	}
}

// sample is a report with all that can happen: a compared scenario, one that
// was not measured, one whose requests failed, one without a peer.
func sample() *Report {
	rounds := func(cpu ...float64) (rs []Round) {
		for _, c := range cpu {
			rs = append(rs, Round{CPU: c, RPS: 1e6 / c, P50: 1, P99: 2, RSS: 30})
		}
		return rs
	}
	some := []Hop{{}}
	of := func(name string) *Scenario {
		return &Scenario{Name: name, Title: "title of " + name, Metric: cpuPerRequest, Target: "≤ 0.90 of <some>"}
	}
	bad := rounds(10, 12, 14)
	bad[1].Failed, bad[1].Why = 7, "Socket errors"
	return &Report{Machine: "a machine", Command: "go run ./test/bench", Scenarios: []*Result{
		{Scenario: of("compared"), Outcomes: []*Outcome{
			{Contender: Contender{Name: "lintel", Hops: some}, Rounds: rounds(10, 12, 8)},
			{Contender: Contender{Name: "nginx", Hops: some}, Rounds: rounds(20, 30, 25)},
			{Contender: Contender{Name: "haproxy", Hops: some}, Rounds: rounds(40, 40, 20)},
			{Contender: Contender{Name: "swift", Hops: some, Aside: true}, Rounds: rounds(1, 1, 1)},
			{Contender: Contender{Name: "caddy", Hops: some}, Reason: "not installed"},
		}},
		{Scenario: of("skipped"), Reason: "wrk is not installed"},
		{Scenario: of("failing"), Outcomes: []*Outcome{
			{Contender: Contender{Name: "lintel", Hops: some}, Rounds: bad},
			{Contender: Contender{Name: "nginx", Hops: some}, Rounds: bad[1:2]},
		}},
		{Scenario: of("broken"), Outcomes: []*Outcome{{Contender: Contender{Name: "lintel", Hops: some}, Rounds: bad[1:2]}}},
	}}
}

func TestJSONIsOneObjectWithNothingInvented(t *testing.T) {
	text, err := sample().json()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	var all map[string][]map[string]any
	if err := dec.Decode(&all); err != nil {
		t.Fatal(err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Errorf("more than one value: %v", err)
	}
	if len(all) != 1 || len(all["scenarios"]) != 4 {
		t.Fatalf("got %s", text)
	}
	for i, want := range []map[string]any{
		// nginx is best by its median; the ratios of rounds are 10/20, 12/30, 8/25.
		{"name": "compared", "measured": true, "metric": "cpu_us", "lintel_cpu_us": 10.0, "best_peer": "nginx", "best_peer_cpu_us": 25.0,
			"ratio": 0.4, "ratio_min": 0.32, "ratio_max": 0.5, "rps": 100000.0, "p50_ms": 1.0, "p99_ms": 2.0, "failed": 0.0, "rounds": 3.0, "idle_kb": nil},
		{"name": "skipped", "measured": false, "reason": "wrk is not installed", "lintel_cpu_us": nil, "best_peer": nil, "ratio": nil, "rps": nil},
		{"name": "failing", "measured": true, "lintel_cpu_us": 12.0, "failed": 7.0, "invalid_rounds": 1.0, "rounds": 3.0, "best_peer": nil, "ratio": nil},
		{"name": "broken", "measured": false, "reason": "no valid round: 7 requests failed (Socket errors)", "lintel_cpu_us": nil, "failed": 7.0},
	} {
		for key, value := range want {
			if got, there := all["scenarios"][i][key]; !there || got != value {
				t.Errorf("%v: %s is %v, want %v", want["name"], key, got, value)
			}
		}
	}
}

func TestShortcomingsNameWhatIsMissing(t *testing.T) {
	r := sample()
	got := r.shortcomings()
	for _, want := range []string{"skipped: not measured (wrk is not installed)", "failing: 7 of Lintel's requests failed", "broken: not measured (no valid round"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
	if r.Scenarios = r.Scenarios[:1]; r.shortcomings() != "" {
		t.Errorf("of a good run it says %q", r.shortcomings())
	}
}

func TestMarkdownTablesAreWhole(t *testing.T) {
	text := sample().markdown()
	columns := 0
	for line := range strings.Lines(text) {
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if n == 0 {
			columns = 0
			continue
		}
		if columns == 0 {
			columns = n
		}
		if n != columns {
			t.Errorf("a row with %d bars in a table of %d: %s", n, columns, line)
		}
	}
	for _, want := range []string{"| compared | CPU µs/request | 10.0 | nginx 25.0 | **0.40** (0.32-0.50) |", "not measured: wrk is not installed",
		"| compared | swift (not compared) |", "7 (1 of 3 rounds do not count)", "Made by `go run ./test/bench` on a machine"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
}

func TestPictureIsWellFormed(t *testing.T) {
	for name, r := range map[string]*Report{"sample": sample(), "empty": {}} {
		dec := xml.NewDecoder(strings.NewReader(r.svg()))
		bars := 0
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
				bars++
			}
		}
		if want := map[string]int{"sample": 2, "empty": 1}[name]; bars != want { // one is the ground
			t.Errorf("%s: %d rectangles, want %d", name, bars, want)
		}
	}
}

func TestAddedLatencyIsTheDifferenceToDirect(t *testing.T) {
	all := []*Outcome{
		{Contender: Contender{Name: "lintel"}, Rounds: []Round{{P50: 0.5, P99: 3}}},
		{Contender: Contender{Name: "direct"}, Rounds: []Round{{P50: 0.25, P99: 1}}},
	}
	subtractDirect(all, 0)
	if r := all[0].Rounds[0]; !r.Added || r.AddedP50 != 0.25 || r.AddedP99 != 2 {
		t.Errorf("%+v", r)
	}
	noise := &Result{Scenario: latency(), Outcomes: []*Outcome{
		{Contender: Contender{Name: "lintel"}, Rounds: []Round{{AddedP50: -1, Added: true}}},
		{Contender: Contender{Name: "nginx"}, Rounds: []Round{{AddedP50: 1, Added: true}}}}}
	if q, ok := noise.ratio(noise.best()); ok {
		t.Errorf("less than nothing has the ratio %v", q)
	}
	if all[1].Rounds[0].Added {
		t.Error("direct adds to itself")
	}
}
