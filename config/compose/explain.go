package compose

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/pipe"
	"lintel.dev/lintel/proxy/route"
)

// Entrance is where a request that is explained comes in.
type Entrance struct {
	Listener string
	Path     route.Mode
	TLS      bool
	Trusted  pipe.Prefixes
	Edge     bool // clients are strangers
	Live     bool // it is a running Lintel's
}

// EdgeEntrance is the listener that a request names, else the first that speaks
// its scheme, else the first.
func EdgeEntrance(listeners []config.Listener, r admin.ExplainRequest) (Entrance, error) {
	var names []string
	best := -1
	for i, l := range listeners {
		names = append(names, l.Name)
		fits := r.Listener == l.Name
		if r.Listener == "" {
			fits = r.Scheme == "" || (r.Scheme == "https") == (l.TLS != nil)
		}
		if fits && best < 0 {
			best = i
		}
	}
	if best < 0 && r.Listener != "" {
		return Entrance{}, fmt.Errorf("listener %q does not exist; listeners are %s", r.Listener, strings.Join(names, ", "))
	}
	l := listeners[max(best, 0)]
	return Entrance{Listener: l.Name, Path: PathMode(l.Path), TLS: l.TLS != nil, Trusted: l.TrustedProxies, Edge: true}, nil
}

// Explain runs a made-up request through a table, which it releases.
func Explain(t *route.Table, in Entrance, r admin.ExplainRequest) (route.Explanation, error) {
	if t == nil {
		return route.Explanation{}, fmt.Errorf("no table is in force yet")
	}
	defer t.Release()
	x := &exchange.Exchange{Shadow: true, ID: "explain", Start: time.Now()}
	defer x.RunDone()
	x.Request.Method, x.Request.Scheme, x.Request.Authority = r.Method, r.Scheme, r.Host
	x.Request.Path, x.Request.Query, x.Request.Proto = r.Path, r.Query, "HTTP/1.1"
	if x.Request.Target = r.Path; r.Query != "" {
		x.Request.Target += "?" + r.Query
	}
	if r.Scheme == "" {
		x.Request.Scheme = "http"
		if in.TLS {
			x.Request.Scheme = "https"
		}
	}
	for _, f := range r.Header {
		x.Request.Header.Add(f.Name, f.Value)
	}
	if x.Request.Length = r.Body; r.Body != 0 {
		x.Request.Body = unmade{x}
	}
	x.Request.Upgrade = r.Upgrade
	if r.GRPC {
		x.Request.Proto = "HTTP/2.0"
	}
	addr := r.ClientIP
	if !addr.IsValid() {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	x.Client = exchange.ConnInfo{Listener: in.Listener, Remote: netip.AddrPortFrom(addr, 50000), PeerID: r.Peer, Protocol: "http/1.1"}
	if in.TLS || r.ClientCert != nil {
		x.Client.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: r.Host, NegotiatedProtocol: "http/1.1"}
	}
	if r.ClientCert != nil { // taken for one that the listener has verified
		x.Client.TLS.PeerCertificates = r.ClientCert
		x.Client.TLS.VerifiedChains = [][]*x509.Certificate{r.ClientCert}
	}
	x.Peer.ID = r.Peer
	if domain, ok := strings.CutPrefix(r.Peer, "spiffe://"); ok {
		x.Peer.TrustDomain, _, _ = strings.Cut(domain, "/")
	}
	pipe.Arrive(x, in.Trusted, in.Edge)
	return t.Explain(x, route.Asking{Path: in.Path, Believed: pipe.Believed(x, in.Trusted, in.Edge), Live: in.Live}), nil
}

// unmade is the body of a made-up request: it has a length, and nobody can read it.
type unmade struct{ x *exchange.Exchange }

var errUnmade = errors.New("compose: nobody has made up a body")

func (b unmade) Read([]byte) (int, error) {
	b.x.NotAsked("what is in the body")
	return 0, errUnmade
}

func (unmade) Close() error { return nil }

// Places says where a route's keys stand, at being the path of one, and those of
// services.
func Places(s *config.Snapshot, at func(key string) string) func(service, key string) string {
	return func(service, key string) string {
		if service == "" {
			return s.Given(at(key))
		}
		name := service
		if _, ok := s.Services[name]; !ok { // a part of one, see split
			name, _, _ = strings.Cut(name, "@")
		}
		return s.Given(strings.TrimSuffix("services."+name+"."+key, "."))
	}
}
