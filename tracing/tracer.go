package tracing

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Mode says where a Tracer stands, and so whose trace context it continues.
type Mode int

// The modes.
const (
	// Edge continues the context of TrustedAddrs only; to all others it is the
	// root of a new trace, linked to theirs.
	Edge Mode = iota
	// Inbound stands before the app: it continues the context of verified mesh
	// peers and TrustedAddrs, and hands the app the transaction's memory.
	Inbound
	// Outbound stands behind the app and continues whatever the app began.
	Outbound
)

// Config is what a Tracer is given. The zero value traces at the edge, samples
// nothing and exports nothing.
type Config struct {
	Service      string // service.name; OTEL_SERVICE_NAME, else "lintel", when empty
	Version      string // service.version
	Mode         Mode
	TrustedAddrs []netip.Prefix // of the connection's remote end: whose trace context and X-Request-ID count
	AllowBaggage bool           // keep the baggage of untrusted addresses at the edge
	SampleRatio  float64        // share of new traces that is sampled, 0 to 1; others follow their parent
	Query        bool           // record url.query, which often holds secrets

	Exporter string            // "otlp-grpc", "otlp-http"; "" or "none" exports nothing
	Endpoint string            // host:port or URL; OTEL_EXPORTER_OTLP_* when empty
	Insecure bool              // plaintext to the collector
	Headers  map[string]string // for the collector; often holds its token, never logged
	TLS      *tls.Config       // towards the collector; nil is the system's roots
	Resource map[string]string // further resource attributes; they win over OTEL_RESOURCE_ATTRIBUTES
	Queue    int               // spans kept for the collector; 4096
	Batch    time.Duration     // longest wait before a batch is sent; 1 s
	Timeout  time.Duration     // of one export, retries included; 10 s
}

// Tracer carries trace context, baggage and X-Request-ID on, and exports a
// span for every sampled exchange. It is an observer.
type Tracer struct {
	mode         Mode
	trusted      []netip.Prefix
	allowBaggage bool
	query        bool
	threshold    uint64 // of 2^63: trace ids below it are sampled
	spans        *spans // nil when nothing is exported
}

// NewTracer connects lazily: a collector that is down is an error in the log
// once it matters, not here.
func NewTracer(ctx context.Context, cfg Config, log *slog.Logger) (*Tracer, error) {
	if math.IsNaN(cfg.SampleRatio) || cfg.SampleRatio < 0 || cfg.SampleRatio > 1 {
		return nil, fmt.Errorf("tracing: sample ratio is %v, it must be between 0 and 1", cfg.SampleRatio)
	}
	t := &Tracer{
		mode:         cfg.Mode,
		trusted:      cfg.TrustedAddrs,
		allowBaggage: cfg.AllowBaggage,
		query:        cfg.Query,
		threshold:    uint64(cfg.SampleRatio * (1 << 63)),
	}
	if cfg.Exporter == "" || cfg.Exporter == "none" {
		return t, nil
	}
	s, err := newSpans(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	t.spans = s
	return t, nil
}

// Begin gives x its place in a trace and its request id. Context from those
// who are not trusted is linked, not continued, and their baggage and request
// id are dropped.
func (t *Tracer) Begin(x *exchange.Exchange) {
	remember(x)
	h := &x.Request.Header
	trusted := t.trusts(x)
	p, ok := readParent(h)
	tr := &x.Trace
	*tr = exchange.Trace{}
	putRandom(tr.Span[:])
	switch {
	case ok && trusted:
		tr.ID, tr.Parent = p.trace, p.span
		tr.Sampled = p.flags&flagSampled != 0
		tr.Random = p.flags&flagRandom != 0
		s := readState(h)
		tr.State = s.carried
		if t.mode == Outbound {
			tr.Memory = s.memory
		}
	case ok:
		tr.LinkID, tr.LinkSpan = p.trace, p.span
		t.root(tr)
	default:
		t.root(tr)
	}
	switch {
	case !trusted && !t.allowBaggage:
		h.Del(headerBaggage)
	default:
		limitBaggage(h)
	}
	x.ID = ""
	if trusted {
		x.ID = readRequestID(h)
	}
	if x.ID == "" {
		x.ID = newRequestID(h)
	}
}

// Forward writes what the next hop continues. Calling it again replaces it.
func (t *Tracer) Forward(x *exchange.Exchange) {
	h := &x.Request.Header
	var buf [parentLen]byte
	h.Set(headerParent, h.Own(appendParent(buf[:0], &x.Trace)))
	carried := x.Trace.State
	if t.mode == Inbound && x.Txn != nil && x.Txn.Memory != "" {
		if carried == "" {
			var own [64]byte
			carried = h.Own(append(append(own[:0], memoryKey+"="...), x.Txn.Memory...))
		} else {
			carried = withMemory(carried, x.Txn.Memory)
		}
	}
	if carried == "" {
		h.Del(headerState)
	} else {
		h.Set(headerState, carried)
	}
	h.Set(headerRequestID, x.ID)
}

// End exports the span of a sampled exchange.
func (t *Tracer) End(x *exchange.Exchange) {
	if t.spans != nil && x.Trace.Sampled && x.Trace.Valid() {
		t.spans.record(x, t.mode, t.query)
	}
}

// Shutdown sends what is queued, until ctx ends, and closes the exporter.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t.spans == nil {
		return nil
	}
	return t.spans.shutdown(ctx)
}

