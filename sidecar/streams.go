package sidecar

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// streams ends what goes on after its answer's head when policy says that it
// must not go on: tunnels, gRPC streams and other answers of unknown length. A
// gRPC caller gets a status, a WebSocket a close frame, HTTP/1.1 is cut.
type streams struct {
	cfg     config.Streams
	token   bool
	cert    bool
	inForce *atomic.Pointer[policy]              // what recheck asks: the newest, not the one it began under
	trusted func(exchange.Peer, time.Time) error // and this; nil asks nothing
}

// newStreams returns nil where nothing is configured.
func newStreams(cfg config.Streams, inForce *atomic.Pointer[policy]) *streams {
	s := &streams{cfg: cfg, inForce: inForce}
	for _, u := range cfg.Until {
		s.token, s.cert = s.token || u == "token", s.cert || u == "certificate"
	}
	if cfg.Max == 0 && cfg.Recheck == 0 && !s.token && !s.cert {
		return nil
	}
	return s
}

// ending is why a stream was ended, in each protocol's words.
type ending struct {
	error
	grpc  string // status
	close uint16 // WebSocket (RFC 6455 section 7.4.1)
}

var (
	tooLong = &ending{errors.New("the stream has lasted as long as sidecar.policy.streams.max allows"), "14", 1001}
	noToken = &ending{errors.New("the Txn-Token that the stream was begun with has expired"), "16", 1008}
	noCert  = &ending{errors.New("the certificate that the stream was begun with has expired"), "16", 1008}
	noRight = &ending{errors.New("the caller may not call any more"), "7", 1008}
	noTrust = &ending{errors.New("the caller's certificate is trusted no more"), "16", 1008}
)

// stream is one that goes on. Timers run on other goroutines, so it has copies
// of what they need.
type stream struct {
	s     *streams
	life  *exchange.Life
	asked *exchange.Exchange // for recheck
	why   atomic.Pointer[ending]
	end   *time.Timer
	again *time.Timer
	wake  func() // instead of ending the exchange
}

// OnRequest implements filter.RequestFilter: what policy goes by is copied
// before other filters change it.
func (s *streams) OnRequest(x *exchange.Exchange) filter.Verdict {
	if s.cfg.Recheck > 0 && !x.Shadow {
		y := &exchange.Exchange{Peer: x.Peer, Txn: x.Txn, Identity: x.Identity}
		y.Request.Method, y.Request.Path = clone(x.Request.Method), clone(x.Request.Path)
		for name, value := range x.Request.Header.All() {
			y.Request.Header.Add(clone(name), clone(value))
		}
		x.Keep(y)
	}
	return filter.Next
}

func clone(s string) string { return string([]byte(s)) }

// OnResponse implements filter.ResponseFilter.
func (s *streams) OnResponse(x *exchange.Exchange) {
	r := &x.Response
	if x.Shadow || x.Fault != nil || r.Tunnel == nil && (r.Body == nil || r.Length >= 0) {
		return
	}
	t := &stream{s: s, life: x.Life()}
	t.asked, _ = x.Kept().(*exchange.Exchange)
	switch {
	case r.Tunnel != nil && x.Request.Upgrade == "websocket":
		w := &closing{ReadWriteCloser: r.Tunnel, stream: t}
		t.wake = w.wake
		r.Tunnel = w
	case r.Tunnel == nil && x.IsGRPC():
		r.Body = &statusBody{ReadCloser: r.Body, stream: t, x: x}
	}
	t.start(x)
	x.OnDone(t.stop)
}

// start sets the timers.
func (t *stream) start(x *exchange.Exchange) {
	now := time.Now()
	var at time.Time
	var why *ending
	earliest := func(limit time.Time, e *ending) {
		if why == nil || limit.Before(at) {
			at, why = limit, e
		}
	}
	if t.s.cfg.Max > 0 {
		earliest(now.Add(t.s.cfg.Max), tooLong)
	}
	if t.s.token && x.Txn != nil && x.Txn.Token != "" {
		earliest(x.Txn.Expires, noToken)
	}
	if t.s.cert && x.Peer.Cert != nil {
		earliest(x.Peer.Cert.NotAfter, noCert)
	}
	if why != nil {
		t.end = time.AfterFunc(max(0, at.Sub(now)), func() { t.over(why) })
	}
	if t.asked != nil {
		t.again = time.AfterFunc(time.Hour, t.recheck) // set right below, once it is known to itself
		t.again.Reset(t.s.cfg.Recheck)
	}
}

// recheck asks again whether the caller may call.
func (t *stream) recheck() {
	p := t.s.inForce.Load()
	switch {
	case t.s.trusted != nil && t.s.trusted(t.asked.Peer, time.Now()) != nil:
		t.over(noTrust)
		return
	case p == nil:
	case p.decide(t.asked) != nil:
		t.over(noRight)
		return
	case mtls.StillValid(t.asked.Peer, time.Now()) != nil && t.s.cert:
		t.over(noCert)
		return
	}
	if t.why.Load() == nil {
		t.again.Reset(t.s.cfg.Recheck)
	}
}

// over ends it, once.
func (t *stream) over(why *ending) {
	if !t.why.CompareAndSwap(nil, why) {
		return
	}
	if t.wake != nil {
		t.wake()
		return
	}
	t.life.Cancel(why)
}

// stop is called when the exchange is over. A timer that runs nevertheless ends
// a life that has ended already.
func (t *stream) stop() {
	t.why.CompareAndSwap(nil, tooLong)
	for _, timer := range []*time.Timer{t.end, t.again} {
		if timer != nil {
			timer.Stop()
		}
	}
}

// statusBody ends a gRPC answer with a status when the stream was ended.
type statusBody struct {
	io.ReadCloser
	stream *stream
	x      *exchange.Exchange
}

// Read implements io.Reader.
func (b *statusBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if why := b.stream.why.Load(); err != nil && err != io.EOF && why != nil {
		h := &b.x.Response.Trailer
		h.Set("Grpc-Status", why.grpc)
		h.Set("Grpc-Message", why.Error())
		err = io.EOF
	}
	return n, err
}

// Ready implements what exchange.Ready asks.
func (b *statusBody) Ready() bool { return exchange.Ready(b.ReadCloser) }

// Explain implements filter.Explainer.
func (s *streams) Explain() string {
	says := "ends streams"
	if s.cfg.Max > 0 {
		says += " after " + s.cfg.Max.String()
	}
	if s.token {
		says += ", with their Txn-Token"
	}
	if s.cert {
		says += ", with the caller's certificate"
	}
	if s.cfg.Recheck > 0 {
		says += ", when the caller loses its permission (asked every " + s.cfg.Recheck.String() + ")"
	}
	return says
}
