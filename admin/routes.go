package admin

import (
	"net/http"
	"net/http/pprof"
	"strings"
)

// apiRoutes is the whole API.
func (s *Server) apiRoutes() http.Handler {
	mux := http.NewServeMux()
	s.addProbes(mux)
	mux.HandleFunc("GET /config", s.config)
	mux.HandleFunc("GET /routes", s.ask("routes", s.src.Routes))
	mux.HandleFunc("GET /services", s.ask("services", s.src.Services))
	mux.HandleFunc("GET /connections", s.ask("connections", s.src.Connections))
	mux.HandleFunc("GET /explain", s.explain)
	mux.HandleFunc("GET /cache", s.caches)
	mux.HandleFunc("POST /cache/purge", s.purge)
	mux.HandleFunc("DELETE /cache/purge", s.purge)
	mux.HandleFunc("POST /jwt/deny", s.denyToken)
	mux.HandleFunc("POST /drain", s.beginDrain)
	mux.HandleFunc("POST /leave", s.leave)
	mux.HandleFunc("POST /reload", s.runReload)
	mux.HandleFunc("GET /.well-known/jwks.json", s.keys)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", s.index)
	return problems(mux)
}

// probeRoutes is what any address may serve.
func (s *Server) probeRoutes() http.Handler {
	mux := http.NewServeMux()
	s.addProbes(mux)
	return problems(mux)
}

func (s *Server) addProbes(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", s.livez)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.src.Metrics != nil {
		mux.Handle("GET /metrics", s.src.Metrics)
	}
}

// problems gives the mux's own refusals the shape that all others have.
func problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		p := &probe{header: http.Header{}}
		h.ServeHTTP(p, r)
		if allow := p.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			problem(w, http.StatusMethodNotAllowed, "method", "This path takes "+allow+".")
			return
		}
		problem(w, http.StatusNotFound, "not-found", "There is nothing at this path; GET / lists what there is.")
	})
}

// probe learns what the mux's refusal would have been.
type probe struct{ header http.Header }

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(int)             {}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte(strings.TrimLeft(`
GET  /livez         the process answers
GET  /readyz        whether it can take traffic, and what that hangs on
GET  /metrics       for Prometheus
GET  /config        the configuration in force, without secrets
GET  /routes        the routes in matching order
GET  /services      services, their endpoints and breakers
GET  /connections   open connections
GET  /explain       ?method=&host=&path=&header=Name:value&scheme=&listener=&client_ip=&peer=&client_cert=: what would happen to a request
GET  /cache         what caches hold, and their hits
POST /cache/purge   {"url": …}, {"prefix": …}, {"tag": …} or {"all": true}: forget answers
POST /drain         stop taking traffic and finish what is in flight
POST /reload        read the configuration again
GET  /.well-known/jwks.json   keys of those who mint Txn-Tokens
GET  /debug/pprof/  Go profiles

JSON answers are indented unless ?compact is given.
`, "\n")))
}
