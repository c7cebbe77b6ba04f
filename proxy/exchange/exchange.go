package exchange

import (
	"context"
	"crypto/sha256"
	"io"
	"net/netip"
	"strings"
	"time"
)

// Exchange is one request and its answer.
type Exchange struct {
	Request  Request
	Response Response
	Original Original // the request line before filters rewrote it; observers keep it in Begin

	Start    time.Time
	ID       string     // X-Request-ID: unique per exchange at the edge, carried on inside
	Client   ConnInfo   // the connection the request came on
	ClientIP netip.Addr // the user's address: the connection's, or a trusted proxy's word
	Peer     Peer       // the verified other side; zero on plaintext listeners

	Trace    Trace
	Identity *Identity // who the user is, once an authentication filter has said so
	Consumer string    // the known API client, "" when none
	Vouched  [32]byte  // digest of what authorizers went by and said of a caller they gave no name; zero when nothing
	Txn      *Txn      // the transaction this exchange belongs to, nil when none

	Route     string // the matched route's name, "" when none matched
	Pattern   string // its path as configured: the http.route label
	Params    []Param
	Side      string    // the side of a split that it was given to, "" without one
	Mirror    bool      // it is a copy, for a service whose answer nobody gets
	Service   string    // the service it was forwarded to
	Endpoint  string    // the endpoint of the last attempt
	Attempts  int       // how often it was sent
	Deadline  time.Time // the answer's head must have arrived by then; zero before forwarding
	Due       time.Time // until when the caller waits by its own word, in a header field; zero when it said nothing
	Spare     int       // further attempts left to those behind this hop
	Sent      time.Time // when the last attempt began
	Answered  time.Time // when its answer's head arrived
	CacheInfo string    // Cache-Status member of this hop (RFC 9211), "" when no cache took part
	Removed   int       // reserved header lines the firewall took off this request

	Priority Priority // how important it is when not everything can be done

	Hold    any    // the pipe's own: what Finish needs of Serve
	Fault   *Fault // why there is no ordinary answer; nil when there is one
	Rescued *Fault // the fault in whose place a filter supplied the answer, for observers and caches
	Abort   error  // the client went away or the answer broke off midway
	Shadow  bool   // explain runs it: filters must not touch their stores
	Unasked string // what the filter that ran last has left unasked because of Shadow

	// BeforeWrite is called once per attempt, when the connection is chosen
	// and before anything is written to it.
	BeforeWrite func(*Exchange, *ConnInfo) error

	// Informational passes a 1xx answer to the client at once. Nil when the
	// client cannot take one.
	Informational func(status int, header *Fields)

	// CleanInterim takes off a 1xx answer what must not reach the client: the
	// filters see only the final answer. Nil changes nothing.
	CleanInterim func(header *Fields)

	// Waiter runs a wait so that it does not hold an event loop. Nil means
	// that waiting in place is fine.
	Waiter func(ctx context.Context, wait func(context.Context) error) error

	// Again runs a second exchange with the same request through the filters behind
	// the running one and to the service, on behalf of x's user but for no
	// client, and reports whether it could be begun. x.Detached is what prepare
	// is given before Again returns. Nil where there is no such thing.
	Again func(x *Exchange, prepare func(second *Exchange)) bool

	// Engine is the server engine's own: its transport finds there what the
	// exchange runs on.
	Engine any

	// Alarm is the engine's own timer for Expire; nil means the runtime's.
	Alarm Alarm

	life   *Life
	lent   []Borrowed
	slots  []any
	slot   int
	onDone []func()
}

// Request is the request head and body.
type Request struct {
	Method    string
	Scheme    string // "http" or "https"
	Authority string // Host or :authority, as sent
	Target    string // the request target as sent, for logs
	Path      string // escaped path; normalised before routing
	Query     string // without "?"
	Proto     string // "HTTP/1.1", "HTTP/2.0", "HTTP/1.0"
	Header    Fields // without Host, Content-Length and Transfer-Encoding
	Trailer   Fields // filled once Body has been read to its end
	Body      io.ReadCloser
	Length    int64  // body bytes; 0 none, -1 unknown
	Upgrade   string // the protocol asked for by a valid Upgrade request, lower case
	Expect    bool   // the client waits for 100 Continue
	Read      int64  // body bytes read so far
}

// Response is the answer.
type Response struct {
	Status  int
	Proto   string // what the service speaks: "HTTP/1.1", "HTTP/2.0", "HTTP/1.0"; "" for an answer made here
	Header  Fields // without Content-Length and Transfer-Encoding
	Trailer Fields // filled once Body has been read to its end
	Body    io.ReadCloser
	Length  int64 // body bytes; -1 unknown
	Written int64 // body bytes written to the client

	// Tunnel is the other side's stream after a 101: the engine copies both
	// ways until both halves are closed.
	Tunnel io.ReadWriteCloser
	// TunnelIdle is for how long nothing may pass before the engine closes the
	// tunnel; 0 is unlimited.
	TunnelIdle time.Duration
}

// Param is one named path segment.
type Param struct{ Name, Value string }

// Borrowed is memory that strings of an exchange look into.
type Borrowed interface{ Free() }

// Borrow is for engines: b is freed when x is reset, so not before everybody is
// done with x.
func (x *Exchange) Borrow(b Borrowed) { x.lent = append(x.lent, b) }

