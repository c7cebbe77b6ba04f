package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// handshake connects a client to a server over a real socket and exchanges
// one byte each way, so that both sides know the other's verdict.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error, cs tls.ConnectionState) {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
		c := tls.Server(raw, server)
		if err := c.Handshake(); err != nil {
			done <- err
			return
		}
		_, err = io.CopyN(c, c, 1)
		done <- err
	}()
	raw := must[net.Conn](t)(net.Dial("tcp", l.Addr().String()))
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	c := tls.Client(raw, client)
	clientErr = c.Handshake()
	if clientErr == nil {
		cs = c.ConnectionState()
		if _, clientErr = c.Write([]byte{1}); clientErr == nil {
			_, clientErr = io.ReadFull(c, make([]byte, 1))
		}
	}
	_ = raw.Close()
	return <-done, clientErr, cs
}

const (
	webID    = "spiffe://lintel.local/svc/web"
	ordersID = "spiffe://lintel.local/svc/orders"
)

func expecting(t *testing.T, ids ...string) func(exchange.Peer) error {
	t.Helper()
	return must[func(exchange.Peer) error](t)(Expect(ids...))
}

func TestBothSidesVerifyEachOther(t *testing.T) {
	ca := openCA(t, CAConfig{})
	web, orders := sourceOf(t, ca, webID), sourceOf(t, ca, ordersID)
	var seen atomic.Value
	server := ServerConfig(orders, func(p exchange.Peer) error { seen.Store(p.ID); return nil }, Options{})
	sErr, cErr, cs := handshake(t, server, ClientConfig(web, expecting(t, ordersID), Options{}))
	if sErr != nil || cErr != nil {
		t.Fatal(sErr, cErr)
	}
	if seen.Load() != webID {
		t.Errorf("the server authorised %v, expected %s", seen.Load(), webID)
	}
	if cs.Version != tls.VersionTLS13 {
		t.Errorf("TLS version %s, expected 1.3", tls.VersionName(cs.Version))
	}
	peer := must[exchange.Peer](t)(PeerOf(&cs))
	if peer.ID != ordersID || peer.TrustDomain != "lintel.local" || peer.Cert == nil {
		t.Errorf("peer %+v", peer)
	}
	if r := RetirePeer(peer); !r.Before(peer.Cert.NotAfter) || r.Before(time.Now()) {
		t.Errorf("RetirePeer = %s with NotAfter %s", r, peer.Cert.NotAfter)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ca, foreign := openCA(t, CAConfig{}), openCA(t, CAConfig{TrustDomain: "other.example"})
	impostorCA := openCA(t, CAConfig{}) // the same trust domain from another root
	web, orders := sourceOf(t, ca, webID), sourceOf(t, ca, ordersID)
	impostor := sourceOf(t, impostorCA, ordersID)
	stranger := sourceOf(t, foreign, "spiffe://other.example/svc/orders")
	past := x509.Certificate{URIs: uris(ordersID), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)}

	trusting := func(s Source) Source { return knows{s, ca} }
	for name, c := range map[string]struct {
		server, client Source
		expect         func(exchange.Peer) error
		authorize      func(exchange.Peer) error
		byServer       []string // in the server's error; nil: the client refuses
		byClient       []string
	}{
		"right CA, wrong service": {server: web, client: web, expect: expecting(t, ordersID),
			byClient: []string{"the endpoint is " + webID, "expected " + ordersID}},
		"unknown CA at the server": {server: impostor, client: web, expect: expecting(t, ordersID),
			byClient: []string{ordersID, "unknown authority"}},
		"unknown CA at the client": {server: orders, client: trusting(impostor), expect: expecting(t, ordersID),
			byServer: []string{ordersID, "unknown authority"}},
		"unknown trust domain": {server: orders, client: trusting(stranger), expect: expecting(t, ordersID),
			byServer: []string{"other.example", "no X.509 bundle"}},
		"a known but foreign trust domain": {server: knows{orders, foreign}, client: trusting(stranger), expect: expecting(t, ordersID),
			byServer: []string{"another trust domain than ours"}},
		"denied by authorize": {server: orders, client: web, expect: expecting(t, ordersID),
			authorize: func(exchange.Peer) error { return errors.New("web may not call orders") },
			byServer:  []string{"peer " + webID + " refused", "web may not call orders"}},
		"nobody is expected": {server: orders, client: web, byClient: []string{"no SPIFFE ID is expected"}},
		"two URI SANs": {server: forge(t, ca, x509.Certificate{URIs: uris(ordersID, webID)}), client: web, expect: expecting(t, ordersID),
			byClient: []string{"exactly one URI SAN", ordersID + ", " + webID}},
		"no URI SAN": {server: forge(t, ca, x509.Certificate{DNSNames: []string{"orders"}}), client: web, expect: expecting(t, ordersID),
			byClient: []string{"exactly one URI SAN", "it has 0"}},
		"not a SPIFFE ID": {server: forge(t, ca, x509.Certificate{URIs: uris("https://lintel.local/svc/orders")}), client: web,
			expect: expecting(t, ordersID), byClient: []string{"https://lintel.local/svc/orders", "is not a SPIFFE ID"}},
		"a trust domain's own ID": {server: forge(t, ca, x509.Certificate{URIs: uris("spiffe://lintel.local")}), client: web,
			expect: expecting(t, ordersID), byClient: []string{"names a trust domain"}},
		"a CA certificate": {server: forge(t, ca, x509.Certificate{URIs: uris(ordersID), IsCA: true, BasicConstraintsValid: true}), client: web,
			expect: expecting(t, ordersID), byClient: []string{"CA flag"}},
		"an expired own identity at the server": {server: forge(t, ca, past), client: web, expect: expecting(t, ordersID),
			byServer: []string{"the own identity", "expired at", "has not been renewed"}},
		"an expired own identity at the client": {server: orders, client: forge(t, ca, past), expect: expecting(t, ordersID),
			byClient: []string{"the own identity", "expired at"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := ServerConfig(c.server, c.authorize, Options{})
			sErr, cErr, _ := handshake(t, server, ClientConfig(c.client, c.expect, Options{}))
			if c.byServer != nil {
				wantError(t, sErr, c.byServer...)
			} else {
				wantError(t, cErr, c.byClient...)
			}
			if sErr == nil || cErr == nil {
				t.Errorf("one side went on: server %v, client %v", sErr, cErr)
			}
		})
	}
}

