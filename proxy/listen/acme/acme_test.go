package acme

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick are times for tests.
var quick = times{poll: time.Millisecond, retry: time.Millisecond, refused: time.Hour, longest: 2 * time.Hour, attempt: time.Minute, askAgain: time.Hour}

func good(dir string) Config {
	return Config{Domains: []string{"one.test"}, CA: "https://ca.test/dir", TLSALPN: true, HTTP01: true, Dir: dir, times: quick}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"no domains":         func(c *Config) { c.Domains = nil },
		"dns-01":             func(c *Config) { c.Domains = []string{"*.example.com"} },
		"expected a host":    func(c *Config) { c.Domains = []string{"10.0.0.1"} },
		"as example.com":     func(c *Config) { c.Domains = []string{"http://example.com/"} },
		"given twice":        func(c *Config) { c.Domains = []string{"a.test", "A.test"} },
		"the https URL":      func(c *Config) { c.CA = "http://ca.test/dir" },
		"ca \"\"":            func(c *Config) { c.CA = "" },
		"expected one addr":  func(c *Config) { c.Email = "a@b.test, c@d.test" },
		"16 bytes or more":   func(c *Config) { c.Binding = Binding{"id", "c2hvcnQ"} },
		"expected a key_id":  func(c *Config) { c.Binding = Binding{"", "c2hvcnQtc2hvcnQtc2hvcnQtc2hvcnQ"} },
		"no challenge":       func(c *Config) { c.HTTP01, c.TLSALPN = false, false },
		"no directory to":    func(c *Config) { c.Dir = "" },
		"Lintel's user may ": func(c *Config) { c.Dir = "/dev/null/x" },
	} {
		c := good(t.TempDir())
		change(&c)
		m, err := New(c)
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q, found %v", want, err)
		}
	}
}

// fakeCA issues without being asked for proof. fail says what goes wrong first.
type fakeCA struct {
	key      *ecdsa.PrivateKey
	validity time.Duration
	fail     func(n int64) error
	asked    atomic.Int64
}

func (f *fakeCA) IssuerKey() string { return issuerKey("https://ca.test/dir") }

