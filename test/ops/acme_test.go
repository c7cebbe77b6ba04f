package ops_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// acmeEdge is a gateway that obtains its certificates.
type acmeEdge struct {
	*kit.Process
	admin, secure string
}

// startACME starts one whose plaintext listener and TLS listener have the given
// addresses. more are further lines of the acme section.
func startACME(t *testing.T, p *kit.Pebble, caRoot, dir, plain, secure, tlsKeys, more string, app *kit.App) *acmeEdge {
	t.Helper()
	admin := kit.FreeAddr(t)
	file := kit.File(t, "acme.yaml", fmt.Sprintf(`version: 1
listeners:
  - {name: plain, address: %q}
  - name: secure
    address: %q
    tls:
      %s
      acme:
        ca: %s
        ca_root: %s
        email: admin@one.test
        agreed: true
        storage: {dir: %q}
        %s
admin: {address: %q}
routes:
  - {name: all, service: app}
services:
  app: {static: [%s]}
`, plain, secure, tlsKeys, p.Directory, caRoot, dir, strings.ReplaceAll(more, "\n", "\n        "), admin, app.Addr))
	return &acmeEdge{kit.Start(t, nil, "ingress", "-c", file, "--log-level", "debug").Ready(admin), admin, secure}
}

// shown is the certificate that a client which trusts pool is shown for name.
func shown(addr, name string, pool *x509.CertPool) (*x509.Certificate, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, &tls.Config{RootCAs: pool, ServerName: name})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func awaitShown(t *testing.T, addr, name string, pool *x509.CertPool) *x509.Certificate {
	t.Helper()
	var cert *x509.Certificate
	kit.Eventually(t, 2*time.Minute, "a certificate for "+name, func() (err error) {
		cert, err = shown(addr, name, pool)
		return err
	})
	return cert
}

// noSecrets looks for private keys and challenge answers in what was logged.
func noSecrets(t *testing.T, dir string, e *acmeEdge) {
	t.Helper()
	out := e.Stderr.String() + e.Stdout.String()
	if strings.Contains(out, "PRIVATE KEY") {
		t.Error("a private key was logged")
	}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestACMEByEitherChallenge(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			p := kit.NewPebble(t, 24*time.Hour).Start()
			app, dir := kit.StartApp(t, "app", ""), t.TempDir()
			e := startACME(t, p, p.CARoot, dir, p.HTTPAddr, p.TLSAddr, "strict_sni: true", "domains: [one.test, Two.test]\nchallenges: ["+challenge+"]", app)
			roots := p.Roots()
			one, two := awaitShown(t, e.secure, "one.test", roots), awaitShown(t, e.secure, "two.test", roots)
			if one.SerialNumber.Cmp(two.SerialNumber) == 0 {
				t.Error("both names have one certificate")
			}
			if one.PublicKeyAlgorithm != x509.ECDSA {
				t.Errorf("the key is %s, expected P-256", one.PublicKeyAlgorithm)
			}
			if _, err := shown(e.secure, "three.test", roots); err == nil {
				t.Error("a certificate was shown for a name that nobody asked for")
			}
			kit.Eventually(t, time.Minute, "readyz tells of both", func() error {
				r := mustReady(t, e.admin)
				for _, name := range []string{"one.test", "two.test"} {
					if d := r.detail("acme secure " + name); !strings.HasPrefix(d, "ok=true until ") {
						return errors.New(d)
					}
				}
				return nil
			})
			if got := metric(t, e.admin, `lintel_certificate_expiry_timestamp_seconds{name="secure/one.test"}`); int64(got) != one.NotAfter.Unix() {
				t.Errorf("the metric says %v, the certificate %d", got, one.NotAfter.Unix())
			}
			// An answered challenge is not answered again, and what is none of ours
			// is routed as anything else.
			if code, body := fetch(p.HTTPAddr, "/.well-known/acme-challenge/unknown"); code != http.StatusOK || !strings.Contains(body, `"app":"app"`) {
				t.Errorf("a challenge that is not ours: %d %s, expected the service's answer", code, body)
			}
			if conn, err := tls.Dial("tcp", e.secure, &tls.Config{ServerName: "one.test", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true}); err == nil {
				_ = conn.Close()
				t.Error("acme-tls/1 was spoken although no challenge is pending")
			}
			noSecrets(t, dir, e)
		})
	}
}