// knows is a Source that also trusts another CA, as federation or an attacker
// would arrange it.
type knows struct {
	Source
	ca *CA
}

func TestAnExpiredPeerCertificateIsRefused(t *testing.T) {
	ca := openCA(t, CAConfig{})
	past := forge(t, ca, x509.Certificate{URIs: uris(ordersID), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)})
	svid, _ := past.GetX509SVID()
	// A server without our scruples about its own identity.
	rogue := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{svid.Certificates[0].Raw}, PrivateKey: svid.PrivateKey}}}
	_, err, _ := handshake(t, rogue, ClientConfig(sourceOf(t, ca, webID), expecting(t, ordersID), Options{}))
	wantError(t, err, "expired")
}

func TestAForeignTrustDomainIsAdmittedWhenListed(t *testing.T) {
	ca, foreign := openCA(t, CAConfig{}), openCA(t, CAConfig{TrustDomain: "other.example"})
	orders := knows{sourceOf(t, ca, ordersID), foreign}
	stranger := knows{sourceOf(t, foreign, "spiffe://other.example/svc/shop"), ca}
	sErr, cErr, _ := handshake(t, ServerConfig(orders, nil, Options{TrustDomains: []string{"other.example"}}),
		ClientConfig(stranger, expecting(t, ordersID), Options{}))
	if sErr != nil || cErr != nil {
		t.Fatal(sErr, cErr)
	}
}

func TestAClientMustShowACertificate(t *testing.T) {
	ca := openCA(t, CAConfig{})
	server := ServerConfig(sourceOf(t, ca, ordersID), nil, Options{})
	sErr, cErr, _ := handshake(t, server, &tls.Config{InsecureSkipVerify: true})
	if sErr == nil || cErr == nil {
		t.Errorf("a client without a certificate was served: server %v, client %v", sErr, cErr)
	}
}

