package tracing

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lintel.dev/lintel/proxy/exchange"
)

// streams are the histograms of opaque TCP streams. Their labels come from
// configuration and from a fixed list of fault codes.
type streams struct {
	duration, connect *prometheus.HistogramVec
}

func newStreams() streams {
	return streams{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lintel_tcp_connection_duration_seconds", Buckets: []float64{.01, .1, 1, 10, 60, 600, 3600, 14400, 86400},
			Help: "Life of opaque TCP connections that have ended; error_type says why when it was not in order.",
		}, []string{"lintel_listener", "lintel_service", "error_type"}),
		connect: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lintel_tcp_connect_duration_seconds", Buckets: []float64{.0005, .001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
			Help: "Time until an opaque TCP connection was joined to its endpoint, TLS of both sides and retries included.",
		}, []string{"lintel_listener", "lintel_service"}),
	}
}

// Streams are closures about opaque TCP connections, of (listener, service).
type Streams struct {
	Active   func(Emit) // open now
	Received func(Emit) // bytes from clients so far
	Sent     func(Emit) // bytes to clients so far
}

// WatchStreams registers them, with the histograms that Stream fills.
func (m *Metrics) WatchStreams(s Streams) error {
	labels := []string{"lintel_listener", "lintel_service"}
	if err := m.RegisterGauge("lintel_tcp_connections_active", "Opaque TCP connections in progress.", labels, s.Active); err != nil {
		return err
	}
	if err := m.RegisterCounter("lintel_tcp_received_bytes_total", "Bytes read from clients of opaque TCP connections.", labels, s.Received); err != nil {
		return err
	}
	return m.RegisterCounter("lintel_tcp_sent_bytes_total", "Bytes written to clients of opaque TCP connections.", labels, s.Sent)
}

// Stream counts an opaque stream that has ended.
func (m *Metrics) Stream(s *exchange.Stream) {
	why := ""
	if f := s.Fault; f != nil {
		why = f.Code
		m.faulted.get(faultKey{f.Code, string(f.Source)}).Inc()
	}
	m.streams.duration.WithLabelValues(s.Listener, s.Service, why).Observe(time.Since(s.Start).Seconds())
	if s.Connected > 0 {
		m.streams.connect.WithLabelValues(s.Listener, s.Service).Observe(s.Connected.Seconds())
	}
	if s.Attempts > 1 {
		m.retries.WithLabelValues(s.Service).Add(float64(s.Attempts - 1))
	}
}

// Stream hands the line of an opaque stream that has ended to the writer.
func (a *AccessLog) Stream(s *exchange.Stream) {
	buf := a.lines.Get().(*[]byte)
	l := line{buf: (*buf)[:0], text: a.text}
	l.begin(s.Start)
	l.str(&keyProto, "tcp", maxMethod)
	l.num(&keyBytesIn, s.In.Load())
	l.num(&keyBytesOut, s.Out.Load())
	l.seconds(&keyDuration, time.Since(s.Start))
	if s.Connected > 0 {
		l.seconds(&keyUpstream, s.Connected)
	}
	l.opt(&keyListener, s.Listener, maxText)
	l.opt(&keyService, s.Service, maxText)
	l.opt(&keyEndpoint, s.Endpoint, maxText)
	if s.Attempts > 0 {
		l.num(&keyAttempts, int64(s.Attempts))
	}
	if f := s.Fault; f != nil {
		l.str(&keyFault, f.Code, maxText)
		l.opt(&keyFaultSource, string(f.Source), maxText)
		if f.Err != nil {
			l.opt(&keyError, f.Err.Error(), maxText)
		}
	}
	l.addr(&keyClientIP, s.Remote.Addr())
	l.opt(&keyPeer, s.Peer.ID, maxPath)
	l.end()
	a.sink.put(l.buf)
	if cap(l.buf) <= largestLine {
		*buf = l.buf
		a.lines.Put(buf)
	}
}
