package tracing

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lintel.dev/lintel/proxy/exchange"
)

// Metrics counts exchanges under OpenTelemetry's names, as Prometheus spells
// them. It is an observer. Everything a label can say is bounded: routes and
// services come from configuration, methods, schemes and status codes from
// fixed lists, and past a number of series the rest is counted as "_OTHER".
type Metrics struct {
	registry *prometheus.Registry

	requests *prometheus.HistogramVec
	inSize   *prometheus.HistogramVec
	outSize  *prometheus.HistogramVec
	upstream *prometheus.HistogramVec
	active   *prometheus.GaugeVec
	faults   *prometheus.CounterVec
	retries  *prometheus.CounterVec
	cache    *prometheus.CounterVec
	removed  prometheus.Counter
	panics   prometheus.Counter
	aborts   prometheus.Counter

	servers  bound[serverKey, serverSeries]
	clients  bound[clientKey, clientSeries]
	actives  bound[string, prometheus.Gauge]
	faulted  bound[faultKey, prometheus.Counter]
	outcomes bound[string, prometheus.Counter]

	streams streams
	reload  reloads
}

// serverKey holds numbers where it can: it is looked up once per exchange, and
// hashing a short string costs as much as all of them together.
type serverKey struct {
	route, name, err        string
	method, scheme, version label
	status                  int32
}

// serverSeries are the children of one serverKey; sizes share theirs with the
// keys of the same method and route.
type serverSeries struct{ duration, in, out prometheus.Observer }

type clientKey struct {
	service, err string
	method       label
	status       int32
}

type clientSeries struct {
	duration prometheus.Observer
	retries  prometheus.Counter
}

type faultKey struct{ code, source string }

// Series kept per family. A child of a histogram costs about a kilobyte.
const (
	maxServerSeries = 4096
	maxClientSeries = 4096
	maxFewSeries    = 256
)

// PanicCode is the Fault.Code by which a recovered panic is known.
const PanicCode = "panic"

// NewMetrics makes a registry of its own, with Go's and the process's metrics.
func NewMetrics() *Metrics {
	// The boundaries that the semantic conventions advise, and two below them:
	// a proxy's own work is counted in microseconds.
	seconds := []float64{.0005, .001, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	bytes := prometheus.ExponentialBuckets(256, 8, 7) // 256 B to 64 MiB
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds", Buckets: seconds,
			Help: "Time from the request head until the end of the exchange.",
		}, []string{"http_request_method", "http_route", "lintel_route", "http_response_status_code",
			"url_scheme", "network_protocol_version", "error_type"}),
		inSize: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_body_size_bytes", Buckets: bytes, Help: "Request body bytes read from clients.",
		}, []string{"http_request_method", "http_route", "lintel_route"}),
		outSize: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_response_body_size_bytes", Buckets: bytes, Help: "Response body bytes written to clients.",
		}, []string{"http_request_method", "http_route", "lintel_route"}),
		upstream: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_client_request_duration_seconds", Buckets: seconds,
			Help: "Time of the last attempt at a service, until the head of its answer or its failure.",
		}, []string{"lintel_service", "http_request_method", "http_response_status_code", "error_type"}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "http_server_active_requests", Help: "Exchanges in progress, by listener.",
		}, []string{"lintel_listener"}),
		faults: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_faults_total", Help: "Requests without an ordinary answer, by cause and whose doing it was.",
		}, []string{"code", "source"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_retries_total", Help: "Attempts beyond the first.",
		}, []string{"lintel_service"}),
		cache: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_cache_total", Help: "Exchanges a cache took part in, by its Cache-Status (RFC 9211).",
		}, []string{"outcome"}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lintel_firewall_removed_total", Help: "Reserved header lines taken off requests.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lintel_panics_total", Help: "Panics recovered in exchanges.",
		}),
		aborts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lintel_aborted_total", Help: "Exchanges that broke off: the client went away or the answer ended midway.",
		}),
	}
	m.bind()
	m.streams = newStreams()
	m.registry.MustRegister(m.streams.duration, m.streams.connect)
	m.registry.MustRegister(m.requests, m.inSize, m.outSize, m.upstream, m.active, m.faults, m.retries, m.cache,
		m.removed, m.panics, m.aborts, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.reload.register(m.registry)
	return m
}

