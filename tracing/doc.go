// Package tracing sees every exchange from outside the filters: it carries the
// trace context on, exports spans, counts metrics and writes the access log.
//
// [Tracer], [Metrics] and [AccessLog] are observers: Begin when a request head
// was read, Forward when it is about to be sent on, End exactly once when the
// exchange is over. No other package of Lintel knows OpenTelemetry or
// Prometheus. Nothing here is global, and nothing here waits: a dead collector
// or a blocked standard output costs spans and lines, which are counted, and
// never time.
//
// Begin runs in the order Tracer, Metrics, AccessLog; the order matters only in
// that the trace and request ids exist once Tracer.Begin has run.
package tracing
