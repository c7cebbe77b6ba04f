package main

// tlsEdge is plain behind TLS 1.3, on connections that stay open.
func tlsEdge() *Scenario {
	return &Scenario{
		Name:       "tls",
		Title:      "TLS 1.3 at the edge, keep-alive",
		Metric:     cpuPerRequest,
		Target:     "≤ 1.0 of nginx",
		Tools:      []string{"wrk"},
		Answer:     smallAnswer,
		Contenders: edges(Edge{TLS: true}, "lintel", "nginx", "haproxy", "caddy"),
		Load:       wrkGet,
	}
}
