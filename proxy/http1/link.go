package http1

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/mux"
)

// link is a connection to an endpoint. It serves one exchange at a time and is
// that exchange's exchange.Upstream.
type link struct {
	t      *transport
	place  *place
	host   host
	raw    net.Conn
	nc     net.Conn
	tls    *secureConn // nil: plaintext
	info   exchange.ConnInfo
	retire time.Time // not reused from then on; zero: never
	parked parked    // how it waits while idle

	// bare says that the last answer had no body because of what it answered, or
	// of its status. A service that sends one all the same may still be about to.
	bare  bool
	taken bool    // reserved, RoundTrip or Release not called yet
	buf   *buffer // lent for one exchange
	once  sync.Once

	mu      sync.Mutex
	life    *exchange.Life // watched; nil between exchanges
	stopped bool           // an exchange was cancelled on it
}

// dial opens a connection for x.
func (p *place) dial(x *exchange.Exchange, h host) (*link, error) {
	l := &link{t: p.t, place: p, host: h, taken: true}
	if err := l.open(x); err != nil {
		if l.raw != nil {
			_ = l.raw.Close()
		}
		return nil, err
	}
	return l, nil
}

func (l *link) open(x *exchange.Exchange) error {
	t := l.t
	began := l.host.now()
	raw, err := l.host.dial(x, l.place.address, t.cfg.ConnectTimeout)
	if err != nil {
		return err
	}
	l.raw, l.nc = raw, raw
	own(raw, l)
	l.info = exchange.ConnInfo{Protocol: "http/1.1"}
	l.info.Local, l.info.Remote = addresses(raw)
	if t.cfg.Retire != nil {
		l.retire = t.cfg.Retire()
	}
	if t.tls == nil {
		if t.cfg.PeerID != nil {
			return &tlsError{errPlainPeer}
		}
		return nil
	}
	cfg := t.tls
	if l.host.lane() > 0 {
		cfg = t.shared
	}
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		if host, _, err := net.SplitHostPort(l.place.address); err == nil {
			cfg.ServerName = host
		}
	}
	l.tls = secureClient(raw, l.host, cfg)
	l.nc = l.tls
	_ = raw.SetDeadline(began.Add(t.cfg.ConnectTimeout))
	l.watch(x.Life()) // which may move the deadline at once
	err = l.tls.handshake()
	if l.unwatch() {
		return errLeft
	}
	_ = raw.SetDeadline(time.Time{})
	if err != nil {
		return &tlsError{err}
	}
	if err := l.verify(); err != nil {
		return err
	}
	if cfg.NextProtos[0] == mux.Protocol {
		l.share()
	}
	return nil
}

// verify checks what the handshake brought.
func (l *link) verify() error {
	state := l.tls.ConnectionState()
	if got := state.NegotiatedProtocol; got != "" && got != "http/1.1" && got != mux.Protocol {
		return &tlsError{fmt.Errorf("the endpoint chose protocol %q by ALPN where \"http/1.1\" was offered; set the service's protocol to what it speaks", got)}
	}
	l.info.TLS = &state
	if l.t.cfg.PeerID == nil {
		return nil
	}
	peer, err := l.t.cfg.PeerID(&state)
	if err != nil {
		return &tlsError{&tls.CertificateVerificationError{UnverifiedCertificates: slices.Clone(state.PeerCertificates), Err: err}}
	}
	l.info.PeerID = peer.ID
	if l.t.cfg.RetirePeer != nil {
		if at := l.t.cfg.RetirePeer(peer); !at.IsZero() && (l.retire.IsZero() || at.Before(l.retire)) {
			l.retire = at
		}
	}
	return nil
}

// spent reports whether no exchange may begin on it now.
func (l *link) spent(h host) bool {
	return !l.retire.IsZero() && !h.now().Before(l.retire) || l.t.distrusted(&l.info, h)
}

func (t *transport) distrusted(c *exchange.ConnInfo, h host) bool {
	return t.cfg.Distrusted != nil && c.TLS != nil && t.cfg.Distrusted(c.TLS, h.now())
}

// awake takes it out of idleness: false if the other side has ended it.
func (l *link) awake() bool {
	if !l.unpark() {
		return false
	}
	l.taken, l.info.Reused = true, true
	return true
}

// Info implements exchange.Upstream.
func (l *link) Info() *exchange.ConnInfo { return &l.info }

// Release implements exchange.Upstream.
func (l *link) Release() {
	if l.taken {
		l.taken = false
		l.giveBack(true)
	}
}

// giveBack ends an exchange's use of it.
func (l *link) giveBack(reusable bool) {
	if !reusable || l.spent(l.host) || l.tls != nil && l.tls.buffered() {
		l.discard()
		return
	}
	l.park()
}

// discard closes it, from a task of its host.
func (l *link) discard() {
	l.once.Do(func() {
		_ = l.nc.Close()
		l.doubt()
		l.gone()
	})
}

// doubt has a shared connection looked at that an exchange was given up on: it is
// not closed with the stream, and if it leads nowhere any more, no other exchange
// must find that out.
func (l *link) doubt() {
	l.mu.Lock()
	stopped := l.stopped
	l.mu.Unlock()
	if st, shared := l.raw.(*mux.Stream); shared && stopped {
		st.Doubt()
	}
}

// abandon closes it from any goroutine, without a word.
func (l *link) abandon() {
	l.once.Do(func() {
		_ = l.raw.Close()
		l.gone()
	})
}

func (l *link) gone() {
	l.unparkTimer()
	l.t.open.Add(-1)
	l.place.lost()
}

// watch has the exchange's end interrupt what is waited for here.
func (l *link) watch(life *exchange.Life) {
	l.mu.Lock()
	l.life, l.stopped = life, false
	l.mu.Unlock()
	life.Watch(l)
}

// unwatch ends watch and reports whether the exchange was cancelled meanwhile.
func (l *link) unwatch() (stopped bool) {
	l.mu.Lock()
	life := l.life
	l.life = nil
	stopped = l.stopped
	l.mu.Unlock()
	if life != nil {
		life.Unwatch(l)
	}
	return stopped
}

// Wake implements exchange.Waker.
func (l *link) Wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	// It may come late, from an exchange that had the connection before.
	if l.life != nil && l.life.Ended() != nil {
		l.stopped = true
		_ = l.raw.SetDeadline(time.Unix(1, 0))
	}
}

// interrupt ends what is waited for here, because of the request's own body.
func (l *link) interrupt() { _ = l.raw.SetDeadline(time.Unix(1, 0)) }

var errTwice = errors.New("http1: a reservation was used twice")

func (l *link) begin() error {
	if !l.taken {
		return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "internal",
			Title: "Internal error", Err: errTwice}
	}
	l.taken = false
	return nil
}
