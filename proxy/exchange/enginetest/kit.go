package enginetest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// patience bounds every wait of the kit.
const patience = 30 * time.Second

// Engine is what is tested.
type Engine struct {
	NewServer    func(exchange.ServerConfig, exchange.Handler, *slog.Logger) (exchange.Server, error)
	NewTransport func(exchange.TransportConfig) exchange.Transport
	HTTP2        bool // it speaks HTTP/2 on both sides, h2c included
	Strict       bool // it refuses malformed requests itself, so that observers see them
}

// Run checks e. Every check starts its own proxy.
func Run(t *testing.T, e Engine) {
	for _, w := range e.ways() {
		t.Run(w.name(), func(t *testing.T) {
			t.Run("requests", func(t *testing.T) { testRequests(t, e, w) })
			t.Run("bodies", func(t *testing.T) { testBodies(t, e, w) })
			t.Run("trailers", func(t *testing.T) { testTrailers(t, e, w) })
			t.Run("again", func(t *testing.T) { testAgain(t, e, w) })
			t.Run("informational", func(t *testing.T) { testInformational(t, e, w) })
			t.Run("streams", func(t *testing.T) { testStreams(t, e, w) })
			t.Run("broken", func(t *testing.T) { testBroken(t, e, w) })
			t.Run("limits", func(t *testing.T) { testLimits(t, e, w) })
			t.Run("cancelled", func(t *testing.T) { testCancelled(t, e, w) })
			t.Run("drain", func(t *testing.T) { testDrain(t, e, w) })
		})
	}
	t.Run("wire", func(t *testing.T) { testWire(t, e) })
	t.Run("smuggling", func(t *testing.T) { testSmuggling(t, e) })
	t.Run("websocket", func(t *testing.T) { testWebSocket(t, e) })
	t.Run("reuse", func(t *testing.T) { testReuse(t, e) })
	t.Run("keying", func(t *testing.T) { testKeying(t, e) })
	if e.HTTP2 {
		t.Run("grpc", func(t *testing.T) { testGRPC(t, e) })
	}
}

// way is the protocol on either side of the proxy.
type way struct{ client, service exchange.Protocol }

func (w way) name() string { return string(w.client) + "-to-" + string(w.service) }

func (e Engine) ways() []way {
	ways := []way{{exchange.HTTP1, exchange.HTTP1}}
	if e.HTTP2 {
		ways = append(ways, way{exchange.HTTP2, exchange.HTTP2}, way{exchange.HTTP2, exchange.HTTP1}, way{exchange.HTTP1, exchange.HTTP2})
	}
	return ways
}

// proxy is a running server engine, forwarder and transport engine.
type proxy struct {
	t      *testing.T
	way    way
	addr   string // where it listens
	app    string // where the application listens
	server exchange.Server
	trans  exchange.Transport
	served chan error
	client *http.Client

	mu       sync.Mutex
	finished []record
	before   func(*exchange.Exchange, *exchange.ConnInfo) error
	serve    func(*proxy, *exchange.Exchange) error
	panicky  atomic.Bool
}

// record is what an observer sees of a finished exchange.
type record struct {
	method, path, code string
	status             int
	abort              error
	read, written      int64
}

type options struct {
	way       way
	server    exchange.ServerConfig
	transport exchange.TransportConfig
	app       http.Handler
	appAddr   string // instead of app
	// serve does what forward does, nil: forward.
	serve func(*proxy, *exchange.Exchange) error
}

// start runs a proxy in front of o.app. Everything ends with the test.
func start(t *testing.T, e Engine, o options) *proxy {
	t.Helper()
	p := &proxy{t: t, way: o.way, served: make(chan error, 1), app: o.appAddr, serve: o.serve}
	if p.serve == nil {
		p.serve = (*proxy).forward
	}
	if o.app != nil {
		p.app = serveApp(t, o.app)
	}
	o.server.Name = "test"
	if o.server.TLS == nil {
		o.server.H2C = e.HTTP2
	}
	p.trans = e.NewTransport(o.transport)
	var err error
	p.server, err = e.NewServer(o.server, p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	go func() { p.served <- p.server.Serve(l) }()
	p.client = newClient(o.way.client)
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = p.server.Shutdown(ctx)
		p.trans.Close()
		select {
		case err := <-p.served:
			if err != nil {
				t.Errorf("Serve returned %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve did not return after Shutdown")
		}
	})
	return p
}

