package admin

import "net/http"

// readiness is the body of /readyz.
type readiness struct {
	Status string  `json:"status"` // "ready", "draining" or "not ready"
	Checks []Check `json:"checks"`
}

func (s *Server) livez(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	s.answer(w, r, http.StatusOK, struct {
		Status string `json:"status"`
	}{"live"})
}

// readyz answers 503 while a required check fails or the process drains.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	body, status := readiness{Status: "ready", Checks: []Check{}}, http.StatusOK
	if s.src.Ready != nil {
		body.Checks = append(body.Checks, s.src.Ready()...)
	}
	for _, c := range body.Checks {
		if c.Required && !c.OK {
			body.Status, status = "not ready", http.StatusServiceUnavailable
		}
	}
	if s.draining.Load() {
		body.Status, status = "draining", http.StatusServiceUnavailable
	}
	s.answer(w, r, status, body)
}
