package enginetest

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
)

// Nobody is an address that takes no connections.
const Nobody = "127.0.0.1:1"

// testAgain sends bodies with trailers to a service of which one endpoint fails:
// whoever answers must have seen all of both, however the body was kept for it.
func testAgain(t *testing.T, e Engine, w way) {
	again := cluster.Options{Attempts: 3, OnConnect: true, OnReset: true, OnStatus: []int{503}, Timeout: patience,
		OnGRPC: cluster.Statuses(14), BufferBody: 1 << 20}
	hedged := cluster.Options{Timeout: patience, BufferBody: 1 << 20, Hedge: cluster.HedgeAfter(time.Millisecond, []string{"PUT"})}
	once := func(first http.HandlerFunc) http.Handler {
		var failed atomic.Bool
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if first != nil && !failed.Swap(true) {
				first(w, r)
				return
			}
			if r.Header.Get("Content-Type") == "application/grpc" {
				w.Header().Set("Grpc-Status", "0")
			}
			if err == nil {
				_, _ = io.WriteString(w, string(body)+" "+r.Trailer.Get("X-Sum"))
			}
		})
	}
	for name, c := range map[string]struct {
		first   http.HandlerFunc // what the first request meets; nil: nothing fails
		options *cluster.Options
		grpc    bool // whose bodies are kept as they stream
		nobody  bool // takes connections at one of two endpoints
	}{
		"nothing fails": {options: &again},
		"a gRPC call":   {options: &again, grpc: true},
		"a status":      {first: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, options: &again},
		"a reset":       {first: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, options: &again},
		"a gRPC status": {first: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Grpc-Status", "14") }, options: &again, grpc: true},
		"nobody there":  {options: &again, nobody: true},
		"a late answer": {first: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, options: &hedged},
	} {
		if w.client == exchange.HTTP1 && (c.grpc || c.first != nil) {
			continue // there it is no gRPC, and trailers come after chunks only, which are kept of gRPC calls only
		}
		t.Run(name, func(t *testing.T) {
			app := once(c.first)
			endpoints := []cluster.Endpoint{{Address: serveApp(t, app)}, {Address: serveApp(t, app)}}
			if c.nobody {
				endpoints[0].Address = Nobody
			}
			cl := cluster.New(cluster.Config{Service: "s", Balance: "round_robin", Protocol: map[exchange.Protocol]string{exchange.HTTP1: "http1", exchange.HTTP2: "h2"}[w.service],
				Transport: e.NewTransport(exchange.TransportConfig{})})
			t.Cleanup(func() { _ = cl.Close() })
			cl.Replace(endpoints)
			p := start(t, e, options{way: w, serve: func(_ *proxy, x *exchange.Exchange) error {
				dropConnectionFields(&x.Request.Header)
				if f := cl.Forward(x, c.options); f != nil {
					return f
				}
				dropConnectionFields(&x.Response.Header)
				return nil
			}})
			for _, length := range []int64{8, -1} {
				if length > 0 && w.client == exchange.HTTP1 || length < 0 && c.first != nil && !c.grpc {
					continue
				}
				for range 2 { // both endpoints
					req, _ := http.NewRequest("PUT", p.url("/again"), struct{ io.Reader }{strings.NewReader("question")})
					req.ContentLength = length
					req.Trailer = http.Header{"X-Sum": {"42"}}
					if c.grpc {
						req.Header.Set("Content-Type", "application/grpc")
					}
					res, err := p.client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if err != nil || res.StatusCode != 200 || string(body) != "question 42" {
						t.Errorf("length %d: %d %q %v", length, res.StatusCode, body, err)
					}
				}
			}
		})
	}
}