// Stats counts the spans so far: sent to the collector, refused or not taken
// by it, and dropped because the queue was full.
func (t *Tracer) Stats() (sent, failed, dropped uint64) {
	if t.spans == nil {
		return 0, 0, 0
	}
	return t.spans.sent.Load(), t.spans.failed.Load(), t.spans.dropped.Load()
}

// trusts decides by who is at the other end of the connection, never by what a
// header says.
func (t *Tracer) trusts(x *exchange.Exchange) bool {
	if t.mode == Outbound || t.mode == Inbound && x.Peer.ID != "" {
		return true
	}
	addr := x.Client.Remote.Addr().Unmap()
	for _, p := range t.trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// root begins a trace. It is sampled by the same bits of the id as
// OpenTelemetry's TraceIDRatioBased, so that several roots of one id agree.
func (t *Tracer) root(tr *exchange.Trace) {
	putRandom(tr.ID[:])
	tr.Random = true
	tr.Sampled = binary.BigEndian.Uint64(tr.ID[8:])>>1 < t.threshold
}

// putRandom fills eight or sixteen bytes, not all zero. The ids are unique, not
// secret, so the runtime's generator serves.
func putRandom(b []byte) {
	for {
		var set uint64
		for i := 0; i < len(b); i += 8 {
			v := rand.Uint64()
			binary.BigEndian.PutUint64(b[i:], v)
			set |= v
		}
		if set != 0 {
			return
		}
	}
}

const (
	headerRequestID = "X-Request-ID"
	requestIDMax    = 128
)

// readRequestID returns the request's only X-Request-ID if it is 1 to 128
// characters of letters, digits and -_.:=+/@, else "".
func readRequestID(h *exchange.Fields) string {
	id, n := "", 0
	for i := range h.Len() {
		if f := h.At(i); exchange.EqualFold(f.Name, headerRequestID) {
			id = f.Value
			n++
		}
	}
	if n != 1 || len(id) > requestIDMax {
		return ""
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '=', c == '+', c == '/', c == '@':
		default:
			return ""
		}
	}
	return id
}

// newRequestID returns 128 random bits in hexadecimal, in the memory of h.
func newRequestID(h *exchange.Fields) string {
	var raw [16]byte
	putRandom(raw[:])
	var text [32]byte
	return h.Own(appendHex(text[:0], raw[:]))
}
