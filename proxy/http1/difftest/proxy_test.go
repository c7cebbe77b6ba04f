package difftest

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1"
	"lintel.dev/lintel/proxy/nethttp"
)

// proxy is one engine, both sides of it, as plain as can be.
type proxy struct {
	name      string
	door      *door
	server    exchange.Server
	transport exchange.Transport
	watched   bool // see client

	mu      sync.Mutex
	address string // of the service
	faults  []exchange.Fault
	methods []string // of all requests, as far as they were understood
	aborts  []string
}

// pair is the engine and its reference. Both live as long as t.
func pair(t testing.TB) (ours, reference *proxy) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	// ProxyRequests: to strangers the reference says Connection: close where
	// Content-Length and Transfer-Encoding may have come together; http1 has
	// refused that.
	cfg := exchange.ServerConfig{Name: "test", ProxyRequests: true}
	ours, reference = &proxy{name: "http1"}, &proxy{name: "nethttp", watched: true}
	var err error
	ours.transport, reference.transport = http1.NewTransport(exchange.TransportConfig{}), nethttp.NewTransport(exchange.TransportConfig{})
	if ours.server, err = http1.NewServer(cfg, ours, log, http1.Options{Threads: true}); err != nil {
		t.Fatal(err)
	}
	if reference.server, err = nethttp.NewServer(cfg, reference, log); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*proxy{ours, reference} {
		p.door = newDoor()
		served := make(chan error, 1)
		go func() { served <- p.server.Serve(p.door) }()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, _ = p.server.Shutdown(ctx)
			p.transport.Close()
			if err := <-served; err != nil {
				t.Errorf("%s: Serve returned %v", p.name, err)
			}
		})
	}
	return ours, reference
}

// ask sends in and returns what comes back.
func (p *proxy) ask(t testing.TB, in []byte, step int) []byte {
	t.Helper()
	c := newClient(in, step, p.watched)
	p.door.conns <- c
	return c.answer(t)
}

// Serve implements exchange.Handler.
func (p *proxy) Serve(x *exchange.Exchange) {
	p.mu.Lock()
	p.methods = append(p.methods, strings.Clone(x.Request.Method))
	p.mu.Unlock()
	if x.Fault == nil {
		if err := p.forward(x); err != nil && !errors.As(err, &x.Fault) {
			panic(err) // engines give faults
		}
	}
	if f := x.Fault; f != nil {
		p.mu.Lock()
		kept := *f
		kept.Detail = strings.Clone(f.Detail)
		p.faults = append(p.faults, kept)
		p.mu.Unlock()
		x.Answer(f.Status, "text/plain", []byte(f.Code))
	}
}

func (p *proxy) forward(x *exchange.Exchange) error {
	dropConnectionFields(&x.Request.Header)
	p.mu.Lock()
	address := p.address
	p.mu.Unlock()
	up, err := p.transport.Reserve(x, address, exchange.HTTP1)
	if err != nil {
		return err
	}
	if err := up.RoundTrip(x); err != nil {
		return err
	}
	dropConnectionFields(&x.Response.Header)
	return nil
}

// dropConnectionFields is what the pipe does.
func dropConnectionFields(h *exchange.Fields) {
	var nominated []string
	for v := range h.Values("Connection") {
		for name := range strings.SplitSeq(v, ",") {
			nominated = append(nominated, exchange.Trim(name))
		}
	}
	h.Filter(func(name, value string) bool {
		for _, n := range nominated {
			if exchange.EqualFold(name, n) && !exchange.EqualFold(name, "te") {
				return false
			}
		}
		switch strings.ToLower(name) {
		case "connection", "keep-alive", "proxy-connection", "upgrade":
			return false
		case "te":
			return value == "trailers"
		}
		return true
	})
}

// Finish implements exchange.Handler.
func (p *proxy) Finish(x *exchange.Exchange) {
	if x.Abort != nil {
		p.mu.Lock()
		p.aborts = append(p.aborts, x.Abort.Error())
		p.mu.Unlock()
	}
	x.RunDone()
}

// at points the proxy at a service and forgets what was before.
func (p *proxy) at(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address, p.faults, p.methods, p.aborts = address, nil, nil, nil
}

func (p *proxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.methods
}

func (p *proxy) seen() (faults []exchange.Fault, aborts []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.aborts
}