func TestACMEServerIsAwayAtStart(t *testing.T) {
	t.Parallel()
	p := kit.NewPebble(t, 24*time.Hour)
	ca, files := newAuthority(t), t.TempDir()
	cert, key, serial := ca.issue("other.test")
	kit.Replace(t, filepath.Join(files, "other.pem"), cert)
	kit.Replace(t, filepath.Join(files, "other.key"), key)
	app := kit.StartApp(t, "app", "")
	e := startACME(t, p, p.CARoot, t.TempDir(), p.HTTPAddr, p.TLSAddr, fmt.Sprintf("strict_sni: true\n      certificates: [{cert: %q, key: %q}]",
		filepath.Join(files, "other.pem"), filepath.Join(files, "other.key")), "domains: one.test", app)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	if got, err := shown(e.secure, "other.test", pool); err != nil || got.SerialNumber.Int64() != serial {
		t.Errorf("the certificate from files: %v, %v", got, err)
	}
	if _, err := shown(e.secure, "one.test", pool); err == nil {
		t.Error("a handshake succeeded for a name whose certificate is not there")
	}
	awaitText(t, e.Stderr, "the certificate has not been obtained yet")
	awaitText(t, e.Stderr, "acme: no certificate obtained")
	if d := mustReady(t, e.admin).detail("acme secure one.test"); !strings.HasPrefix(d, "ok=false no certificate yet; tried again at ") {
		t.Errorf("readyz says %s", d)
	}
	p.Start()
	awaitShown(t, e.secure, "one.test", p.Roots())
	if got, err := shown(e.secure, "other.test", pool); err != nil || got.SerialNumber.Int64() != serial {
		t.Errorf("the certificate from files afterwards: %v, %v", got, err)
	}
}

// TestACMERenewsUnderLoad: with certificates of 15 s, renewed after 10. The CA
// is restarted in between, and knows the account no more.
func TestACMERenewsUnderLoad(t *testing.T) {
	t.Parallel()
	p := kit.NewPebble(t, 15*time.Second).Start()
	app := kit.StartApp(t, "app", "")
	e := startACME(t, p, p.CARoot, t.TempDir(), p.HTTPAddr, p.TLSAddr, "min_version: \"1.2\"", "domains: one.test", app)
	first := awaitShown(t, e.secure, "one.test", p.Roots())
	l := kit.StartLoad(t, &tls.Config{InsecureSkipVerify: true, ServerName: "one.test"},
		kit.Shot{Method: http.MethodGet, URL: "https://" + e.secure + "/a", Expect: `"app":"app"`})
	// One connection from before the renewal to after it.
	old, err := tls.Dial("tcp", e.secure, &tls.Config{InsecureSkipVerify: true, ServerName: "one.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	p.Kill()
	p.Start()
	last := first
	for range 2 {
		kit.Eventually(t, 2*time.Minute, "another certificate", func() error {
			now, err := shown(e.secure, "one.test", p.Roots())
			if err == nil && now.SerialNumber.Cmp(last.SerialNumber) == 0 {
				err = errors.New("it is still the one before")
			}
			if err == nil {
				last = now
			}
			return err
		})
	}
	if _, err := fmt.Fprintf(old, "GET /old HTTP/1.1\r\nHost: one.test\r\n\r\n"); err != nil {
		t.Error(err)
	}
	b := make([]byte, 12)
	if _, err := old.Read(b); err != nil || string(b) != "HTTP/1.1 200" {
		t.Errorf("the connection from before the renewals: %q, %v", b, err)
	}
	l.Clean(100)
}

// TestACMEInstancesShareADirectory: the CA's questions reach the first only, and
// the second is given what the first has obtained, or the other way round.
func TestACMEInstancesShareADirectory(t *testing.T) {
	t.Parallel()
	p := kit.NewPebble(t, 24*time.Hour).Start()
	app, dir := kit.StartApp(t, "app", ""), t.TempDir()
	names := "domains: [one.test, two.test, three.test]"
	reached := startACME(t, p, p.CARoot, dir, p.HTTPAddr, p.TLSAddr, "strict_sni: true", names, app)
	apart := startACME(t, p, p.CARoot, dir, kit.FreeAddr(t), kit.FreeAddr(t), "strict_sni: true", names, app)
	roots := p.Roots()
	for _, name := range []string{"one.test", "two.test", "three.test"} {
		a, b := awaitShown(t, reached.secure, name, roots), awaitShown(t, apart.secure, name, roots)
		kit.Eventually(t, time.Minute, "one certificate at both", func() (err error) {
			if a, err = shown(reached.secure, name, roots); err != nil {
				return err
			}
			if b, err = shown(apart.secure, name, roots); err == nil && a.SerialNumber.Cmp(b.SerialNumber) != 0 {
				err = errors.New("they differ")
			}
			return err
		})
	}
	if n := strings.Count(p.Log(), "Issued certificate serial"); n != 3 {
		t.Errorf("the CA has issued %d certificates, expected 3", n)
	}
	// One that starts later takes what is there, before it listens.
	late := startACME(t, p, p.CARoot, dir, kit.FreeAddr(t), kit.FreeAddr(t), "strict_sni: true", names, app)
	if _, err := shown(late.secure, "two.test", roots); err != nil {
		t.Errorf("one that starts later: %v", err)
	}
}

// TestACMEIsAnsweredByAnotherInstance: the CA never reaches the one that orders;
// and the one it reaches does not trust the CA, so that it cannot order itself.
func TestACMEIsAnsweredByAnotherInstance(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			p := kit.NewPebble(t, 24*time.Hour).Start()
			app, dir := kit.StartApp(t, "app", ""), t.TempDir()
			stranger := kit.File(t, "root.pem", string(newAuthority(t).pem))
			lines := "strict_sni: true"
			more := "domains: one.test\nchallenges: [" + challenge + "]"
			reached := startACME(t, p, stranger, dir, p.HTTPAddr, p.TLSAddr, lines, more, app)
			awaitText(t, reached.Stderr, "acme: no certificate obtained")
			orders := startACME(t, p, p.CARoot, dir, kit.FreeAddr(t), kit.FreeAddr(t), lines, more, app)
			awaitShown(t, orders.secure, "one.test", p.Roots())
			awaitText(t, reached.Stderr, "acme: answered a challenge")
			awaitShown(t, reached.secure, "one.test", p.Roots())
		})
	}
}

