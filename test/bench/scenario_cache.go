package main

// cacheHit answers from the cache; the backend is asked once.
func cacheHit() *Scenario {
	s := cacheScenario("cache_hit", "cache hit, 254 bytes", "cached/small", smallAnswer)
	s.Target = "≤ 1.0 of nginx's proxy_cache"
	return s
}

func cacheHit100k() *Scenario {
	s := cacheScenario("cache_hit_100k", "cache hit, 100 KB", "cached/100k", mediumAnswer)
	s.Target = "≤ 1.0 of nginx's proxy_cache"
	return s
}

// HAProxy's cache is no peer: it keeps what fits a few buffers, knows no
// validation and no Vary by default. Its figures are shown for interest.
func cacheScenario(name, title, path string, size int64) *Scenario {
	e := Edge{Cache: true}
	return &Scenario{
		Name: name, Title: title, Path: path, Answer: size,
		Metric:     cpuPerRequest,
		Tools:      []string{"wrk"},
		Contenders: []Contender{e.contender("lintel"), e.contender("nginx"), aside(e.contender("haproxy"))},
		Load:       wrkGet,
	}
}