func TestPlaintextIsRefused(t *testing.T) {
	ca := openCA(t, CAConfig{})
	l := tls.NewListener(must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0")), ServerConfig(sourceOf(t, ca, ordersID), nil, Options{}))
	defer l.Close()
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	c := must[net.Conn](t)(l.Accept())
	defer c.Close()
	if err := c.(*tls.Conn).HandshakeContext(context.Background()); err == nil {
		t.Error("a plaintext request passed the handshake")
	}
	if _, err := PeerOf(nil); err == nil {
		t.Error("a plaintext connection has a peer")
	}
}

func TestTLSVersions(t *testing.T) {
	ca := openCA(t, CAConfig{})
	web, orders := sourceOf(t, ca, webID), sourceOf(t, ca, ordersID)
	old := func() *tls.Config {
		c := ClientConfig(web, expecting(t, ordersID), Options{AllowTLS12: true})
		c.MaxVersion = tls.VersionTLS12
		return c
	}
	if _, err, _ := handshake(t, ServerConfig(orders, nil, Options{}), old()); err == nil {
		t.Error("TLS 1.2 was accepted without being allowed")
	}
	sErr, cErr, cs := handshake(t, ServerConfig(orders, nil, Options{AllowTLS12: true}), old())
	if sErr != nil || cErr != nil || cs.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2 allowed: server %v, client %v, version %s", sErr, cErr, tls.VersionName(cs.Version))
	}
	denying := ServerConfig(orders, func(exchange.Peer) error { return errors.New("denied") }, Options{AllowTLS12: true})
	if sErr, cErr, _ := handshake(t, denying, old()); sErr == nil || cErr == nil {
		t.Errorf("a denied peer passed with TLS 1.2: server %v, client %v", sErr, cErr)
	}
}

func TestSessionsAreNeverResumed(t *testing.T) {
	ca := openCA(t, CAConfig{})
	web, orders := sourceOf(t, ca, webID), sourceOf(t, ca, ordersID)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			var denied atomic.Bool
			server := ServerConfig(orders, func(exchange.Peer) error {
				if denied.Load() {
					return errors.New("denied by now")
				}
				return nil
			}, Options{AllowTLS12: true})
			cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
			client := ClientConfig(web, expecting(t, ordersID), Options{AllowTLS12: true})
			client.ClientSessionCache, client.ServerName, client.MaxVersion = cache, "orders", version
			client.SessionTicketsDisabled = false
			for range 3 {
				sErr, cErr, cs := handshake(t, server, client)
				if sErr != nil || cErr != nil || cs.DidResume {
					t.Fatalf("server %v, client %v, resumed %v", sErr, cErr, cs.DidResume)
				}
			}
			if n := cache.put.Load(); n != 0 {
				t.Errorf("the server offered %d sessions", n)
			}
			denied.Store(true)
			sErr, cErr, _ := handshake(t, server, client)
			wantError(t, sErr, "denied by now")
			if cErr == nil {
				t.Error("a denied peer was served")
			}
		})
	}
	if ClientConfig(web, nil, Options{}).ClientSessionCache != nil {
		t.Error("the client keeps sessions")
	}
}

// A server that hands out tickets all the same gains nothing: the client
// refuses a resumed session.
func TestAClientRefusesAResumedSession(t *testing.T) {
	ca := openCA(t, CAConfig{})
	web, orders := sourceOf(t, ca, webID), sourceOf(t, ca, ordersID)
	server := ServerConfig(orders, nil, Options{})
	server.SessionTicketsDisabled = false
	server.VerifyConnection = nil
	client := ClientConfig(web, expecting(t, ordersID), Options{})
	client.ClientSessionCache, client.ServerName = tls.NewLRUClientSessionCache(8), "orders"
	client.SessionTicketsDisabled = false
	if _, err, _ := handshake(t, server, client); err != nil {
		t.Fatal(err)
	}
	_, err, _ := handshake(t, server, client)
	wantError(t, err, "the session was resumed")
}

type countingCache struct {
	tls.ClientSessionCache
	put atomic.Int32
}

func (c *countingCache) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		c.put.Add(1)
	}
	c.ClientSessionCache.Put(key, s)
}

func TestExpectNeedsValidIDs(t *testing.T) {
	for _, ids := range [][]string{nil, {""}, {"orders"}, {"spiffe://lintel.local"}, {ordersID, "https://x/y"}} {
		if _, err := Expect(ids...); err == nil {
			t.Errorf("Expect(%q) is accepted", ids)
		}
	}
}
