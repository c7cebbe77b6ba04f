package main

// plain forwards small answers over connections that stay open on both sides.
func plain() *Scenario {
	return &Scenario{
		Name:       "plain",
		Title:      "plain proxying of a 254-byte answer, keep-alive",
		Metric:     cpuPerRequest,
		Target:     "≤ 0.90 of the better of nginx and HAProxy",
		Tools:      []string{"wrk"},
		Contenders: edges(Edge{}, "lintel", "nginx", "haproxy", "caddy"),
		Load:       wrkGet,
	}
}
