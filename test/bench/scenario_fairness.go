package main

// smallRate is how many small requests a second are timed: few enough that only
// what runs beside them can make them wait.
const smallRate = 1000

// fairness compares Lintel with itself: how long small requests take beside
// clients that want everything the one event loop has, and alone.
func fairness() *Scenario {
	alone := Edge{}.contender("lintel")
	alone.Name = "lintel_alone"
	return &Scenario{
		Name:       "fairness",
		Title:      "1,000 small requests/s beside an endless download and a pipelining flood, one event loop",
		Metric:     tailLatency,
		Target:     "p99 ≤ 3 of alone, no failed request",
		Answer:     smallAnswer,
		OneCore:    true,
		Contenders: []Contender{Edge{}.contender("lintel"), alone},
		Load:       besideGreed,
	}
}
