// Command apps is one of the demo's small services as a process of its own, for
// docker-compose.yml:
//
//	go run ./deploy/apps --service orders --listen 127.0.0.1:8080 --mesh http://127.0.0.1:15001
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"lintel.dev/lintel/cmd/lintel/demo/apps"
)

// drain bounds the wait for requests in flight.
const drain = 10 * time.Second

func main() {
	service := flag.String("service", "", "users, orders, inventory, or issuer, which hands out the demo user's tokens")
	listen := flag.String("listen", "127.0.0.1:8080", "where to listen; with a sidecar, on loopback only")
	mesh := flag.String("mesh", "http://127.0.0.1:15001", "where the sidecar takes this service's own calls")
	flag.Parse()
	if err := run(*service, *listen, *mesh); err != nil {
		fmt.Fprintln(os.Stderr, "apps:", err)
		os.Exit(1)
	}
}

func run(service, listen, mesh string) error {
	handler, err := build(service, mesh)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: listen, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := server.Shutdown(end); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stopping: %w", err)
	}
	return nil
}

func build(service, mesh string) (http.Handler, error) {
	if service == "issuer" {
		return apps.NewIssuer()
	}
	to, err := url.Parse(mesh)
	if err != nil || to.Scheme != "http" || to.Host == "" {
		return nil, fmt.Errorf("--mesh: expected http://host:port, found %q", mesh)
	}
	return apps.Handler(service, func() string { return to.Host })
}