func TestACMERefusalIsTold(t *testing.T) {
	t.Parallel()
	p := kit.NewPebble(t, 24*time.Hour).Start()
	app := kit.StartApp(t, "app", "")
	e := startACME(t, p, p.CARoot, t.TempDir(), p.HTTPAddr, p.TLSAddr, "strict_sni: true", "domains: [one.test, blocked.test]", app)
	awaitShown(t, e.secure, "one.test", p.Roots())
	kit.Eventually(t, time.Minute, "readyz tells of the refusal", func() error {
		d := mustReady(t, e.admin).detail("acme secure blocked.test")
		if !strings.HasPrefix(d, "ok=false no certificate yet; tried again at ") || !strings.Contains(d, "blocked.test") {
			return errors.New(d)
		}
		return nil
	})
}

// TestACMEAccountIsBound where the CA issues to its customers only.
func TestACMEAccountIsBound(t *testing.T) {
	t.Parallel()
	p := kit.NewPebble(t, 24*time.Hour)
	p.Bound = true
	p.Start()
	app, secret := kit.StartApp(t, "app", ""), kit.File(t, "eab", kit.PebbleMACKey)
	plain, secure := p.HTTPAddr, p.TLSAddr
	unbound := startACME(t, p, p.CARoot, t.TempDir(), kit.FreeAddr(t), kit.FreeAddr(t), "strict_sni: true", "domains: one.test", app)
	e := startACME(t, p, p.CARoot, t.TempDir(), plain, secure, "strict_sni: true",
		"domains: one.test\neab: {key_id: "+kit.PebbleKeyID+", mac_key: \"file:"+secret+"\"}", app)
	awaitShown(t, e.secure, "one.test", p.Roots())
	awaitText(t, unbound.Stderr, "externalAccountRequired")
	if _, config := fetch(e.admin, "/config"); strings.Contains(config+e.Stderr.String(), kit.PebbleMACKey) {
		t.Error("the key is told")
	}
}
