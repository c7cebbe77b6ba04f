package main

// h2Edge speaks HTTP/2 with clients and HTTP/1.1 with the backend.
func h2Edge() *Scenario {
	e := Edge{TLS: true, H2: true}
	return &Scenario{
		Name:       "h2",
		Title:      "HTTP/2 at the edge, 8 streams a connection",
		Metric:     cpuPerRequest,
		Target:     "≤ 1.0 of Caddy",
		Tools:      []string{"h2load"},
		Answer:     smallAnswer,
		Contenders: []Contender{e.contender("lintel"), e.contender("caddy"), aside(e.contender("nginx")), aside(e.contender("haproxy"))},
		Load:       h2loadGet,
	}
}
