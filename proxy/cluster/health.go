package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// Health is how endpoints are probed. The first probe of an endpoint decides at
// once; an endpoint that has not been probed yet is used.
type Health struct {
	Kind      string           // "http", "grpc", "tcp"
	Path      string           // of http: path and query
	Host      string           // of http and grpc; the endpoint's address when empty
	Header    []exchange.Field // of http
	Status    []string         // of http: "200" or "2xx", any of these
	Service   string           // of grpc: grpc.health.v1's name for it
	Protocol  exchange.Protocol
	TLS       *tls.Config // of tcp: the handshake is made too; nil: plaintext
	Secure    bool        // http and grpc go over TLS
	Interval  time.Duration
	Timeout   time.Duration
	Healthy   int // successes in a row after which an endpoint is used again
	Unhealthy int // failures in a row after which it is not
}

// probesAtOnce bounds the probes of a cluster that run at the same time, and
// probeBytes what is read of an answer.
const (
	probesAtOnce = 32
	probeBytes   = 64 << 10
)

var errProbeTimeout = errors.New("cluster: no answer in time")

// errNoVerdict is wrapped by a probe's error that says nothing of the endpoint.
var errNoVerdict = errors.New("cluster: the probe could not be made")

func newProber(h *Health, t exchange.Transport) *prober {
	p := &prober{Health: *h, transport: t, slots: make(chan struct{}, probesAtOnce)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// probeBench begins to probe those of the bench that are not probed yet. c.mu is
// held.
func (c *Cluster) probeBench() {
	if c.prober == nil || c.ended {
		return
	}
	for _, m := range c.bench {
		if m.probe == nil {
			// At once, but not everywhere in the same instant.
			m.probe = time.AfterFunc(rand.N(max(c.prober.Interval/10, 1)), func() { c.runProbe(m.Address, m.vitals) })
		}
	}
}

// unprobe ends the probing of an endpoint. Cluster.mu is held.
func (v *vitals) unprobe() {
	if v.probe != nil {
		v.probe.Stop()
		v.probe = nil
	}
}

func (c *Cluster) runProbe(address string, v *vitals) {
	p := c.prober
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		return
	}
	err := p.ask(address)
	<-p.slots
	c.mu.Lock()
	if c.ended || v.probe == nil || p.ctx.Err() != nil {
		c.mu.Unlock()
		return
	}
	// A fifth of jitter, so that those who began together part.
	v.probe.Reset(p.Interval - p.Interval/10 + rand.N(max(p.Interval/5, 1)))
	if !c.heed(address, v, err) {
		c.mu.Unlock()
		return
	}
	c.rebuild(time.Now())
	c.changed()
}

// heed takes the result of a probe and reports whether the endpoint's state
// changed by it. c.mu is held.
func (c *Cluster) heed(address string, v *vitals, err error) (changed bool) {
	if errors.Is(err, errNoVerdict) {
		return false
	}
	verdict, need := well, c.prober.Healthy
	if err != nil {
		verdict, need = sick, c.prober.Unhealthy
		v.why = err.Error()
	}
	if v.probed == verdict {
		v.streak = 0
		return false
	}
	if v.streak++; v.streak < need && v.probed != unprobed {
		return false
	}
	was := v.probed
	v.probed, v.streak = verdict, 0
	switch {
	case verdict == sick:
		c.cfg.Log.Warn("cluster: endpoint is unhealthy", c.attrs("endpoint", address, "why", v.why)...)
	case was == sick:
		c.returned(&member{vitals: v}, time.Now())
		c.cfg.Log.Info("cluster: endpoint is healthy again", c.attrs("endpoint", address)...)
	default:
		return false // it was used all along
	}
	return true
}

// ask probes an endpoint once.
func (p *prober) ask(address string) error {
	if p.Kind == "tcp" {
		return p.connect(address)
	}
	// A context of its own: what waits for its end is forgotten with the probe.
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	x := &exchange.Exchange{Start: time.Now(), ID: "probe"}
	x.Begin(ctx)
	defer x.RunDone()
	p.request(x, address)
	x.Expire(p.Timeout, errProbeTimeout)
	err := p.roundTrip(x, address)
	if !x.Unexpire() && err == nil || errors.Is(x.Ended(), errProbeTimeout) && !errors.Is(err, errNoVerdict) {
		err = fmt.Errorf("no answer within %s", p.Timeout)
	}
	x.DropResponse()
	return err
}

func (p *prober) request(x *exchange.Exchange, address string) {
	r := &x.Request
	r.Method, r.Scheme, r.Authority, r.Proto = "GET", "http", p.Host, "HTTP/1.1"
	if r.Authority == "" {
		r.Authority = address
	}
	if p.Secure {
		r.Scheme = "https"
	}
	if p.Kind == "grpc" {
		grpcRequest(r, p.Service)
		return
	}
	r.Target = p.Path
	r.Path = p.Path
	if u, err := url.ParseRequestURI(p.Path); err == nil {
		r.Path, r.Query = u.EscapedPath(), u.RawQuery
	}
	r.Header.Add("User-Agent", "lintel-health")
	for _, f := range p.Header {
		r.Header.Add(f.Name, f.Value)
	}
}

func (p *prober) roundTrip(x *exchange.Exchange, address string) error {
	protocol := p.Protocol
	if p.Kind == "grpc" {
		protocol = exchange.HTTP2
	}
	up, err := p.transport.Reserve(x, address, protocol)
	if err != nil {
		var f *exchange.Fault
		if errors.As(err, &f) && f.Code == "pool-full" {
			return errNoVerdict // it is busy, which is another question
		}
		return err
	}
	if err := up.RoundTrip(x); err != nil {
		var f *exchange.Fault
		if errors.As(err, &f) && f.Code == "stale-connection" {
			return errNoVerdict // an idle connection that had ended; the next probe makes one
		}
		return err
	}
	if p.Kind == "grpc" {
		return grpcVerdict(x)
	}
	if x.Response.Body != nil {
		_, _ = io.CopyN(io.Discard, x.Response.Body, probeBytes) // so that the connection can be used again
	}
	return p.accepts(x.Response.Status)
}

func (p *prober) accepts(status int) error {
	for _, s := range p.Status {
		if s == strconv.Itoa(status) || len(s) == 3 && s[1:] == "xx" && int(s[0]-'0') == status/100 {
			return nil
		}
	}
	return fmt.Errorf("status %d, expected %v", status, p.Status)
}

// connect opens a connection of its own, with TLS where the service has it: one
// that is open already would prove nothing.
func (p *prober) connect(address string) error {
	ctx, cancel := context.WithTimeoutCause(p.ctx, p.Timeout, errProbeTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	if p.TLS == nil {
		return nil
	}
	cfg := p.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}
	return tls.Client(raw, cfg).HandshakeContext(ctx)
}
