package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// webSocket sends small messages through upgraded connections and has them
// sent back, one at a time each.
func webSocket() *Scenario {
	var addr string
	return &Scenario{
		Name:       "websocket",
		Title:      "WebSocket echo of 128-byte messages",
		Metric:     Metric{"cpu_us", "CPU µs/round trip", cpuPerRequest.Value},
		Contenders: edges(Edge{WS: true}, "lintel", "nginx", "haproxy", "caddy"),
		Next:       func(*Bench) string { return addr },
		Prepare: func(*Bench) (func(), error) {
			var err error
			if addr, err = freeAddr(); err != nil {
				return nil, err
			}
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return nil, err
			}
			s := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: time.Minute}
			go func() { _ = s.Serve(l) }()
			return func() { _ = s.Close() }, nil
		},
		Load: echoLoad,
	}
}

// echo sends every message back. Who does not ask for an upgrade is told that it is there.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, message, err := c.Read(context.Background())
		if err != nil {
			return
		}
		if err := c.Write(context.Background(), kind, message); err != nil {
			return
		}
	}
}

func echoLoad(ctx context.Context, b *Bench, t Turn) (Load, error) {
	url := "ws://" + t.Running.Addr + "/echo"
	message := bytes.Repeat([]byte("x"), 128)
	deadline := time.Now().Add(time.Duration(t.Seconds) * time.Second)
	return work(b.opts.connections, func(_ int, t *tally) {
		limit, cancel := context.WithDeadline(ctx, deadline.Add(patience))
		defer cancel()
		c, _, err := websocket.Dial(limit, url, nil)
		if err != nil {
			t.add(0, err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		for time.Now().Before(deadline) && ctx.Err() == nil {
			start := time.Now()
			err := c.Write(limit, websocket.MessageBinary, message)
			if err == nil {
				var back []byte
				if _, back, err = c.Read(limit); err == nil && !bytes.Equal(back, message) {
					err = fmt.Errorf("sent %d bytes, got other %d back", len(message), len(back))
				}
			}
			t.add(time.Since(start), err)
			if err != nil {
				return
			}
		}
	}), ctx.Err()
}
