// Package apps is the three small services that the demo and docker-compose.yml
// run behind their sidecars, and the issuer of their users' tokens.
package apps

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Handler is the service of that name. mesh tells where its sidecar takes the
// service's own calls, as host:port; only orders makes any.
func Handler(service string, mesh func() string) (http.Handler, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	switch service {
	case "users":
		mux.HandleFunc("GET /me", me)
	case "inventory":
		mux.HandleFunc("GET /stock/{sku}", stock())
	case "orders":
		mux.HandleFunc("GET /{id}", order(mesh))
	default:
		return nil, fmt.Errorf("apps: expected users, orders or inventory, found %q", service)
	}
	return mux, nil
}

// Seen is what a service was told about the call it serves.
type Seen struct {
	Service string   `json:"service"`
	Trace   string   `json:"trace_id"`
	Txn     string   `json:"transaction,omitempty"`
	User    string   `json:"user,omitempty"`
	Roles   string   `json:"roles,omitempty"`
	Through []string `json:"through,omitempty"` // SPIFFE IDs, oldest first
}

func seen(service string, r *http.Request) Seen {
	s := Seen{Service: service, Txn: r.Header.Get("X-Lintel-Txn"), User: r.Header.Get("X-User-Id"), Roles: r.Header.Get("X-User-Roles")}
	if parts := strings.Split(r.Header.Get("Traceparent"), "-"); len(parts) == 4 {
		s.Trace = parts[1]
	}
	if chain := r.Header.Get("X-Lintel-Chain"); chain != "" {
		s.Through = strings.Split(chain, ", ")
	}
	return s
}

// me knows who the caller is because its sidecar says so.
func me(w http.ResponseWriter, r *http.Request) {
	s := seen("users", r)
	writeJSON(w, map[string]any{"id": s.User, "roles": s.Roles, "seen": s})
}

// stock answers how much there is, cacheable, and counts how often it was
// really asked.
func stock() http.HandlerFunc {
	var asked atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		writeJSON(w, map[string]any{"sku": r.PathValue("sku"), "in_stock": 7, "asked": asked.Add(1), "seen": seen("inventory", r)})
	}
}

// order calls inventory through its own sidecar. It forwards nothing but the
// trace context, as any OpenTelemetry app does.
func order(mesh func() string) http.HandlerFunc {
	client := &http.Client{Timeout: 10 * time.Second}
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+mesh()+"/stock/lintel", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		req.Host = "inventory"
		for _, name := range []string{"Traceparent", "Tracestate"} {
			req.Header[name] = r.Header[name]
		}
		res, err := client.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		var stock any
		if err := json.NewDecoder(http.MaxBytesReader(w, res.Body, 1<<20)).Decode(&stock); err != nil {
			http.Error(w, fmt.Sprintf("inventory answered %d: %v", res.StatusCode, err), http.StatusBadGateway)
			return
		}
		writeJSON(w, map[string]any{"id": r.PathValue("id"), "seen": seen("orders", r), "inventory": stock})
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the caller is gone if this fails
}
