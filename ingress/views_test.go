package ingress

import (
	"bytes"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

// filtered has every filter that keeps something between exchanges.
const filtered = `
version: 1
listeners:
  - {name: edge, address: "127.0.0.1:0"}
routes:
  - name: shop
    match: {path: "/shop/items/{id}"}
    service: shop
    filters:
      - rate_limit: {requests: 1000000, window: 1s, burst: 100000, key: ["header:user-agent", address]}
      - cache: {ttl: 1h, vary: [Accept]}
      - headers: {request: {set: {X-Client: "{client_ip} {request_id}"}}, response: {set: {X-Trace: "{trace_id}"}}}
services:
  shop: {static: ["127.0.0.1:9000", "127.0.0.1:9001"]}
tracing: {sample: 0}
`

// TestNothingKeepsAView: an engine's strings look into buffers that it uses
// again. Whoever keeps one beyond the exchange reads another's bytes: here,
// bytes that no text has.
func TestNothingKeepsAView(t *testing.T) {
	for name, text := range map[string]string{"default": plain, "filters": filtered} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, text)
			p.views, p.log.keep = make([]byte, 0, 16<<10), true
			if name == "filters" {
				p.fields = ordinary[:5] // nothing that keeps the answer from being stored
			}
			const rounds = 20
			for range rounds {
				p.exchange()
				if p.bad != "" {
					t.Fatal(p.bad)
				}
			}
			want := rounds
			if name == "filters" {
				want = 1 // what is stored is found by its key, and given as it was
			}
			if p.wire.sent != want {
				t.Errorf("%d requests were forwarded, want %d", p.wire.sent, want)
			}
			for _, f := range answer {
				if got := p.x.Response.Header.Get(f.Name); name == "filters" && f.Name != "Connection" && got != f.Value {
					t.Errorf("the stored answer has %s: %q, want %q", f.Name, got, f.Value)
				}
			}
			p.close()
			if n := bytes.Count(p.log.Bytes(), []byte("\n")); n != rounds || bytes.IndexByte(p.log.Bytes(), scribbled) >= 0 {
				t.Errorf("%d lines, want %d, in\n%q", n, rounds, p.log.Bytes())
			}
			w := httptest.NewRecorder()
			p.metrics.Handler(slog.New(slog.NewTextHandler(io.Discard, nil))).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			page := w.Body.String()
			if strings.IndexByte(page, scribbled) >= 0 || strings.Contains(page, "\uFFFD") ||
				!strings.Contains(page, `http_server_active_requests{lintel_listener="edge"} 0`) {
				t.Errorf("metrics hold something else than they should:\n%s", page)
			}
		})
	}
}
