package main

// Metric is what a scenario compares; less is better in all of them.
type Metric struct {
	Name  string // as in JSON
	Title string
	Value func(Round) (float64, bool)
}

// Round is what one contender did in one round.
type Round struct {
	CPU      float64 // µs per request; 0 when there is no telling
	RPS      float64
	P50, P99 float64 // ms
	Failed   int64
	Why      string // of the failures, or what else makes the round invalid
	RSS      float64
	IdleKB   float64
	// What it adds to the same requests sent to the backend directly, in ms.
	AddedP50, AddedP99 float64
	Added              bool
	Beside             float64 // p99 beside greedy clients to that alone
	Note               string
}

var (
	cpuPerRequest = Metric{"cpu_us", "CPU µs/request", func(r Round) (float64, bool) { return r.CPU, r.CPU > 0 }}
	idleMemory    = Metric{"idle_kb", "KB per idle connection", func(r Round) (float64, bool) { return r.IdleKB, true }}
	besideToAlone = Metric{"p99_beside_to_alone", "p99 beside / alone", func(r Round) (float64, bool) { return r.Beside, r.Beside > 0 }}
	addedLatency  = Metric{"added_p50_ms", "added p50, ms", func(r Round) (float64, bool) { return r.AddedP50, r.Added }}
)

// valid reports whether a round counts: none of its requests failed.
func (r Round) valid() bool { return r.Failed == 0 && r.Why == "" }
