package enginetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

const exporterLabel = "EXPORTER-lintel-enginetest"

// testKeying puts two proxies behind one another, TLS between them: both must
// derive the same key from the very connection an exchange travels on, which is
// what hop tokens are signed with.
func testKeying(t *testing.T, e Engine) {
	serverTLS, clientTLS := pair(t)
	for _, w := range e.ways() {
		if w.client != w.service {
			continue
		}
		t.Run(string(w.service), func(t *testing.T) {
			got := make(chan seen, 1)
			inner := start(t, e, options{way: way{exchange.HTTP1, exchange.HTTP1}, app: recorder(got), server: exchange.ServerConfig{
				TLS: serverTLS, H2: e.HTTP2,
				PeerID: func(s *tls.ConnectionState) (exchange.Peer, error) {
					if len(s.PeerCertificates) == 0 {
						return exchange.Peer{}, errors.New("no certificate")
					}
					return exchange.Peer{ID: "spiffe://test/outer"}, nil
				},
			}})
			verdict := make(chan error, 1)
			inner.beforeWrite(func(x *exchange.Exchange, _ *exchange.ConnInfo) error {
				key, err := exported(x.Client.TLS)
				if have := x.Request.Header.Get("X-Key"); err == nil && (key != have || have == "") {
					err = fmt.Errorf("the outer proxy derived %q, the inner %q", have, key)
				}
				if x.Peer.ID != "spiffe://test/outer" || x.Client.PeerID != x.Peer.ID {
					err = errors.Join(err, fmt.Errorf("peer %+v, PeerID %q", x.Peer, x.Client.PeerID))
				}
				want := map[exchange.Protocol]string{exchange.HTTP1: "http/1.1", exchange.HTTP2: "h2"}[w.service]
				if x.Client.Protocol != want || x.Request.Scheme != "https" {
					err = errors.Join(err, fmt.Errorf("protocol %q, scheme %q", x.Client.Protocol, x.Request.Scheme))
				}
				verdict <- err
				return nil
			})
			var used, lost atomic.Pointer[tls.ConnectionState]
			outer := start(t, e, options{way: w, appAddr: inner.addr, transport: exchange.TransportConfig{TLS: clientTLS,
				Distrusted: func(s *tls.ConnectionState, _ time.Time) bool { return s == lost.Load() },
				PeerID: func(*tls.ConnectionState) (exchange.Peer, error) {
					return exchange.Peer{ID: "spiffe://test/inner"}, nil
				}}})
			outer.beforeWrite(func(x *exchange.Exchange, c *exchange.ConnInfo) error {
				if c.PeerID != "spiffe://test/inner" || !c.Remote.IsValid() || !c.Local.IsValid() {
					t.Errorf("endpoint connection %+v", c)
				}
				if c.TLS == lost.Load() {
					t.Error("a connection whose other side is trusted no more is used again")
				}
				used.Store(c.TLS)
				key, err := exported(c.TLS)
				x.Request.Header.Set("X-Key", key)
				return err
			})
			for n := range 4 {
				if n == 3 {
					lost.Store(used.Load())
				}
				res, err := outer.client.Get(outer.url("/"))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Fatalf("status %d, outer %+v, inner %+v", res.StatusCode, outer.records(), inner.records())
				}
				<-got
				if err := <-verdict; err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("an unknown authority is not talked to", func(t *testing.T) {
		l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			srv := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
			_ = srv.Serve(l)
		}()
		defer l.Close()
		p := start(t, e, options{appAddr: l.Addr().String(), way: way{exchange.HTTP1, exchange.HTTP1},
			transport: exchange.TransportConfig{TLS: &tls.Config{RootCAs: x509.NewCertPool()}}})
		_, err = p.trans.Reserve(background(t), p.app, exchange.HTTP1)
		var f *exchange.Fault
		if !errors.As(err, &f) || f.Proxy != "tls_certificate_error" || !f.Retryable {
			t.Errorf("%v", err)
		}
	})
}

func exported(s *tls.ConnectionState) (string, error) {
	if s == nil {
		return "", errors.New("no TLS state")
	}
	key, err := s.ExportKeyingMaterial(exporterLabel, nil, 32)
	return fmt.Sprintf("%x", key), err
}

// pair returns TLS 1.3 configurations of two ends that know each other.
func pair(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "enginetest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	server = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13}
	client = &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: known, MinVersion: tls.VersionTLS13}
	return server, client
}
