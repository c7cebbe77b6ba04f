package kit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Echo is what an app of the kit answers: what it saw.
type Echo struct {
	App    string      `json:"app"`
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Host   string      `json:"host"`
	Header http.Header `json:"header"`
	// Trailer holds the request's trailers; the body is read to its end before.
	Trailer http.Header     `json:"trailer,omitempty"`
	Body    string          `json:"body,omitempty"`
	Next    json.RawMessage `json:"next,omitempty"` // what the service it called answered
	Status  int             `json:"next_status,omitempty"`
}

// App is a small real service on a loopback port.
type App struct {
	Name      string
	Addr      string
	Outbound  string                      // its sidecar's outbound listener, "" when none
	Requests  atomic.Int64                // requests served
	Cancelled atomic.Int64                // requests whose caller went away
	Extra     map[string]http.HandlerFunc // further paths; set before use
	GRPC      http.Handler                // answers gRPC calls when given; set before use
	mu        sync.Mutex
	last      *http.Request
	server    *http.Server
}

// StartApp serves on addr, "" for a free port, until the test ends. It speaks
// HTTP/1.1 and h2c.
func StartApp(t testing.TB, name, addr string) *App {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	a := &App{Name: name, Addr: l.Addr().String(), Extra: map[string]http.HandlerFunc{}}
	a.server = &http.Server{Handler: http.HandlerFunc(a.serve), Protocols: new(http.Protocols)}
	a.server.Protocols.SetHTTP1(true)
	a.server.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = a.server.Serve(l) }()
	t.Cleanup(a.Stop)
	return a
}

// Stop ends it at once.
func (a *App) Stop() { _ = a.server.Close() }

// Last is the last request it saw.
func (a *App) Last() *http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *App) serve(w http.ResponseWriter, r *http.Request) {
	a.Requests.Add(1)
	a.mu.Lock()
	a.last = r
	a.mu.Unlock()
	if a.GRPC != nil && r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		a.GRPC.ServeHTTP(w, r)
		return
	}
	if h, ok := a.Extra[r.URL.Path]; ok {
		h(w, r)
		return
	}
	switch r.URL.Path {
	case "/call":
		a.call(w, r)
	case "/ws":
		echoWebSocket(w, r)
	case "/slow":
		ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			_, _ = io.WriteString(w, "slow\n")
		case <-r.Context().Done():
			a.Cancelled.Add(1)
		}
	case "/ticks":
		ticks(w, r)
	default:
		a.echo(w, r, nil, 0)
	}
}

func (a *App) echo(w http.ResponseWriter, r *http.Request, next json.RawMessage, status int) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Echo{App: a.Name, Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host,
		Header: r.Header, Trailer: r.Trailer, Body: string(body), Next: next, Status: status})
}

// call asks another service through the own sidecar, forwarding nothing but the
// trace context, as an OpenTelemetry app does; ?with=token forwards the
// Txn-Token instead.
func (a *App) call(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	h := http.Header{}
	switch q.Get("with") {
	case "token":
		h["Txn-Token"] = r.Header["Txn-Token"]
	case "nothing":
	default:
		h["Traceparent"], h["Tracestate"] = r.Header["Traceparent"], r.Header["Tracestate"]
	}
	for name, values := range q {
		if len(name) > 2 && name[:2] == "h-" {
			h.Set(name[2:], values[0])
		}
	}
	status, body, err := a.Ask(r.Context(), q.Get("service"), q.Get("path"), h)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	if !json.Valid(body) {
		body, _ = json.Marshal(string(body))
	}
	a.echo(w, r, body, status)
}

// Ask calls a service through the app's sidecar.
func (a *App) Ask(ctx context.Context, service, path string, h http.Header) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Outbound+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Host, req.Header = service, h
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

func echoWebSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 20)
	for {
		kind, msg, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, msg); err != nil {
			return
		}
	}
}

// ticks streams server-sent events: ?n of them, ?every ms.
func ticks(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	every, _ := strconv.Atoi(r.URL.Query().Get("every"))
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range n {
		_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(time.Duration(every) * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}
