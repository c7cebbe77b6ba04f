package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// hugeAnswer is what a greedy client downloads, again and again.
const hugeAnswer = 1 << 30

// fairness is what small requests wait for while somebody takes all that the
// one core of the proxy gives: an endless download, then a pipelining flood.
func fairness() *Scenario {
	return &Scenario{
		Name:   "fairness",
		Title:  "p99 of 1,000 small requests/s beside a 1 GB download, or a pipelining flood, to that alone",
		Metric: besideToAlone,
		Target: "≤ 3",
		Answer: smallAnswer,
		// Asked directly, both services show what the load itself makes of the one core it has.
		Contenders: append(edges(Edge{Stream: true, Bulk: true}, "lintel", "nginx", "haproxy"), Contender{Name: "direct", Aside: true}),
		Prepare:    startBulk,
		Warm:       openLoop,
		Load:       besideGreed,
	}
}

// startBulk starts the service that greedy clients ask. It is not the one that
// small requests go to: their wait there would be none of the proxy's doing.
func startBulk(b *Bench) (func(), error) {
	if _, ok := b.tools["nginx"]; !ok {
		return nil, fmt.Errorf("nginx, which serves the large file, is not installed")
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	b.Bulk = addr
	dir := filepath.Join(b.dir, "bulk")
	file := filepath.Join(dir, "files", "bulk", "1g")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return nil, err
	}
	if err := os.Truncate(file, hugeAnswer); err != nil { // a hole, which takes no room on the disk
		return nil, err
	}
	p, err := b.launch(nginx, bulkConfig(dir, addr, int(b.files)), Place{Listen: addr, Dir: dir}, b.cpus.load)
	if err != nil {
		return nil, err
	}
	// The first to ask brings the file into memory.
	if n, err := probe(b.ctx, "http://"+addr+"/bulk/1g", nil, time.Minute, p.ended); err != nil || n != hugeAnswer {
		defer p.end()
		return nil, fmt.Errorf("the service of large files: %d bytes, %w\n%s", n, err, p.tail())
	}
	if err := yielding(p.group); err != nil {
		p.end()
		return nil, err
	}
	return p.end, nil
}

func bulkConfig(dir, addr string, files int) string {
	return nginxMain(dir, 1, files) + fmt.Sprintf(`  server {
    listen %s backlog=4096;
    root %s/files;
    sendfile_max_chunk 128k;
    location = /bulk/small { return 200 "%s"; }
  }
}
`, addr, dir, answer(smallAnswer))
}
