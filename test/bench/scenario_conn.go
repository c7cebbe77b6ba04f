package main

// connPlain makes a new connection for every request.
func connPlain() *Scenario {
	return &Scenario{
		Name:       "conn_plain",
		Title:      "a new connection for each request",
		Metric:     cpuPerRequest,
		Answer:     smallAnswer,
		Contenders: edges(Edge{}, "lintel", "nginx", "haproxy", "caddy"),
		Load:       newConnections,
	}
}

// connTLS is connPlain with a full TLS 1.3 handshake each time.
func connTLS() *Scenario {
	return &Scenario{
		Name:       "conn_tls",
		Title:      "a new TLS 1.3 connection for each request (P-256, X25519, no resumption)",
		Metric:     cpuPerRequest,
		Target:     "≤ 1.15 of the best",
		Answer:     smallAnswer,
		Contenders: edges(Edge{TLS: true}, "lintel", "nginx", "haproxy", "caddy"),
		Load:       newConnections,
	}
}
