package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"
)

// spans is the way of sampled exchanges to the collector. What waits for it is
// counted here, so that a span nobody has room for is dropped before it is
// built, and drops are known exactly.
type spans struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	limit    int64
	pending  atomic.Int64
	sent     atomic.Uint64
	failed   atomic.Uint64
	dropped  atomic.Uint64
}

const (
	defaultQueue   = 4096
	defaultBatch   = time.Second
	defaultTimeout = 10 * time.Second
	batchSize      = 512
	logEvery       = 30 * time.Second // a dead collector is worth a line now and then
)

func newSpans(ctx context.Context, cfg Config, log *slog.Logger) (*spans, error) {
	if cfg.Queue <= 0 {
		cfg.Queue = defaultQueue
	}
	if cfg.Batch <= 0 {
		cfg.Batch = defaultBatch
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	res, err := newResource(ctx, cfg)
	if err != nil {
		return nil, err
	}
	exporter, err := newExporter(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &spans{limit: int64(cfg.Queue)}
	size := min(batchSize, cfg.Queue)
	s.provider = sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // the Tracer has decided already
		sdktrace.WithIDGenerator(givenIDs{}),
		sdktrace.WithResource(res),
		sdktrace.WithBatcher(&counted{SpanExporter: exporter, spans: s, log: log},
			sdktrace.WithMaxQueueSize(cfg.Queue+size),
			sdktrace.WithMaxExportBatchSize(size),
			sdktrace.WithBatchTimeout(cfg.Batch),
			sdktrace.WithExportTimeout(cfg.Timeout),
		),
	)
	s.tracer = s.provider.Tracer("lintel.dev/lintel", trace.WithSchemaURL(semconv.SchemaURL))
	return s, nil
}

func (s *spans) shutdown(ctx context.Context) error {
	if err := s.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("tracing: %d spans were not flushed: %w", s.pending.Load(), err)
	}
	return nil
}

func newResource(ctx context.Context, cfg Config) (*resource.Resource, error) {
	attrs := make([]attribute.KeyValue, 0, len(cfg.Resource)+2)
	for k, v := range cfg.Resource {
		attrs = append(attrs, attribute.String(k, v))
	}
	if cfg.Service != "" {
		attrs = append(attrs, semconv.ServiceName(cfg.Service))
	}
	if cfg.Version != "" {
		attrs = append(attrs, semconv.ServiceVersion(cfg.Version))
	}
	// Later detectors win.
	res, err := resource.New(ctx,
		resource.WithSchemaURL(semconv.SchemaURL),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("lintel")),
		resource.WithFromEnv(),
		resource.WithAttributes(attrs...),
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) && !errors.Is(err, resource.ErrSchemaURLConflict) {
		return nil, fmt.Errorf("tracing: resource attributes: %w", err)
	}
	return res, nil
}

func newExporter(ctx context.Context, cfg Config) (sdktrace.SpanExporter, error) {
	var (
		e   sdktrace.SpanExporter
		err error
		url = strings.Contains(cfg.Endpoint, "://")
	)
	switch cfg.Exporter {
	case "otlp-grpc":
		o := []otlptracegrpc.Option{
			otlptracegrpc.WithTimeout(cfg.Timeout),
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
				Enabled: true, InitialInterval: time.Second, MaxInterval: cfg.Timeout, MaxElapsedTime: cfg.Timeout,
			}),
		}
		switch {
		case url:
			o = append(o, otlptracegrpc.WithEndpointURL(cfg.Endpoint))
		case cfg.Endpoint != "":
			o = append(o, otlptracegrpc.WithEndpoint(cfg.Endpoint))
		}
		switch {
		case cfg.Insecure:
			o = append(o, otlptracegrpc.WithInsecure())
		case cfg.TLS != nil:
			o = append(o, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(cfg.TLS)))
		}
		if len(cfg.Headers) > 0 {
			o = append(o, otlptracegrpc.WithHeaders(cfg.Headers))
		}
		e, err = otlptracegrpc.New(ctx, o...)
	case "otlp-http":
		o := []otlptracehttp.Option{
			otlptracehttp.WithTimeout(cfg.Timeout),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
				Enabled: true, InitialInterval: time.Second, MaxInterval: cfg.Timeout, MaxElapsedTime: cfg.Timeout,
			}),
		}
		switch {
		case url:
			o = append(o, otlptracehttp.WithEndpointURL(cfg.Endpoint))
		case cfg.Endpoint != "":
			o = append(o, otlptracehttp.WithEndpoint(cfg.Endpoint))
		}
		switch {
		case cfg.Insecure:
			o = append(o, otlptracehttp.WithInsecure())
		case cfg.TLS != nil:
			o = append(o, otlptracehttp.WithTLSClientConfig(cfg.TLS))
		}
		if len(cfg.Headers) > 0 {
			o = append(o, otlptracehttp.WithHeaders(cfg.Headers))
		}
		e, err = otlptracehttp.New(ctx, o...)
	default:
		return nil, fmt.Errorf("tracing: exporter is %q, it must be none, otlp-grpc or otlp-http", cfg.Exporter)
	}
	if err != nil {
		return nil, fmt.Errorf("tracing: exporter %s to %q: %w", cfg.Exporter, cfg.Endpoint, err)
	}
	return e, nil
}

// counted keeps the numbers and the log, and answers nil so that the SDK's
// global error handler is never asked.
type counted struct {
	sdktrace.SpanExporter
	spans *spans
	log   *slog.Logger

	mu     sync.Mutex
	logged time.Time
	silent int
}

func (c *counted) ExportSpans(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, batch)
	c.spans.pending.Add(-int64(len(batch)))
	if err == nil {
		c.spans.sent.Add(uint64(len(batch)))
		return nil
	}
	c.spans.failed.Add(uint64(len(batch)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.logged) < logEvery {
		c.silent++
		return nil
	}
	c.log.Warn("spans were not exported; is the collector reachable?",
		"error", err, "spans", len(batch), "failures_not_logged", c.silent)
	c.logged, c.silent = time.Now(), 0
	return nil
}
