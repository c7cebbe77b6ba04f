package admin

import (
	"net/http"
)

// beginDrain begins the drain once; asking again says the same.
func (s *Server) beginDrain(w http.ResponseWriter, r *http.Request) {
	if s.src.Drain == nil {
		absent(w, "drain")
		return
	}
	s.draining.Store(true)
	s.drain.Do(func() {
		s.log.Info("drain asked for through the admin API", "from", r.RemoteAddr)
		s.src.Drain()
	})
	s.answer(w, r, http.StatusAccepted, struct {
		Status string `json:"status"`
	}{"draining"})
}

// leave makes the process unready and has it leave the catalog, while it goes on
// serving. It answers once nobody is sent here any more.
func (s *Server) leave(w http.ResponseWriter, r *http.Request) {
	if s.src.Leave == nil {
		absent(w, "leave")
		return
	}
	s.draining.Store(true)
	s.log.Info("leave asked for through the admin API", "from", r.RemoteAddr)
	if err := s.src.Leave(r.Context()); err != nil {
		problem(w, http.StatusBadGateway, "leave-incomplete", "Others may still call this instance. "+err.Error())
		return
	}
	s.answer(w, r, http.StatusOK, struct {
		Status string `json:"status"`
	}{"left"})
}

// runReload reads the configuration again, one request at a time.
func (s *Server) runReload(w http.ResponseWriter, r *http.Request) {
	if s.src.Reload == nil {
		absent(w, "reload")
		return
	}
	if !s.reload.TryLock() {
		problem(w, http.StatusConflict, "reload-running", "A reload is in progress; ask again when it is over.")
		return
	}
	defer s.reload.Unlock()
	s.log.Info("reload asked for through the admin API", "from", r.RemoteAddr)
	if err := s.src.Reload(); err != nil {
		problem(w, http.StatusUnprocessableEntity, "reload-refused", "The running configuration stays. "+err.Error())
		return
	}
	s.answer(w, r, http.StatusOK, struct {
		Status string `json:"status"`
	}{"reloaded"})
}

func (s *Server) keys(w http.ResponseWriter, r *http.Request) {
	if s.src.Keys == nil {
		absent(w, "keys")
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "max-age=60")
	w.Write(s.src.Keys())
}
