package compose

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
)

// Server turns limits into an engine's config.
func Server(name string, l config.Limits) exchange.ServerConfig {
	if l.WriteTimeout == 0 {
		l.WriteTimeout = -1
	}
	return exchange.ServerConfig{WriteTimeout: l.WriteTimeout, Name: name, HeaderBytes: int(l.HeaderBytes), HeaderCount: l.HeaderCount,
		BodyBytes: l.BodyBytes, HeaderTimeout: l.HeaderTimeout, IdleTimeout: l.IdleTimeout,
		RequestTimeout: l.RequestTimeout, MaxConns: l.Connections}
}

// CheckListen finds an address that no listener could have.
func CheckListen(address string) error {
	if strings.HasPrefix(address, "unix:") {
		return nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("expected host:port, found %q", address)
	}
	return nil
}

// MeshService is a mesh service of which nothing but the name is known: a
// service section's defaults.
func MeshService() config.Service {
	s, err := config.Parse("defaults", []byte("version: 1\nservices: {mesh: {mesh: true}}\n"))
	if err != nil {
		panic(fmt.Sprintf("compose: the defaults do not parse: %v", err))
	}
	return s.Services["mesh"]
}

// StopServers shuts all servers down at once and reports the exchanges cut.
func StopServers(ctx context.Context, log *slog.Logger, servers iter.Seq[exchange.Server]) int {
	var cut atomic.Int64
	var wg sync.WaitGroup
	for s := range servers {
		wg.Go(func() {
			n, err := s.Shutdown(ctx)
			cut.Add(int64(n))
			if err != nil {
				log.Warn("drain: listener did not end by itself", "cut", n, "error", err)
			}
		})
	}
	wg.Wait()
	return int(cut.Load())
}

// PathMode is what a path setting means.
func PathMode(setting string) route.Mode {
	if setting == "keep_encoded" {
		return route.KeepEncoded
	}
	return route.Strict
}
