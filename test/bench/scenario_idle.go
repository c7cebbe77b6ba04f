package main

import (
	"context"
	"fmt"
)

// idle10k holds 10,000 connections that say nothing.
func idle10k() *Scenario {
	return &Scenario{
		Name:       "idle_10k",
		Title:      "memory of 10,000 idle keep-alive connections",
		Metric:     idleMemory,
		Target:     "≤ 4 KB",
		Answer:     smallAnswer,
		Fresh:      true, // what a round leaves behind would be there before the next
		Contenders: edges(Edge{}, "lintel", "nginx", "haproxy", "caddy"),
		Prepare: func(b *Bench) (func(), error) {
			if need := uint64(idleConnections + 1000); b.files < need {
				return nil, fmt.Errorf("processes may open %d files and need %d: raise the limit (ulimit -Hn)", b.files, need)
			}
			return func() {}, nil
		},
		// A little first: buffers, pools and code that any traffic brings.
		Warm: func(ctx context.Context, b *Bench, t Turn) (Load, error) {
			heads := make([][]byte, 5000)
			for i := range heads {
				heads[i] = requestHead("GET", t.Running.Addr, "/", "")
			}
			return sendAll(ctx, t.Running.Addr, b.opts.connections, heads)
		},
		Load: holdIdle,
	}
}
