package tracing

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"lintel.dev/lintel/proxy/exchange"
)

// givenIDs hands the SDK the ids that the exchange has carried all along.
type givenIDs struct{}

type idsKey struct{}

func (givenIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	t := ctx.Value(idsKey{}).(*exchange.Trace)
	return t.ID, t.Span
}

func (g givenIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, id := g.NewIDs(ctx)
	return id
}

// record builds the span of x after the fact. The engine takes its buffers back
// once observers are done, so every string from the wire is copied.
func (s *spans) record(x *exchange.Exchange, mode Mode, query bool) {
	if s.pending.Add(1) > s.limit {
		s.pending.Add(-1)
		s.dropped.Add(1)
		return
	}
	t := &x.Trace
	ctx := context.WithValue(context.Background(), idsKey{}, t)
	var flags trace.TraceFlags
	if t.Random {
		flags = trace.FlagsRandom
	}
	if t.Parent != [8]byte{} {
		// Keys that only level 2 allows make the SDK refuse the list: the span
		// then goes without it, the header does not.
		carried, err := trace.ParseTraceState(strings.Clone(t.State))
		if err != nil {
			carried = trace.TraceState{}
		}
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: t.ID, SpanID: t.Parent, TraceFlags: flags | trace.FlagsSampled, TraceState: carried, Remote: true,
		}))
	}
	kind, failure := trace.SpanKindServer, serverError(x)
	if mode == Outbound {
		kind, failure = trace.SpanKindClient, clientError(x)
	}
	attrs := make([]attribute.KeyValue, 0, 28)
	attrs = appendRequest(attrs, x, mode, query)
	attrs, failure = appendOutcome(attrs, x, failure)
	options := []trace.SpanStartOption{
		trace.WithTimestamp(x.Start), trace.WithSpanKind(kind), trace.WithAttributes(attrs...),
	}
	if t.LinkID != [16]byte{} {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: t.LinkID, SpanID: t.LinkSpan, Remote: true,
		})}))
	}
	_, span := s.tracer.Start(ctx, spanName(x), options...)
	if failure != "" {
		span.SetStatus(codes.Error, failure)
	}
	span.End(trace.WithTimestamp(time.Now()))
}

// spanName is "{method} {route}", and the method alone where no route matched:
// never a raw path, of which there are too many.
func spanName(x *exchange.Exchange) string {
	m := methodLabel(x.Original.Method)
	if m == other {
		m = "HTTP"
	}
	if x.Pattern == "" {
		return m
	}
	return m + " " + x.Pattern
}

func appendRequest(a []attribute.KeyValue, x *exchange.Exchange, mode Mode, query bool) []attribute.KeyValue {
	o := &x.Original
	method := methodLabel(o.Method)
	a = append(a, semconv.HTTPRequestMethodKey.String(method))
	if method == other && o.Method != "" {
		a = append(a, semconv.HTTPRequestMethodOriginal(text(o.Method, maxMethod)))
	}
	a = append(a, semconv.URLScheme(text(o.Scheme, maxMethod)), semconv.URLPath(text(o.Path, maxPath)))
	if query && o.Query != "" {
		a = append(a, semconv.URLQuery(text(o.Query, maxPath)))
	}
	if x.Pattern != "" {
		if mode == Outbound {
			a = append(a, semconv.URLTemplate(x.Pattern))
		} else {
			a = append(a, semconv.HTTPRoute(x.Pattern))
		}
	}
	if host, port := cutAuthority(o.Authority); host != "" {
		a = append(a, semconv.ServerAddress(text(host, maxHost)))
		if port > 0 {
			a = append(a, semconv.ServerPort(port))
		}
	}
	if x.ClientIP.IsValid() {
		a = append(a, semconv.ClientAddress(x.ClientIP.String()))
	}
	if r := x.Client.Remote; r.IsValid() && mode != Outbound {
		a = append(a, semconv.NetworkPeerAddress(r.Addr().String()), semconv.NetworkPeerPort(int(r.Port())))
	}
	if v := protoVersion(x.Request.Proto); v != other {
		a = append(a, semconv.NetworkProtocolName("http"), semconv.NetworkProtocolVersion(v))
	}
	if ua := x.Request.Header.Get("User-Agent"); ua != "" {
		a = append(a, semconv.UserAgentOriginal(text(ua, maxAgent)))
	}
	return a
}

func appendOutcome(a []attribute.KeyValue, x *exchange.Exchange, failure string) ([]attribute.KeyValue, string) {
	if x.Response.Status > 0 {
		a = append(a, semconv.HTTPResponseStatusCode(x.Response.Status))
	}
	a = append(a, semconv.HTTPRequestBodySize(int(x.Request.Read)), semconv.HTTPResponseBodySize(int(x.Response.Written)))
	if x.IsGRPC() {
		a = append(a, semconv.RPCSystemNameGRPC)
		if code, bad := grpcStatus(x); code != "" {
			a = append(a, semconv.RPCResponseStatusCode(code))
			if bad && failure == "" {
				failure = code
			}
		}
	}
	if failure != "" {
		a = append(a, semconv.ErrorTypeKey.String(failure))
	}
	if x.Fault != nil {
		a = append(a, attribute.String("lintel.fault", x.Fault.Code), attribute.String("lintel.fault.source", string(x.Fault.Source)))
	}
	for _, f := range [...]struct{ key, value string }{
		{"lintel.route", x.Route}, {"lintel.side", x.Side}, {"lintel.service", x.Service}, {"lintel.endpoint", x.Endpoint},
		{"lintel.peer", x.Peer.ID}, {"lintel.cache", x.CacheInfo}, {"lintel.request_id", x.ID},
	} {
		if f.value != "" {
			a = append(a, attribute.String(f.key, text(f.value, maxText)))
		}
	}
	if x.Txn != nil && x.Txn.ID != "" {
		a = append(a, attribute.String("lintel.txn", text(x.Txn.ID, maxText)))
	}
	if x.Attempts > 1 {
		a = append(a, semconv.HTTPRequestResendCount(x.Attempts-1))
	}
	return a, failure
}

// grpcNames are the names of the gRPC status codes, which the semantic
// conventions want in place of numbers.
var grpcNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// grpcStatus reads grpc-status from trailers, or from the head of an answer
// that has only one. bad says that the code is a server's error.
func grpcStatus(x *exchange.Exchange) (name string, bad bool) {
	v := x.Response.Trailer.Get("Grpc-Status")
	if v == "" {
		v = x.Response.Header.Get("Grpc-Status")
	}
	n, err := strconv.ParseUint(v, 10, 8)
	if err != nil || n >= uint64(len(grpcNames)) {
		return "", false
	}
	switch n {
	case 2, 4, 12, 13, 14, 15:
		bad = true
	}
	return grpcNames[n], bad
}

// cutAuthority splits host and port; port is 0 when there is none.
func cutAuthority(authority string) (host string, port int) {
	if h, p, err := net.SplitHostPort(authority); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return h, 0
		}
		return h, int(n)
	}
	return strings.Trim(authority, "[]"), 0
}

// How much of what a client sends is kept, in bytes.
const (
	maxMethod = 32
	maxHost   = 255
	maxPath   = 2048
	maxAgent  = 512
	maxText   = 256
)

// text is s cut, in valid UTF-8 (one wrong byte would make protobuf refuse the
// whole batch) and in memory of its own.
func text(s string, limit int) string {
	return strings.Clone(strings.ToValidUTF8(cut(s, limit), "\uFFFD"))
}

func cut(s string, limit int) string {
	if len(s) > limit {
		return s[:limit]
	}
	return s
}
