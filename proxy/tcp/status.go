package tcp

import (
	"cmp"
	"slices"
	"time"
)

// Status is one running stream as the admin API shows it.
type Status struct {
	Listener string    `json:"listener"`
	Service  string    `json:"service"`
	Endpoint string    `json:"endpoint,omitempty"`
	Peer     string    `json:"peer,omitempty"`
	Client   string    `json:"client"`
	Since    time.Time `json:"since"`
	In       int64     `json:"bytes_in"`
	Out      int64     `json:"bytes_out"`
}

// Name is the listener's.
func (s *Server) Name() string { return s.cfg.Name }

// Service is what its connections are for.
func (s *Server) Service() string { return s.cfg.Service }

// Open counts the connections there are, those in their handshake included.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Status lists running streams, the oldest first, at most limit.
func (s *Server) Status(limit int) []Status {
	all := s.all()
	slices.SortFunc(all, func(a, b *running) int { return cmp.Compare(a.Start.UnixNano(), b.Start.UnixNano()) })
	out := []Status{}
	for _, r := range all[:min(limit, len(all))] {
		st := Status{Listener: r.Listener, Service: r.Service, Client: r.Remote.String(), Since: r.Start, In: r.In.Load(), Out: r.Out.Load()}
		r.mu.Lock()
		if r.service != nil { // until then they are being found
			st.Endpoint, st.Peer = r.Endpoint, r.Peer.ID
		}
		r.mu.Unlock()
		out = append(out, st)
	}
	return out
}
