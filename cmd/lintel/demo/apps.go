package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// app is a small service on a loopback port.
type app struct {
	server   *http.Server
	listener net.Listener
}

func startApp(h http.Handler) (*app, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo: app: %w", err)
	}
	a := &app{server: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}, listener: l}
	go func() { _ = a.server.Serve(l) }()
	return a, nil
}

func (a *app) addr() string { return a.listener.Addr().String() }

func (a *app) close(ctx context.Context) { _ = a.server.Shutdown(ctx) }