func (f *fakeCA) Issue(_ context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	n := f.asked.Add(1)
	if f.fail != nil {
		if err := f.fail(n); err != nil {
			return nil, certmagic.ErrNoRetry{Err: err}
		}
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(n), DNSNames: csr.DNSNames, NotBefore: now, NotAfter: now.Add(f.validity)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, csr.PublicKey, f.key)
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// manage runs a manager on a fake CA until stop is called.
func manage(t *testing.T, c Config, ca *fakeCA, change ...func(*Manager)) (m *Manager, stop func()) {
	t.Helper()
	if ca.key == nil {
		var err error
		if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	m.magic.Issuers = []certmagic.Issuer{ca}
	for _, f := range change {
		f(m)
	}
	for _, d := range m.domains {
		d.asked = time.Now() // the fake one has no opinion
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { m.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait(); m.Close() })
	t.Cleanup(stop)
	return m, stop
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// shelf is what has been published.
type shelf struct {
	p atomic.Pointer[[]*tls.Certificate]
}

func (s *shelf) put(c []*tls.Certificate) { s.p.Store(&c) }

func (s *shelf) serial(name string) int64 {
	for _, c := range *s.p.Load() {
		if c.Leaf.VerifyHostname(name) == nil {
			return c.Leaf.SerialNumber.Int64()
		}
	}
	return 0
}

func TestCertificatesAreObtainedAndKept(t *testing.T) {
	var s shelf
	c := good(t.TempDir())
	c.Domains, c.Publish = []string{"one.test", "Two.test"}, s.put
	ca := &fakeCA{validity: time.Hour}
	m, stop := manage(t, c, ca)
	until(t, "both", func() bool { return s.serial("one.test") > 0 && s.serial("two.test") > 0 })
	for _, st := range m.Status() {
		if st.Err != "" || time.Until(st.NotAfter) < 50*time.Minute {
			t.Errorf("%+v", st)
		}
	}
	stop()
	next := &fakeCA{validity: time.Hour}
	_, stop = manage(t, c, next)
	if s.serial("one.test") == 0 || s.serial("two.test") == 0 {
		t.Error("what is in the directory was not there from the start")
	}
	stop()
	if n := next.asked.Load(); n != 0 {
		t.Errorf("the CA was asked %d times for what there was", n)
	}
}

func TestRenewalComesAfterTwoThirds(t *testing.T) {
	now := time.Now()
	at := func(begin, end time.Duration) *domain {
		return &domain{cert: &tls.Certificate{Leaf: &x509.Certificate{NotBefore: now.Add(begin), NotAfter: now.Add(end)}}}
	}
	for name, c := range map[string]struct {
		d    *domain
		want bool
	}{
		"none":          {&domain{}, true},
		"fresh":         {at(0, 90*time.Hour), false},
		"just before":   {at(-59*time.Hour, 31*time.Hour), false},
		"two thirds":    {at(-61*time.Hour, 29*time.Hour), true},
		"expired":       {at(-90*time.Hour, -time.Hour), true},
		"CA says now":   {func() *domain { d := at(0, 90*time.Hour); d.suggests = now.Add(-time.Minute); return d }(), true},
		"CA says later": {func() *domain { d := at(0, 90*time.Hour); d.suggests = now.Add(time.Hour); return d }(), false},
	} {
		if got := due(c.d, now); got != c.want {
			t.Errorf("%s: due %t", name, got)
		}
	}
}

func TestInstancesObtainOnce(t *testing.T) {
	dir := t.TempDir()
	ca := &fakeCA{validity: time.Hour}
	var shelves [4]shelf
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca.key = key
	for i := range shelves {
		c := good(dir)
		c.Publish = shelves[i].put
		manage(t, c, ca)
	}
	for i := range shelves {
		until(t, "the certificate", func() bool { return shelves[i].serial("one.test") == 1 })
	}
	if n := ca.asked.Load(); n != 1 {
		t.Errorf("the CA was asked %d times", n)
	}
}

func TestFailuresAreToldAndTriedAgain(t *testing.T) {
	var s shelf
	c := good(t.TempDir())
	c.Publish = s.put
	m, _ := manage(t, c, &fakeCA{validity: time.Hour, fail: func(n int64) error {
		if n < 4 {
			return errors.New("the CA is away")
		}
		return nil
	}})
	until(t, "the certificate", func() bool { return s.serial("one.test") == 4 })
	if st := m.Status()[0]; st.Err != "" {
		t.Errorf("%+v", st)
	}
}

func TestRefusalsAreNotRepeatedSoon(t *testing.T) {
	ca := &fakeCA{validity: time.Hour, fail: func(int64) error {
		return acme.Problem{Type: acme.ProblemTypeUnauthorized, Detail: "no such file"}
	}}
	m, stop := manage(t, good(t.TempDir()), ca)
	until(t, "the refusal", func() bool { return m.Status()[0].Err != "" })
	st := m.Status()[0]
	if in := time.Until(st.Next); in < 45*time.Minute || !strings.Contains(st.Err, "no such file") {
		t.Errorf("tried again in %s: %s", in, st.Err)
	}
	stop()
	if n := ca.asked.Load(); n != 1 {
		t.Errorf("the CA was asked %d times", n)
	}
	d := &domain{}
	for range 40 {
		m.failed(d, errors.New("away"))
	}
	if in := time.Until(d.next); in > quick.longest*6/5 || in < 0 {
		t.Errorf("after 40 failures the pause is %s", in)
	}
}

func TestBrokenFilesAreReplaced(t *testing.T) {
	var s shelf
	c := good(t.TempDir())
	c.Publish = s.put
	ca := &fakeCA{validity: time.Hour}
	m, stop := manage(t, c, ca)
	until(t, "the certificate", func() bool { return s.serial("one.test") == 1 })
	stop()
	file := m.storage.(*storage).Filename(certmagic.StorageKeys.SiteCert(ca.IssuerKey(), "one.test"))
	if err := os.WriteFile(file, []byte("half a certif"), 0o600); err != nil {
		t.Fatal(err)
	}
	manage(t, c, ca)
	until(t, "another", func() bool { return s.serial("one.test") == 2 })
}

func TestChallengesAreAnsweredWhilePending(t *testing.T) {
	dir := t.TempDir()
	here, stop := manage(t, good(dir), &fakeCA{validity: time.Hour})
	stop()
	c := good(dir)
	there, stop := manage(t, c, &fakeCA{validity: time.Hour})
	stop()
	chal := func(kind string) acme.Challenge {
		return acme.Challenge{Type: kind, Token: "tok", KeyAuthorization: "tok.print", Identifier: acme.Identifier{Type: "dns", Value: "one.test"}}
	}
	web, shake := here.issuer.solvers[acme.ChallengeTypeHTTP01], here.issuer.solvers[acme.ChallengeTypeTLSALPN01]
	for _, s := range []acmez.Solver{web, shake} {
		if err := s.Present(t.Context(), chal(s.(solver).kind)); err != nil {
			t.Fatal(err)
		}
	}
	for name, m := range map[string]*Manager{"the one that ordered": here, "another": there} {
		for _, c := range []struct {
			host, path string
			ok         bool
		}{
			{"one.test", HTTPPrefix + "tok", true}, {"ONE.test", HTTPPrefix + "tok", true}, {"two.test", HTTPPrefix + "tok", false},
			{"one.test", HTTPPrefix + "other", false}, {"one.test", HTTPPrefix, false}, {"one.test", "/tok", false},
			{"one.test", HTTPPrefix + "tok/", false}, {"", HTTPPrefix + "tok", false}, {"../../etc/passwd", HTTPPrefix + "tok", false},
		} {
			body, ok := m.Answer(c.host, c.path)
			if ok != c.ok || ok && body != "tok.print" {
				t.Errorf("%s: %s%s: %q %t", name, c.host, c.path, body, ok)
			}
		}
		cert := m.Certificate("one.test")
		if cert == nil || m.Certificate("two.test") != nil {
			t.Fatalf("%s: %v", name, cert)
		}
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil || leaf.VerifyHostname("one.test") != nil || len(leaf.UnhandledCriticalExtensions) != 1 {
			t.Errorf("%s: %v, not a challenge's certificate", name, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range []acmez.Solver{web, shake} {
		if err := s.CleanUp(ended, chal(s.(solver).kind)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*Manager{here, there} {
		if _, ok := m.Answer("one.test", HTTPPrefix+"tok"); ok || m.Certificate("one.test") != nil {
			t.Error("answered when it was over")
		}
	}
}

func TestLocksExclude(t *testing.T) {
	dir := t.TempDir()
	a, err := openStorage(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openStorage(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Lock(t.Context(), "../x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.Lock(ctx, "../x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locked twice: %v", err)
	}
	if err := errors.Join(a.Unlock(t.Context(), "../x"), b.Lock(t.Context(), "../x"), b.Unlock(t.Context(), "../x")); err != nil {
		t.Error(err)
	}
	if b.Unlock(t.Context(), "../x") == nil {
		t.Error("unlocked twice")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*.flock")); len(left) > 0 {
		t.Errorf("a lock outside the directory: %v", left)
	}
}

func TestLibrariesLogWithoutStructures(t *testing.T) {
	var b bytes.Buffer
	for _, c := range []struct {
		level slog.Level
		want  bool
	}{{slog.LevelDebug, true}, {slog.LevelInfo, false}} {
		b.Reset()
		log := bridge(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: c.level})))
		log.With(zap.String("identifier", "one.test")).Named("obtain").Error("could not", zap.Any("account", map[string]string{"key": "s3cret"}),
			zap.ByteString("pem", []byte("s3cret")), zap.Error(errors.New("why")), zap.Int("attempt", 2))
		out := b.String()
		if (out != "") != c.want || strings.Contains(out, "s3cret") {
			t.Errorf("%s: %s", c.level, out)
		}
		if c.want && (!strings.Contains(out, "one.test") || !strings.Contains(out, "why") || !strings.Contains(out, "attempt=2") || !strings.Contains(out, "level=DEBUG")) {
			t.Errorf("%s", out)
		}
	}
}
