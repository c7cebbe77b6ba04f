package ops_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// startSite is an edge with one certificate and nothing set.
func startSite(t *testing.T) (addr string, conf *tls.Config, caFile string) {
	t.Helper()
	ca, dir := newAuthority(t), t.TempDir()
	cert, key, _ := ca.issue("localhost")
	kit.Replace(t, filepath.Join(dir, "site.pem"), cert)
	kit.Replace(t, filepath.Join(dir, "site.key"), key)
	addr = kit.FreeAddr(t)
	admin := kit.FreeAddr(t)
	kit.Start(t, nil, "ingress", "-c", kit.File(t, "site.yaml", fmt.Sprintf(`version: 1
listeners:
  - {name: edge, address: %q, tls: {certificates: [{cert: %q, key: %q}]}}
admin: {address: %q}
routes:
  - {name: all, respond: {body: hello, headers: {Strict-Transport-Security: max-age=31536000}}}
`, addr, filepath.Join(dir, "site.pem"), filepath.Join(dir, "site.key"), admin))).Ready(admin)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return addr, &tls.Config{RootCAs: pool, ServerName: "localhost"}, kit.File(t, "ca.pem", string(ca.pem))
}

// TestTLSTermsAreModern is what testssl.sh looks for, by Go and openssl, which
// are quick. `make testssl` asks the thing itself.
func TestTLSTermsAreModern(t *testing.T) {
	t.Parallel()
	addr, conf, caFile := startSite(t)
	shake := func(change func(*tls.Config)) (tls.ConnectionState, error) {
		c := conf.Clone()
		change(c)
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, c)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState(), nil
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		s, err := shake(func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if ok && s.Version != version {
			t.Errorf("%s became %s", tls.VersionName(version), tls.VersionName(s.Version))
		}
	}
	// Every suite of TLS 1.2 that Go knows: forward secrecy and AEAD or nothing.
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if suite.SupportedVersions[0] == tls.VersionTLS13 {
			continue
		}
		good := strings.HasPrefix(suite.Name, "TLS_ECDHE_ECDSA_") && !strings.Contains(suite.Name, "CBC") && !strings.Contains(suite.Name, "RC4")
		_, err := shake(func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{suite.ID} })
		if (err == nil) != good {
			t.Errorf("%s: %v", suite.Name, err)
		}
	}
	if s, err := shake(func(c *tls.Config) {}); err != nil || s.CurveID != tls.X25519MLKEM768 {
		t.Errorf("a client that knows it does not get a post-quantum key exchange: %v, %v", s.CurveID, err)
	}
	sessions := tls.NewLRUClientSessionCache(4)
	for i := range 2 {
		s, err := shake(func(c *tls.Config) { c.ClientSessionCache, c.MaxVersion = sessions, tls.VersionTLS12 })
		if err != nil || s.DidResume != (i == 1) {
			t.Errorf("handshake %d: resumed %t, %v", i, s.DidResume, err)
		}
	}
	// A client that asks for a new handshake within the connection ("R") gets an
	// alert instead, and nothing is compressed.
	out := sClient(t, addr, caFile, "R\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "-tls1_2", "-comp", "-legacy_renegotiation")
	for _, want := range []string{"Compression: NONE", "Secure Renegotiation IS supported", "RENEGOTIATING", "SSL alert number", "Verify return code: 0 (ok)"} {
		if !strings.Contains(strings.ToLower(out), strings.ToLower(want)) {
			t.Errorf("openssl s_client does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "hello") {
		t.Error("a connection went on after a renegotiation was asked for")
	}
}

// sClient talks by openssl's client until it ends.
func sClient(t *testing.T, addr, caFile, say string, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", addr, "-servername", "localhost", "-CAfile", caFile}, flags...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &kit.Output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("openssl: %v", err)
	}
	kit.Eventually(t, time.Minute, "openssl has shaken hands", func() error {
		if !strings.Contains(out.String(), "Verify return code") {
			return fmt.Errorf("it says %s", out.String())
		}
		return nil
	})
	_, _ = io.WriteString(in, say)
	_ = cmd.Wait() // it ends because the server ends the connection; its exit code differs by version
	_ = in.Close()
	return out.String()
}
