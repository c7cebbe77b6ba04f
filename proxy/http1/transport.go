package http1

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/mux"
)

// The defaults of exchange.TransportConfig.
const (
	defaultConnectTimeout = 2 * time.Second
	defaultIdleConn       = 60 * time.Second
	defaultMaxIdle        = 1024
)

// expectContinue is how long a request that announced Expect: 100-continue
// holds its body back when the service says nothing at all: RFC 9110 section
// 10.1.1 has nobody wait forever.
const expectContinue = time.Second

type transport struct {
	cfg exchange.TransportConfig
	lim limits
	tls *tls.Config // nil: plaintext
	// shared is the same on event loops, where exchanges may share a connection.
	shared *tls.Config
	open   atomic.Int64

	mu     sync.Mutex
	places map[string]*place
	closed bool
}

// NewTransport returns the HTTP/1.1 engine as a transport. Nothing is ever sent
// twice: a connection that proves stale is a retryable fault.
func NewTransport(cfg exchange.TransportConfig) exchange.Transport {
	setDefault(&cfg.ConnectTimeout, defaultConnectTimeout)
	setDefault(&cfg.IdleTimeout, defaultIdleConn)
	setDefault(&cfg.MaxIdle, defaultMaxIdle)
	setDefault(&cfg.HeaderBytes, defaultHeaderBytes)
	t := &transport{cfg: cfg, lim: limits{bytes: cfg.HeaderBytes, count: maxAnswerFields}, places: map[string]*place{}}
	if cfg.TLS != nil {
		t.tls = cfg.TLS.Clone()
		t.tls.NextProtos = []string{"http/1.1"}
		if t.shared = t.tls; cfg.PeerID != nil && !cfg.Unshared {
			t.shared = cfg.TLS.Clone()
			t.shared.NextProtos = []string{mux.Protocol, "http/1.1"}
			t.shared.DynamicRecordSizingDisabled = true
		}
	}
	return t
}

// maxAnswerFields bounds the field lines of an answer.
const maxAnswerFields = 256

// hostOf is what x runs on.
func hostOf(x *exchange.Exchange) host {
	if c, ok := x.Engine.(*conn); ok {
		return c.host
	}
	return threads{}
}

// Reserve implements exchange.Transport.
func (t *transport) Reserve(x *exchange.Exchange, address string, _ exchange.Protocol) (exchange.Upstream, error) {
	h := hostOf(x)
	for {
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return nil, closedFault()
		}
		p := t.places[address]
		if p == nil {
			p = &place{t: t, address: address}
			t.places[address] = p
		}
		l, w := p.take(h)
		t.mu.Unlock()
		switch {
		case l != nil:
			if l.awake() {
				return l, nil
			}
			l.discard()
		case w == nil:
			l, err := p.connect(x, h)
			if err != nil {
				p.lost()
				return nil, dialFault(x, address, t.cfg.ConnectTimeout, err)
			}
			t.open.Add(1)
			return l, nil
		default:
			if err := p.await(x, w); err != nil {
				return nil, err
			}
		}
	}
}

// Retire implements exchange.Transport.
func (t *transport) Retire(address string) {
	t.mu.Lock()
	p := t.places[address]
	delete(t.places, address)
	var idle []*link
	var shared []*carrying
	if p != nil {
		idle, shared = p.retire()
	}
	t.mu.Unlock()
	end(idle, shared)
}

func end(idle []*link, shared []*carrying) {
	for _, l := range idle {
		l.abandon()
	}
	for _, c := range shared {
		c.session.Drain()
	}
}

// Close implements exchange.Transport.
func (t *transport) Close() {
	t.mu.Lock()
	t.closed = true
	var idle []*link
	var shared []*carrying
	for _, p := range t.places {
		i, s := p.retire()
		idle, shared = append(idle, i...), append(shared, s...)
	}
	t.places = map[string]*place{}
	t.mu.Unlock()
	end(idle, shared)
}

// Open implements exchange.Transport. A stream that shares a connection counts as
// one, as it does for MaxConns and MaxIdle.
func (t *transport) Open() int { return int(t.open.Load()) }
