package compose

import (
	"slices"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/tcp"
	"lintel.dev/lintel/tracing"
)

// maxStreamsShown bounds what the admin API lists of running streams.
const maxStreamsShown = 1000

// Opaque makes a listener for opaque TCP streams known.
func (w *Watched) Opaque(s *tcp.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tcp = append(w.tcp, s)
}

func (w *Watched) opaque() []*tcp.Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tcp)
}

// withStreams adds what there is of opaque streams to what connections are shown.
func (w *Watched) withStreams(shown map[string]any) map[string]any {
	servers := w.opaque()
	if len(servers) == 0 {
		return shown
	}
	type listener struct {
		Listener string `json:"listener"`
		Service  string `json:"service"`
		Streams  int    `json:"streams"`
	}
	listeners, streams := []listener{}, []tcp.Status{}
	for _, s := range servers {
		listeners = append(listeners, listener{s.Name(), s.Service(), s.Open()})
		streams = append(streams, s.Status(maxStreamsShown-len(streams))...)
	}
	shown["tcp_listeners"], shown["streams"] = listeners, streams
	return shown
}

// streamGauges registers what listeners for opaque streams count themselves.
func (w *Watched) streamGauges() error {
	each := func(value func(*tcp.Server) float64) func(tracing.Emit) {
		return func(emit tracing.Emit) {
			for _, s := range w.opaque() {
				emit(value(s), s.Name(), s.Service())
			}
		}
	}
	return w.Metrics.WatchStreams(tracing.Streams{
		Active:   each(func(s *tcp.Server) float64 { return float64(s.Open()) }),
		Received: each(func(s *tcp.Server) float64 { return float64(s.In.Load()) }),
		Sent:     each(func(s *tcp.Server) float64 { return float64(s.Out.Load()) }),
	})
}

// Stream counts and logs an opaque stream that has ended.
func (o *Observers) Stream(s *exchange.Stream) {
	o.Metrics.Stream(s)
	if o.access != nil {
		o.access.Stream(s)
	}
}
