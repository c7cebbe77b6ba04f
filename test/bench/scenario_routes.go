package main

import "fmt"

// manyRoutes is what the names of the scenarios say. Tests of the configuration's
// form make do with fewer.
var manyRoutes = 10000

// routePath is the path below which route i is.
func routePath(i int) string { return fmt.Sprintf("/api-%05d", i) }

// routes10k compares Lintel with itself: 10,000 routes and a single one.
func routes10k() *Scenario {
	one := Edge{Routes: 1}.contender("lintel")
	one.Name = "lintel_1_route"
	return &Scenario{
		Name:       "routes_10k",
		Title:      "10,000 routes beside one route",
		Metric:     cpuPerRequest,
		Target:     "≤ 1.05 of one route",
		Tools:      []string{"wrk"},
		Path:       routePath(0)[1:] + "/x",
		Answer:     smallAnswer,
		Contenders: []Contender{Edge{Routes: manyRoutes}.contender("lintel"), one},
		Load:       wrkGet,
	}
}
