package mtls

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually polls cond until it holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	within(t, 40*time.Second, what, cond)
}

func within(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if cond() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, expected one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
	if strings.Count(err.Error(), "mtls: ") > 1 {
		t.Errorf("error %q is prefixed more than once", err)
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// logBuffer is a log that tests can read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func openCA(t *testing.T, cfg CAConfig) *CA {
	t.Helper()
	if cfg.poll == 0 {
		cfg.poll = 50 * time.Millisecond
	}
	ca := must[*CA](t)(OpenCA(cfg))
	t.Cleanup(func() { _ = ca.Close() })
	return ca
}

func sourceOf(t *testing.T, ca *CA, id string) Source {
	t.Helper()
	s := must[Source](t)(ca.Source(context.Background(), id, "", 30*time.Second))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// socketPath is short enough for a unix socket whatever the test's name.
func socketPath(t *testing.T) string {
	t.Helper()
	dir := must[string](t)(os.MkdirTemp("", "lt"))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "a.sock")
}

// fixed is a Source whose content a test chooses.
type fixed struct {
	*held
}

func (f *fixed) Close() error { return nil }

// forge makes a Source from a certificate that ca signs as told; it need not
// be a proper SVID.
func forge(t *testing.T, ca *CA, tmpl x509.Certificate) *fixed {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if tmpl.NotAfter.IsZero() {
		tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	}
	if tmpl.KeyUsage == 0 {
		tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	}
	v := ca.view.Load()
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, &tmpl, v.signer.cert, key.Public(), v.signer.key))
	svid := &x509svid.SVID{Certificates: []*x509.Certificate{must[*x509.Certificate](t)(x509.ParseCertificate(der))}, PrivateKey: key}
	svid.ID = must[spiffeid.ID](t)(spiffeid.FromString("spiffe://" + ca.TrustDomain() + "/svc/forged"))
	f := &fixed{held: newHeld("fixed", nil)}
	f.set(svid, x509bundle.FromX509Authorities(ca.td, v.bundle), nil)
	return f
}

func uris(list ...string) []*url.URL {
	var out []*url.URL
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		out = append(out, u)
	}
	return out
}

// listen runs an HTTP server on a loopback port until the test ends.
func listen(t *testing.T, s *http.Server) (address string) {
	t.Helper()
	if s.ErrorLog == nil {
		s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	}
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.TLSConfig != nil {
			_ = s.ServeTLS(l, "", "")
		} else {
			_ = s.Serve(l)
		}
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String()
}

// GetX509BundleForTrustDomain trusts the other CA for its trust domain, where
// the own source knows nothing of it, or in place of it.
func (k knows) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if td == k.ca.td {
		return x509bundle.FromX509Authorities(td, k.ca.view.Load().bundle), nil
	}
	return k.Source.GetX509BundleForTrustDomain(td)
}