// Lasting copies s if it may look into borrowed memory, for who keeps strings
// longer than x lasts, as net/http does.
func (x *Exchange) Lasting(s string) string {
	if len(x.lent) > 0 || x.Engine != nil {
		return strings.Clone(s)
	}
	return s
}

// Reset makes x ready for another exchange, keeping memory.
func (x *Exchange) Reset() {
	for i, b := range x.lent {
		b.Free()
		x.lent[i] = nil
	}
	rh, rt := x.Request.Header, x.Request.Trailer
	sh, st := x.Response.Header, x.Response.Trailer
	rh.Reset()
	rt.Reset()
	sh.Reset()
	st.Reset()
	// Whole capacity: matching backtracks, so names and values may lie beyond
	// the length.
	clear(x.slots[:cap(x.slots)])
	clear(x.onDone[:cap(x.onDone)])
	clear(x.Params[:cap(x.Params)])
	params := x.Params[:0]
	*x = Exchange{lent: x.lent[:0], slots: x.slots[:0], onDone: x.onDone[:0], Params: params}
	x.Request.Header, x.Request.Trailer = rh, rt
	x.Response.Header, x.Response.Trailer = sh, st
}

// Vouch adds sum to what tells the caller apart from others, for caches.
func (x *Exchange) Vouch(sum [32]byte) {
	if x.Vouched == [32]byte{} {
		x.Vouched = sum
		return
	}
	var both [64]byte
	copy(both[copy(both[:], x.Vouched[:]):], sum[:])
	x.Vouched = sha256.Sum256(both[:])
}

// Await runs wait, which may block on something other than this exchange's own
// streams. wait is given copies and must not touch x: on an event loop it runs
// elsewhere.
func (x *Exchange) Await(wait func(context.Context) error) error {
	if x.Waiter == nil {
		return wait(x.Context())
	}
	return x.Waiter(x.Context(), wait)
}

// NotAsked is for a filter that explain runs: it says whom or what it would have
// asked now, and that its verdict therefore says nothing.
func (x *Exchange) NotAsked(what string) {
	if x.Shadow {
		x.Unasked = what
	}
}

// Sleep waits for d or until the exchange is cancelled.
func (x *Exchange) Sleep(d time.Duration) error {
	return x.Await(func(ctx context.Context) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
}

// Inform passes a service's 1xx answer on; engines' transports call it.
func (x *Exchange) Inform(status int, header *Fields) {
	if x.Informational == nil {
		return
	}
	if x.CleanInterim != nil && header != nil {
		x.CleanInterim(header)
	}
	x.Informational(status, header)
}

// OnDone registers f to run exactly once when the exchange is over, last
// registered first.
func (x *Exchange) OnDone(f func()) { x.onDone = append(x.onDone, f) }

// RunDone is for the pipe: it runs and forgets what OnDone registered, also
// what is registered meanwhile, and ends the exchange's context. Each is
// forgotten before it runs, so after one panicked another call goes on with the
// rest.
func (x *Exchange) RunDone() {
	for n := len(x.onDone); n > 0; n = len(x.onDone) {
		f := x.onDone[n-1]
		x.onDone[n-1] = nil
		x.onDone = x.onDone[:n-1]
		f()
	}
	if x.life != nil {
		x.life.Cancel(nil)
	}
}

// UseSlot is for the pipe: Keep and Kept now belong to filter number i.
func (x *Exchange) UseSlot(i int) { x.slot = i }

// Slot is what UseSlot was last told.
func (x *Exchange) Slot() int { return x.slot }

// Keep stores what the running filter wants to find again in its own later
// calls on this exchange. No other filter sees it.
func (x *Exchange) Keep(v any) {
	for len(x.slots) <= x.slot {
		x.slots = append(x.slots, nil)
	}
	x.slots[x.slot] = v
}

// Kept returns what the running filter kept, or nil.
func (x *Exchange) Kept() any {
	if x.slot < len(x.slots) {
		return x.slots[x.slot]
	}
	return nil
}

// Param returns the named path segment, or "".
func (x *Exchange) Param(name string) string {
	for _, p := range x.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// IsGRPC reports whether the caller speaks gRPC: HTTP/2 with the content type
// application/grpc or a variant of it.
func (x *Exchange) IsGRPC() bool {
	if x.Request.Proto != "HTTP/2.0" {
		return false
	}
	ct := x.Request.Header.Get("Content-Type")
	const p = "application/grpc"
	return len(ct) >= len(p) && EqualFold(ct[:len(p)], p) &&
		(len(ct) == len(p) || ct[len(p)] == '+' || ct[len(p)] == ';')
}

// Answer fills Response with a small complete body and drops whatever was
// there. contentType may be empty when there is no body.
func (x *Exchange) Answer(status int, contentType string, body []byte) {
	x.DropResponse()
	x.Response.Status = status
	if contentType != "" {
		x.Response.Header.Set("Content-Type", contentType)
	}
	x.Response.Length = int64(len(body))
	if len(body) > 0 {
		x.Response.Body = NewBody(body)
	}
}

// DropResponse closes and forgets an answer that will not be sent.
func (x *Exchange) DropResponse() {
	if x.Response.Body != nil {
		_ = x.Response.Body.Close()
	}
	if x.Response.Tunnel != nil {
		_ = x.Response.Tunnel.Close()
	}
	h, t := x.Response.Header, x.Response.Trailer
	h.Reset()
	t.Reset()
	x.Response = Response{Header: h, Trailer: t}
}
