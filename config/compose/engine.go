package compose

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1"
	"lintel.dev/lintel/proxy/nethttp"
)

// engines is both engines as one server: HTTP/1.1 is ours, and connections
// whose client speaks HTTP/2 are handed to net/http's.
type engines struct{ one, two exchange.Server }

// NewServer returns the server engine of a listener. Nobody else needs to know
// which it is.
func NewServer(cfg exchange.ServerConfig, h exchange.Handler, log *slog.Logger) (exchange.Server, error) {
	if !cfg.H2 && !cfg.H2C {
		return http1.NewServer(cfg, h, log, http1.Options{})
	}
	two, err := nethttp.NewServer(cfg, h, log)
	if err != nil {
		return nil, err
	}
	one, err := http1.NewServer(cfg, h, log, http1.Options{HTTP2: two.Take})
	if err != nil {
		return nil, err
	}
	return &engines{one, two}, nil
}

// Serve implements exchange.Server.
func (e *engines) Serve(l net.Listener) error { return e.one.Serve(l) }

// Leaving implements exchange.Server.
func (e *engines) Leaving() {
	e.one.Leaving()
	e.two.Leaving()
}

// Shutdown implements exchange.Server.
func (e *engines) Shutdown(ctx context.Context) (int, error) {
	var cut int
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { cut, err = e.two.Shutdown(ctx) })
	n, oerr := e.one.Shutdown(ctx)
	wg.Wait()
	return cut + n, errors.Join(oerr, err)
}

// transports is both engines as one transport.
type transports struct{ one, two exchange.Transport }

// NewTransport returns the transport engine of a cluster.
func NewTransport(cfg exchange.TransportConfig) exchange.Transport {
	return &transports{http1.NewTransport(cfg), http1.Bridge(nethttp.NewTransport(cfg))}
}

// Reserve implements exchange.Transport.
func (t *transports) Reserve(x *exchange.Exchange, address string, p exchange.Protocol) (exchange.Upstream, error) {
	if p == exchange.HTTP2 {
		return t.two.Reserve(x, address, p)
	}
	return t.one.Reserve(x, address, p)
}

// Retire implements exchange.Transport.
func (t *transports) Retire(address string) {
	t.one.Retire(address)
	t.two.Retire(address)
}

// Close implements exchange.Transport.
func (t *transports) Close() {
	t.one.Close()
	t.two.Close()
}

// Open implements exchange.Transport.
func (t *transports) Open() int { return t.one.Open() + t.two.Open() }
