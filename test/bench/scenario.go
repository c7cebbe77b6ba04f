package main

import (
	"context"
	"net/http"
	"time"
)

// Scenario is one kind of work that contenders are compared at.
type Scenario struct {
	Name  string
	Title string
	// Metric is what contenders are compared by: CPU time per request, mostly.
	Metric Metric
	// Target is Lintel's aim, in words, as the report shows it.
	Target string
	// Path is asked for, with Header; Answer is how many bytes must come, if that is fixed.
	Path   string
	Header func(*Bench) http.Header
	Answer int64
	// Tools are programs that the load needs.
	Tools []string
	// Contenders: Lintel is the first.
	Contenders []Contender
	// Fresh starts contenders anew for every round, for what a round leaves behind.
	Fresh bool
	// Next, where there is one, says who stands behind the contenders instead of
	// the usual backend.
	Next func(*Bench) string
	// Prepare, where there is one, makes what configurations and load need.
	Prepare func(*Bench) (cleanup func(), err error)
	// Load runs once against one contender. A second call of it may warm up.
	Load func(context.Context, *Bench, Turn) (Load, error)
	// Warm replaces Load for warming up, where that must not be the same.
	Warm func(context.Context, *Bench, Turn) (Load, error)
}

// Turn is one contender's time under load.
type Turn struct {
	Running *Running
	Seconds int
	Round   int
}

// Load is what a load generator saw.
type Load struct {
	Requests int64
	Elapsed  time.Duration
	P50, P99 time.Duration
	Failed   int64
	Why      string // what kind of failures
	IdleKB   float64
	Note     string  // something worth telling, of this turn
	Beside   float64 // p99 beside greedy clients to that alone
	// Shared says that Requests are not all that was asked for: CPU time cannot
	// be divided by them.
	Shared bool
}

// Contender is one proxy, or a chain of two, under test.
type Contender struct {
	Name string // lintel, nginx, haproxy, caddy, direct or a variant such as lintel_1_route
	// Hops from the client's side to the backend's. None is the backend itself.
	Hops []Hop
	// Aside contenders are reported and are not what Lintel's ratio is about.
	Aside bool
}

// Hop is one process of a contender.
type Hop struct {
	Program *Program
	// Config is its configuration, as text.
	Config func(*Bench, Place) string
	// TLS is how the load reaches it, when it is the first hop.
	TLS bool
}

// Place is where a hop stands.
type Place struct {
	Listen string // host:port it serves
	Extra  string // another free host:port of its own
	Admin  string // another one, for administration
	Next   string // host:port of what it forwards to
	Dir    string // its own folder
}

// scenarios lists all of them in the order of the report.
func scenarios() []*Scenario {
	return []*Scenario{
		plain(), jwtInUse(), jwtOneToken(), jwtNewTokens(), tlsEdge(), cacheHit(), cacheHit100k(),
		mtlsPair(), mtlsPairTxn(), mtlsPairReuse(), connPlain(), connTLS(), download(), upload(), latency(), idle10k(),
		h2Edge(), routes10k(), reload10k(), webSocket(), churn50k(), fairness(),
	}
}
