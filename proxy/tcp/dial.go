package tcp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Dialer opens the opaque streams of one cluster. It stands in the place of an
// engine's transport, and carries no requests.
type Dialer struct {
	cfg exchange.TransportConfig

	mu   sync.Mutex
	open map[string]int // by address
	all  int
}

// NewDialer returns a dialer; of the config, what concerns requests and reuse
// means nothing here.
func NewDialer(cfg exchange.TransportConfig) *Dialer {
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = 2 * time.Second
	}
	return &Dialer{cfg: cfg, open: map[string]int{}}
}

// Dial implements exchange.Dialer: TCP, TLS where it is configured, and the
// check of the peer, within the connect timeout. Nothing of the client's has been
// sent when it fails.
func (d *Dialer) Dial(ctx context.Context, address string) (exchange.Wire, exchange.Peer, error) {
	if !d.enter(address) {
		return nil, exchange.Peer{}, &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusServiceUnavailable, Code: "pool-full",
			Title: "Too many connections", Detail: fmt.Sprintf("all %d connections to the endpoint are busy", d.cfg.MaxConns), Retryable: true}
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	w, peer, err := d.dial(ctx, address)
	if err != nil {
		d.leave(address)
		return nil, exchange.Peer{}, dialFault(address, d.cfg.ConnectTimeout, err)
	}
	w.gone = func() { d.leave(address) }
	return w, peer, nil
}

func (d *Dialer) dial(ctx context.Context, address string) (*wire, exchange.Peer, error) {
	var peer exchange.Peer
	c, err := (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil || d.cfg.TLS == nil {
		if err != nil {
			return nil, peer, err
		}
		return plain(c), peer, nil
	}
	conf := d.cfg.TLS.Clone()
	if conf.ServerName == "" {
		conf.ServerName, _, _ = net.SplitHostPort(address)
	}
	// No ALPN: what is spoken inside is nobody's business, and Consul's own
	// proxy asks for none.
	conf.NextProtos = nil
	s := &socket{Conn: c, secure: true}
	secure := tls.Client(s, conf)
	if err = secure.HandshakeContext(ctx); err != nil {
		err = &tlsError{err}
	} else if d.cfg.PeerID != nil {
		state := secure.ConnectionState()
		peer, err = d.cfg.PeerID(&state)
	}
	if err != nil {
		_ = c.Close()
		return nil, peer, err
	}
	return secured(s, secure), peer, nil
}

func (d *Dialer) enter(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cfg.MaxConns > 0 && d.open[address] >= d.cfg.MaxConns {
		return false
	}
	d.open[address]++
	d.all++
	return true
}

func (d *Dialer) leave(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all--
	if d.open[address]--; d.open[address] == 0 {
		delete(d.open, address)
	}
}

// Reserve implements exchange.Transport: there are no requests here.
func (d *Dialer) Reserve(*exchange.Exchange, string, exchange.Protocol) (exchange.Upstream, error) {
	return nil, &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusBadGateway, Code: "not-http", Title: "Service does not speak HTTP"}
}

// Retire implements exchange.Transport: streams outlive their endpoint's place in
// the catalog, which an endpoint also loses by one failed check.
func (d *Dialer) Retire(string) {}

// Close implements exchange.Transport: open streams go on.
func (d *Dialer) Close() {}

// Open implements exchange.Transport.
func (d *Dialer) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all
}

// tlsError marks what went wrong in a handshake, after TCP was there.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// dialFault uses the codes that requests fail with.
func dialFault(address string, limit time.Duration, err error) *exchange.Fault {
	var own *exchange.Fault
	if errors.As(err, &own) {
		return own // the TLS config says so: it is our own doing, not the service's
	}
	f := &exchange.Fault{Source: exchange.FromUpstream, Status: http.StatusBadGateway, Code: "connect-failed", Title: "Service cannot be reached",
		Retryable: true, Err: fmt.Errorf("tcp: connecting to %s: %w", address, err)}
	var (
		cert    *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		shaking *tlsError
		timeout net.Error
		dns     *net.DNSError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		f.Status, f.Code, f.Detail = http.StatusGatewayTimeout, "connect-timeout", "no connection within "+limit.String()
	case errors.As(err, &cert), errors.As(err, &unknown), errors.As(err, &host):
		f.Code, f.Title = "tls-certificate", "Service's certificate is not accepted"
	case errors.As(err, &shaking):
		f.Code, f.Title = "tls-failed", "TLS handshake failed"
	case errors.As(err, &dns):
		f.Code = "dns-failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Code = "connect-refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		f.Code = "unroutable"
	}
	return f
}
