package tracing

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Format is how access log lines are written.
type Format string

// The formats: what slog's JSONHandler and TextHandler would write.
const (
	JSON Format = "json"
	Text Format = "text"
)

// User is how the user appears in the access log.
type User string

// The ways a user appears.
const (
	UserSubject User = "subject" // as authenticated
	UserHash    User = "hash"    // keyed, so that it cannot be found by guessing
	UserOmit    User = "omit"
)

// LogConfig is what an AccessLog is given.
type LogConfig struct {
	Writer  io.Writer     // one goroutine writes to it, whole lines at a time
	Format  Format        // JSON when empty
	Query   bool          // log query strings, which often hold secrets
	User    User          // UserSubject when empty
	UserKey []byte        // for UserHash; random per process when empty, so hashes change with it
	Buffer  int           // bytes of lines kept for Writer; 1 MiB
	Flush   time.Duration // longest time a line waits for others; 50 ms
}

// AccessLog writes one line per exchange. Lines never hold Authorization,
// cookies, tokens or any other header but User-Agent. It is an observer.
type AccessLog struct {
	text    bool
	query   bool
	user    User
	userKey []byte
	sink    *sink
	lines   sync.Pool // *[]byte
}

const (
	defaultBuffer = 1 << 20
	defaultFlush  = 50 * time.Millisecond
	largestLine   = 16 << 10 // memory of longer ones is not kept
)

// NewAccessLog starts the writing goroutine; Close ends it. log hears when the
// writer fails, now and then.
func NewAccessLog(cfg LogConfig, log *slog.Logger) (*AccessLog, error) {
	if cfg.Writer == nil {
		return nil, errors.New("tracing: access log has no writer")
	}
	if cfg.Format == "" {
		cfg.Format = JSON
	}
	if cfg.User == "" {
		cfg.User = UserSubject
	}
	if cfg.Format != JSON && cfg.Format != Text {
		return nil, fmt.Errorf("tracing: access log format is %q, it must be json or text", cfg.Format)
	}
	if cfg.User != UserSubject && cfg.User != UserHash && cfg.User != UserOmit {
		return nil, fmt.Errorf("tracing: access log user is %q, it must be subject, hash or omit", cfg.User)
	}
	if cfg.User == UserHash && len(cfg.UserKey) == 0 {
		cfg.UserKey = make([]byte, 32)
		rand.Read(cfg.UserKey) // never fails
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = defaultBuffer
	}
	if cfg.Flush <= 0 {
		cfg.Flush = defaultFlush
	}
	a := &AccessLog{text: cfg.Format == Text, query: cfg.Query, user: cfg.User, userKey: cfg.UserKey,
		sink: newSink(cfg.Writer, cfg.Buffer, cfg.Flush, log)}
	a.lines.New = func() any { b := make([]byte, 0, 1024); return &b }
	return a, nil
}

// Begin keeps the request line as it came.
func (a *AccessLog) Begin(x *exchange.Exchange) { remember(x) }

// Forward does nothing.
func (a *AccessLog) Forward(*exchange.Exchange) {}

// End hands the line of x to the writer, or counts it as dropped.
func (a *AccessLog) End(x *exchange.Exchange) {
	buf := a.lines.Get().(*[]byte)
	l := line{buf: (*buf)[:0], text: a.text}
	a.write(&l, x, since(x.Start))
	a.sink.put(l.buf)
	if cap(l.buf) <= largestLine {
		*buf = l.buf
		a.lines.Put(buf)
	}
}

// Close writes what is left, until ctx ends. Later lines are dropped.
func (a *AccessLog) Close(ctx context.Context) error { return a.sink.close(ctx) }

// Stats counts lines: written, and dropped because the writer was too slow or
// failed.
func (a *AccessLog) Stats() (written, dropped uint64) {
	return a.sink.written.Load(), a.sink.dropped.Load()
}

