// Command bench measures Lintel beside nginx, HAProxy and Caddy: whichever of
// them is installed, on one machine, in one run.
//
//	go run ./test/bench --scenario plain,jwt --rounds 3 --output json
//
// Every contender stands in front of the same backend and is pinned to the same
// core; backend and load have the other cores. Contenders take turns, in
// another order each round, so that a noisy machine is noisy for all of them.
// What is compared is the CPU time a contender's processes used per answered
// request, which a busy neighbour disturbs far less than wall-clock time. A
// round with a single failed request does not count, and what cannot be
// measured is reported as such, with the reason: no figure here is invented.
//
// Where to look: one file per scenario (scenario_*.go, listed in scenario.go);
// edge_*.go write what an edge is to do as each contender's configuration;
// process.go and usage_linux.go start, pin and account processes; wrk.go,
// h2load.go and load_*.go make load; round.go runs the rounds; stats.go,
// report.go and the render_*.go files turn them into the answer.
package main