// serveApp runs a real application that speaks HTTP/1.1 and h2c.
func serveApp(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: &protocols, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().String()
}

func newClient(p exchange.Protocol) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(p == exchange.HTTP1)
	protocols.SetUnencryptedHTTP2(p == exchange.HTTP2)
	return &http.Client{
		Transport:     &http.Transport{Protocols: &protocols, DisableCompression: true, ExpectContinueTimeout: patience},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (p *proxy) url(path string) string { return "http://" + p.addr + path }

// Serve implements exchange.Handler: it forwards, as plainly as can be.
func (p *proxy) Serve(x *exchange.Exchange) {
	if x.Fault == nil && p.panicky.CompareAndSwap(true, false) {
		panic("enginetest: asked to")
	}
	if x.Fault == nil {
		if err := p.serve(p, x); err != nil {
			var f *exchange.Fault
			if !errors.As(err, &f) {
				f = &exchange.Fault{Source: exchange.FromSelf, Status: 500, Code: "not-a-fault", Err: err}
			}
			x.Fault = f
		}
	}
	if x.Fault != nil {
		x.Answer(x.Fault.Status, "text/plain", []byte(x.Fault.Code))
	}
}

func (p *proxy) forward(x *exchange.Exchange) error {
	dropConnectionFields(&x.Request.Header)
	protocol := p.way.service
	if x.Request.Upgrade != "" {
		protocol = exchange.HTTP1
	}
	up, err := p.trans.Reserve(x, p.app, protocol)
	if err != nil {
		return err
	}
	p.mu.Lock()
	before := p.before
	p.mu.Unlock()
	if before != nil {
		if err := before(x, up.Info()); err != nil {
			up.Release()
			return err
		}
	}
	if err := up.RoundTrip(x); err != nil {
		return err
	}
	dropConnectionFields(&x.Response.Header)
	return nil
}

// beforeWrite has f called for every exchange once its connection is known.
func (p *proxy) beforeWrite(f func(*exchange.Exchange, *exchange.ConnInfo) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// dropConnectionFields is what the pipe does with hop-by-hop fields.
func dropConnectionFields(h *exchange.Fields) {
	connection := h.Joined("Connection")
	if connection != "" {
		h.Filter(func(name, _ string) bool { return !exchange.Lists(connection, name) || strings.EqualFold(name, "TE") })
	}
	h.Filter(func(name, value string) bool {
		switch strings.ToLower(name) {
		case "connection", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding":
			return false
		case "te":
			return value == "trailers"
		}
		return true
	})
}

// Finish implements exchange.Handler.
func (p *proxy) Finish(x *exchange.Exchange) {
	r := record{method: strings.Clone(x.Request.Method), path: strings.Clone(x.Request.Path), status: x.Response.Status,
		abort: x.Abort, read: x.Request.Read, written: x.Response.Written}
	if x.Fault != nil {
		r.code = x.Fault.Code
	}
	x.RunDone()
	p.mu.Lock()
	p.finished = append(p.finished, r)
	p.mu.Unlock()
}

func (p *proxy) records() []record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]record(nil), p.finished...)
}

// record waits for the exchange of path to be finished, and fails when it is
// finished more than once.
func (p *proxy) record(path string) record {
	p.t.Helper()
	var found []record
	eventually(p.t, "exchange "+path+" to be finished", func() bool {
		found = found[:0]
		for _, r := range p.records() {
			if r.path == path {
				found = append(found, r)
			}
		}
		return len(found) > 0
	})
	if len(found) > 1 {
		p.t.Fatalf("exchange %s was finished %d times", path, len(found))
	}
	return found[0]
}

// eventually polls until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// within runs f and fails the test when it takes too long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s took longer than %s", what, patience)
	}
}

// background is an exchange that no server made, as long as the test.
func background(t *testing.T) *exchange.Exchange {
	x := new(exchange.Exchange)
	x.Begin(t.Context())
	return x
}