// The keys of a line, in the order they are written.
var (
	keyMethod      = newKey("method")
	keyHost        = newKey("host")
	keyPath        = newKey("path")
	keyQuery       = newKey("query")
	keyProto       = newKey("proto")
	keyStatus      = newKey("status")
	keyBytesIn     = newKey("bytes_in")
	keyBytesOut    = newKey("bytes_out")
	keyDuration    = newKey("duration")
	keyUpstream    = newKey("upstream")
	keyListener    = newKey("listener")
	keyRoute       = newKey("route")
	keyPattern     = newKey("pattern")
	keySide        = newKey("side")
	keyService     = newKey("service")
	keyEndpoint    = newKey("endpoint")
	keyAttempts    = newKey("attempts")
	keyFault       = newKey("fault")
	keyFaultSource = newKey("fault_source")
	keyError       = newKey("error")
	keyAbort       = newKey("abort")
	keyTraceID     = newKey("trace_id")
	keySpanID      = newKey("span_id")
	keyRequestID   = newKey("request_id")
	keyTxn         = newKey("txn")
	keyClientIP    = newKey("client_ip")
	keyPeer        = newKey("peer")
	keyConsumer    = newKey("consumer")
	keyUserAgent   = newKey("user_agent")
	keyCache       = newKey("cache")
	keyRemoved     = newKey("removed")
	keyUser        = newKey("user")
)

func (a *AccessLog) write(l *line, x *exchange.Exchange, now time.Time) {
	o := &x.Original
	l.begin(x.Start)
	l.str(&keyMethod, o.Method, maxMethod)
	l.str(&keyHost, o.Authority, maxHost)
	l.str(&keyPath, o.Path, maxPath)
	if a.query {
		l.opt(&keyQuery, o.Query, maxPath)
	}
	l.str(&keyProto, x.Request.Proto, maxMethod)
	l.num(&keyStatus, int64(x.Response.Status))
	l.num(&keyBytesIn, x.Request.Read)
	l.num(&keyBytesOut, x.Response.Written)
	l.seconds(&keyDuration, now.Sub(x.Start))
	if d, ok := upstreamTime(x, now); ok {
		l.seconds(&keyUpstream, d)
	}
	l.opt(&keyListener, x.Client.Listener, maxText)
	l.opt(&keyRoute, x.Route, maxText)
	l.opt(&keyPattern, x.Pattern, maxPath)
	l.opt(&keySide, x.Side, maxText)
	l.opt(&keyService, x.Service, maxText)
	l.opt(&keyEndpoint, x.Endpoint, maxText)
	if x.Attempts > 0 {
		l.num(&keyAttempts, int64(x.Attempts))
	}
	if f := x.Fault; f != nil {
		l.str(&keyFault, f.Code, maxText)
		l.opt(&keyFaultSource, string(f.Source), maxText)
		if f.Err != nil {
			l.opt(&keyError, f.Err.Error(), maxText)
		}
	}
	if x.Abort != nil {
		l.str(&keyAbort, x.Abort.Error(), maxText)
	}
	if x.Trace.Valid() {
		l.hex(&keyTraceID, x.Trace.ID[:])
		l.hex(&keySpanID, x.Trace.Span[:])
	}
	l.opt(&keyRequestID, x.ID, requestIDMax)
	if x.Txn != nil {
		l.opt(&keyTxn, x.Txn.ID, maxText)
	}
	l.addr(&keyClientIP, x.ClientIP)
	l.opt(&keyPeer, x.Peer.ID, maxPath)
	a.writeUser(l, x)
	l.opt(&keyConsumer, x.Consumer, maxText)
	l.opt(&keyUserAgent, x.Request.Header.Get("User-Agent"), maxAgent)
	l.opt(&keyCache, x.CacheInfo, maxText)
	if x.Removed > 0 {
		l.num(&keyRemoved, int64(x.Removed))
	}
	l.end()
}

func (a *AccessLog) writeUser(l *line, x *exchange.Exchange) {
	if x.Identity == nil || a.user == UserOmit {
		return
	}
	if a.user == UserSubject {
		l.opt(&keyUser, x.Identity.Subject, maxText)
		return
	}
	// The issuer belongs in it: two of them may name different users alike.
	h := hmac.New(sha256.New, a.userKey)
	io.WriteString(h, x.Identity.Issuer)
	h.Write([]byte{0})
	io.WriteString(h, x.Identity.Subject)
	l.str(&keyUser, hex.EncodeToString(h.Sum(nil)[:16]), maxText)
}
