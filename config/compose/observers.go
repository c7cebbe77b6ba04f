package compose

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/pipe"
	"lintel.dev/lintel/tracing"
)

// Observers are the parts that see every exchange of a process.
type Observers struct {
	Metrics *tracing.Metrics
	access  *tracing.AccessLog
	mu      sync.Mutex
	tracers []*tracing.Tracer
	cfg     config.Tracing
	service string
	version string
	log     *slog.Logger
}

// NewObservers makes what all pipes of a process share.
func NewObservers(cfg config.Tracing, service, version string, out io.Writer, log *slog.Logger) (*Observers, error) {
	o := &Observers{Metrics: tracing.NewMetrics(), cfg: cfg, service: service, version: version, log: log}
	if cfg.AccessLog.Format != "off" {
		var err error
		o.access, err = tracing.NewAccessLog(tracing.LogConfig{Writer: out, Format: tracing.Format(cfg.AccessLog.Format),
			Query: cfg.AccessLog.Query, User: tracing.User(cfg.AccessLog.User)}, log)
		if err != nil {
			return nil, err
		}
	}
	return o, errors.Join(o.Metrics.BuildInfo(service, version, ""), o.Metrics.Observe(nil, o.access),
		o.Metrics.RegisterCounter("lintel_spans_total", "Sampled spans by what became of them.", []string{"outcome"}, o.spans))
}

// spans counts over all tracers of the process.
func (o *Observers) spans(emit tracing.Emit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var sent, failed, dropped uint64
	for _, t := range o.tracers {
		s, f, d := t.Stats()
		sent, failed, dropped = sent+s, failed+f, dropped+d
	}
	emit(float64(sent), "sent")
	emit(float64(failed), "failed")
	emit(float64(dropped), "dropped")
}

// For lists the observers of one pipe.
func (o *Observers) For(ctx context.Context, mode tracing.Mode, trusted []netip.Prefix) ([]pipe.Observer, error) {
	t, err := tracing.NewTracer(ctx, tracing.Config{
		Service: o.service, Version: o.version, Mode: mode, TrustedAddrs: trusted, SampleRatio: o.cfg.Sample,
		Exporter: o.cfg.Exporter, Endpoint: o.cfg.Endpoint, Insecure: o.cfg.Insecure, Headers: o.cfg.Headers,
	}, o.log)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	o.tracers = append(o.tracers, t)
	o.mu.Unlock()
	list := []pipe.Observer{t, o.Metrics}
	if o.access != nil {
		list = append(list, o.access)
	}
	return list, nil
}

// Close sends and writes what is queued, until ctx ends.
func (o *Observers) Close(ctx context.Context) {
	for _, t := range o.tracers {
		if err := t.Shutdown(ctx); err != nil {
			o.log.Warn("tracing: some spans were not sent", "error", err)
		}
	}
	if o.access != nil {
		_ = o.access.Close(ctx)
	}
}
