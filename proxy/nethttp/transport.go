package nethttp

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
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

// pingAfter and pingWithin find HTTP/2 connections whose other end is gone.
const (
	pingAfter  = 30 * time.Second
	pingWithin = 10 * time.Second
)

type poolKey struct {
	address  string
	protocol exchange.Protocol
}

type transport struct {
	cfg  exchange.TransportConfig
	h1   *http.Transport
	h2   *http.Transport
	open atomic.Int64

	mu     sync.Mutex
	pools  map[poolKey]*pool
	closed bool
}

// NewTransport returns net/http as a transport engine with its own pools, one
// per address and protocol: net/http only frames requests on connections that
// are chosen here, so what is derived from a connection's TLS session can be
// put into the request that travels on it. Nothing is ever sent twice.
func NewTransport(cfg exchange.TransportConfig) exchange.Transport {
	setDefault(&cfg.ConnectTimeout, defaultConnectTimeout)
	setDefault(&cfg.IdleTimeout, defaultIdleConn)
	setDefault(&cfg.MaxIdle, defaultMaxIdle)
	setDefault(&cfg.HeaderBytes, defaultHeaderBytes)
	t := &transport{cfg: cfg, pools: map[poolKey]*pool{}}
	var one, two http.Protocols
	one.SetHTTP1(true)
	two.SetHTTP2(cfg.TLS != nil)
	two.SetUnencryptedHTTP2(cfg.TLS == nil)
	t.h1 = t.engine(&one, exchange.HTTP1)
	t.h2 = t.engine(&two, exchange.HTTP2)
	return t
}

func (t *transport) engine(p *http.Protocols, protocol exchange.Protocol) *http.Transport {
	dial := t.dialPlain
	if protocol != exchange.HTTP2 {
		dial = t.dialPlain1
	}
	return &http.Transport{
		Protocols:              p,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWithin},
		DialContext:            dial,
		DialTLSContext:         t.dialTLS(protocol),
		DisableCompression:     true,
		ExpectContinueTimeout:  expectContinue,
		MaxResponseHeaderBytes: int64(t.cfg.HeaderBytes),
	}
}

// Reserve implements exchange.Transport.
func (t *transport) Reserve(x *exchange.Exchange, address string, p exchange.Protocol) (exchange.Upstream, error) {
	if p != exchange.HTTP2 {
		p = exchange.HTTP1
	}
	for {
		pl := t.pool(poolKey{address, p})
		if pl == nil {
			return nil, closedFault()
		}
		c, reused, err := pl.take(x.Context())
		if err == errPoolGone {
			continue // the endpoint was retired and is wanted again
		}
		if err != nil {
			return nil, err
		}
		u := &upstream{c: c, t: t, info: c.info}
		u.info.Reused = reused
		return u, nil
	}
}

func (t *transport) pool(key poolKey) *pool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	pl := t.pools[key]
	if pl == nil {
		pl = &pool{t: t, key: key, conns: map[*conn]struct{}{}}
		t.pools[key] = pl
	}
	return pl
}

// Retire implements exchange.Transport.
func (t *transport) Retire(address string) {
	var gone []*pool
	t.mu.Lock()
	for _, p := range [...]exchange.Protocol{exchange.HTTP1, exchange.HTTP2} {
		key := poolKey{address, p}
		if pl := t.pools[key]; pl != nil {
			gone = append(gone, pl)
			delete(t.pools, key)
		}
	}
	t.mu.Unlock()
	for _, pl := range gone {
		pl.retire()
	}
}

// Close implements exchange.Transport.
func (t *transport) Close() {
	t.mu.Lock()
	t.closed = true
	pools := t.pools
	t.pools = map[poolKey]*pool{}
	t.mu.Unlock()
	for _, pl := range pools {
		pl.retire()
	}
}

// Open implements exchange.Transport.
func (t *transport) Open() int { return int(t.open.Load()) }
