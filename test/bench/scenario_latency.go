package main

// latency is the time a proxy adds when it is far from busy.
func latency() *Scenario {
	return &Scenario{
		Name:       "latency",
		Title:      "latency added to the backend's own, at 2,000 requests/s",
		Metric:     addedLatency,
		Target:     "added p50 ≤ 0.10 ms, p99 ≤ 0.5 ms",
		Answer:     smallAnswer,
		Contenders: append(edges(Edge{}, "lintel", "nginx", "haproxy"), Contender{Name: "direct"}),
		Load:       openLoop,
	}
}
