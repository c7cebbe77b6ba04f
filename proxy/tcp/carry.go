package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// carry takes a connection from its handshake to its end, and leaves in r.Fault
// what went wrong.
func (s *Server) carry(ctx context.Context, r *running) {
	client, err := s.receive(ctx, r)
	if err != nil {
		r.Fault = r.why(handshakeFault(err))
		r.raw.Close()
		return
	}
	service, over, fault := s.cfg.Connect(ctx, &r.Stream)
	if fault != nil {
		r.Fault = r.why(fault)
		client.Reset() // not a stream that ended
		return
	}
	defer over()
	r.Connected = max(time.Since(r.Start), 1)
	if !r.join(service) {
		service.Reset()
		client.Reset()
		r.Fault = r.why(nil)
		return
	}
	var idle time.Duration
	if s.cfg.Idle != nil {
		idle = s.cfg.Idle()
	}
	err = Splice(client, service, idle, Counted{In: []*atomic.Int64{&r.In, &s.In}, Out: []*atomic.Int64{&r.Out, &s.Out}})
	r.Fault = r.why(spliceFault(err, idle))
}

// receive makes the handshake and names the peer.
func (s *Server) receive(ctx context.Context, r *running) (*wire, error) {
	if s.cfg.TLS == nil {
		w := plain(r.raw)
		r.mu.Lock()
		r.client = w
		r.mu.Unlock()
		return w, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Handshake)
	defer cancel()
	raw := &socket{Conn: r.raw, secure: true}
	secure := tls.Server(raw, s.cfg.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	state := secure.ConnectionState()
	peer, err := s.cfg.PeerID(&state)
	if err != nil {
		return nil, err
	}
	w := secured(raw, secure)
	r.mu.Lock()
	r.Peer, r.client = peer, w
	r.mu.Unlock()
	return w, nil
}

// join notes the other side; false when the stream has been cut meanwhile.
func (r *running) join(service exchange.Wire) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.service = service
	return r.cut == nil
}

func (r *running) connected() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.service != nil
}

// end cuts the stream wherever it stands.
func (r *running) end(why *exchange.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut == nil {
		r.cut = why
	}
	r.cancel()
	switch {
	case r.service != nil:
		r.service.Reset()
		r.client.Reset()
	case r.client != nil:
		r.client.Reset()
	default:
		_ = r.raw.Close()
	}
}

// why is the reason we cut it for, else what happened.
func (r *running) why(happened *exchange.Fault) *exchange.Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut != nil {
		return r.cut
	}
	return happened
}

func drainFault() *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable, Code: "drain-cut", Title: "Cut by the end of the drain",
		Detail: "shutdown.drain was over"}
}

func handshakeFault(err error) *exchange.Fault {
	var own *exchange.Fault
	if errors.As(err, &own) {
		return own // policy, or the own identity
	}
	f := &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "tls-failed", Title: "TLS handshake failed", Err: err}
	if errors.Is(err, context.DeadlineExceeded) {
		f.Detail = "it took longer than limits.header_timeout"
	}
	return f
}

func spliceFault(err error, idle time.Duration) *exchange.Fault {
	var b *Broken
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errIdle):
		return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusRequestTimeout, Code: "stream-idle", Title: "Nothing passed for too long",
			Detail: "no byte in either direction for " + idle.String() + " (tunnel_idle)"}
	case !errors.As(err, &b):
		return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "internal", Title: "Internal error", Err: err}
	}
	f := &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusBadGateway, Code: "stream-reset", Title: "The service broke the stream off", Err: b.Err}
	if b.Client {
		f.Source, f.Status, f.Title = exchange.FromClient, 499, "The client broke the stream off"
	}
	var op *net.OpError
	switch {
	case errors.Is(err, errTruncated):
		f.Code = "stream-truncated"
	case errors.As(err, &op) && op.Op == "remote error": // with TLS 1.3 a refused client learns of it on its first read
		f.Code, f.Title = "tls-refused", "The other side refused us"
	}
	return f
}
