package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// download sends 1 MB answers.
func download() *Scenario {
	return &Scenario{
		Name: "download_1m", Title: "1 MB download", Path: "file/1m", Answer: largeAnswer,
		Metric:     cpuPerRequest,
		Target:     "≤ 1.1 of the best",
		Tools:      []string{"wrk"},
		Contenders: edges(Edge{Stream: true}, "lintel", "nginx", "haproxy"),
		Load:       wrkGet,
	}
}

// upload sends 1 MB requests.
func upload() *Scenario {
	script := func(b *Bench) string { return filepath.Join(b.dir, "upload.lua") }
	return &Scenario{
		Name: "upload_1m", Title: "1 MB upload", Path: "upload", Answer: smallAnswer,
		Metric:     cpuPerRequest,
		Target:     "≤ 1.1 of the best",
		Tools:      []string{"wrk"},
		Contenders: edges(Edge{Stream: true}, "lintel", "nginx", "haproxy"),
		Prepare: func(b *Bench) (func(), error) {
			return func() {}, os.WriteFile(script(b), []byte(fmt.Sprintf("wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", %d)\n", largeAnswer)), 0o600)
		},
		Load: wrkScript(script),
	}
}