func (m *Metrics) bind() {
	m.servers = newBound(maxServerSeries, func(k serverKey) serverKey {
		return serverKey{route: other, name: other, method: k.method, scheme: k.scheme, status: k.status}
	}, func(k serverKey) serverSeries {
		return serverSeries{
			m.requests.WithLabelValues(methods.text(k.method), k.route, k.name, statusLabel(int(k.status)),
				schemes.text(k.scheme), versions.text(k.version), k.err),
			m.inSize.WithLabelValues(methods.text(k.method), k.route, k.name),
			m.outSize.WithLabelValues(methods.text(k.method), k.route, k.name),
		}
	})
	m.clients = newBound(maxClientSeries, func(k clientKey) clientKey {
		return clientKey{service: other, method: k.method, status: k.status}
	}, func(k clientKey) clientSeries {
		return clientSeries{
			m.upstream.WithLabelValues(k.service, methods.text(k.method), statusLabel(int(k.status)), k.err),
			m.retries.WithLabelValues(k.service),
		}
	})
	same := func(string) string { return other }
	m.actives = newBound(maxFewSeries, same, func(l string) prometheus.Gauge { return m.active.WithLabelValues(l) })
	m.outcomes = newBound(maxFewSeries, same, func(o string) prometheus.Counter { return m.cache.WithLabelValues(o) })
	m.faulted = newBound(maxFewSeries, func(k faultKey) faultKey { return faultKey{other, k.source} },
		func(k faultKey) prometheus.Counter { return m.faults.WithLabelValues(k.code, k.source) })
}

// Begin counts x as active.
func (m *Metrics) Begin(x *exchange.Exchange) {
	remember(x)
	m.actives.get(x.Client.Listener).Inc()
}

// Forward does nothing.
func (m *Metrics) Forward(*exchange.Exchange) {}

// End counts x.
func (m *Metrics) End(x *exchange.Exchange) {
	now := since(x.Start)
	m.actives.get(x.Client.Listener).Dec()
	method, status := methods.find(x.Original.Method), statusKey(x.Response.Status)
	s := m.servers.get(serverKey{
		method: method, route: x.Pattern, name: x.Route, status: status,
		scheme: schemes.find(x.Original.Scheme), version: protocol(x.Request.Proto), err: serverError(x),
	})
	s.duration.Observe(now.Sub(x.Start).Seconds())
	s.in.Observe(float64(x.Request.Read))
	s.out.Observe(float64(x.Response.Written))
	if x.Attempts > 0 {
		c := m.clients.get(clientKey{service: x.Service, method: method, status: status, err: clientError(x)})
		if d, ok := upstreamTime(x, now); ok {
			c.duration.Observe(d.Seconds())
		}
		if x.Attempts > 1 {
			c.retries.Add(float64(x.Attempts - 1))
		}
	}
	if f := x.Fault; f != nil {
		m.faulted.get(faultKey{f.Code, string(f.Source)}).Inc()
		if f.Code == PanicCode {
			m.panics.Inc()
		}
	}
	if x.Abort != nil {
		m.aborts.Inc()
	}
	if x.Removed > 0 {
		m.removed.Add(float64(x.Removed))
	}
	if x.CacheInfo != "" {
		m.outcomes.get(cacheOutcome(x.CacheInfo)).Inc()
	}
}

// since is the present time, read from the monotonic clock alone, which is half
// the price of time.Now.
func since(earlier time.Time) time.Time {
	if earlier.IsZero() {
		return time.Now()
	}
	return earlier.Add(time.Since(earlier))
}

// upstreamTime is how long the last attempt took: until its head arrived, or
// until now when none did.
func upstreamTime(x *exchange.Exchange, now time.Time) (time.Duration, bool) {
	switch {
	case x.Sent.IsZero():
		return 0, false
	case x.Answered.Before(x.Sent):
		return now.Sub(x.Sent), true
	}
	return x.Answered.Sub(x.Sent), true
}

// cacheOutcome is "hit" or the reason for forwarding, of those that RFC 9211
// section 2.2 lists.
func cacheOutcome(info string) string {
	for rest, more := info, true; more; {
		var p string
		p, rest, more = strings.Cut(rest, ";")
		p = strings.Trim(p, " \t")
		if p == "hit" {
			return "hit"
		}
		reason, ok := strings.CutPrefix(p, "fwd=")
		if !ok {
			continue
		}
		for _, known := range [...]string{"miss", "uri-miss", "vary-miss", "stale", "bypass", "method", "request", "partial"} {
			if reason == known {
				return known
			}
		}
	}
	return other
}

// Handler answers scrapes, two at a time.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 2,
		Timeout:             15 * time.Second,
		EnableOpenMetrics:   true,
	})
}
