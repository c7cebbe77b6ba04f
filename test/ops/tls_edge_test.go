package ops_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// authority signs the edge's certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	n    int64
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, n: 1}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue makes a certificate for name and returns it and its key as PEM, with
// the serial number.
func (a *authority) issue(name string) (cert, key string, serial int64) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(a.n), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Minute),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})), a.n
}

func TestEdgeTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	dir := t.TempDir()
	put := func(name string) int64 {
		cert, key, serial := ca.issue(name)
		kit.Replace(t, filepath.Join(dir, name+".pem"), cert)
		kit.Replace(t, filepath.Join(dir, name+".key"), key)
		return serial
	}
	one, two, wild := put("one.test"), put("two.test"), put("*.wild.test")
	addr, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	app := kit.StartApp(t, "app", "")
	pair := func(name string) string {
		return fmt.Sprintf("{cert: %q, key: %q}", filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	}
	file := kit.File(t, "tls.yaml", fmt.Sprintf(`version: 1
listeners:
  - name: edge
    address: %q
    tls: {certificates: [%s, %s, %s]}
admin: {address: %q}
routes:
  - {name: all, service: app}
services:
  app: {static: [%s]}
`, addr, pair("one.test"), pair("two.test"), pair("*.wild.test"), admin, app.Addr))
	p := kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	conf := func(name string) *tls.Config { return &tls.Config{RootCAs: pool, ServerName: name} }
	shake := func(conf *tls.Config) (tls.ConnectionState, error) {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, conf)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState(), nil
	}
	serial := func(name string) int64 {
		t.Helper()
		s, err := shake(conf(name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return s.PeerCertificates[0].SerialNumber.Int64()
	}

	t.Run("certificates by SNI", func(t *testing.T) {
		for name, want := range map[string]int64{"one.test": one, "two.test": two, "a.wild.test": wild} {
			if got := serial(name); got != want {
				t.Errorf("%s: certificate %d, want %d", name, got, want)
			}
		}
		if s, err := shake(&tls.Config{InsecureSkipVerify: true, ServerName: "other.test"}); err != nil || s.PeerCertificates[0].SerialNumber.Int64() != one {
			t.Errorf("a name that no certificate covers: %v; want the first certificate", err)
		}
	})
	t.Run("ALPN", func(t *testing.T) {
		for _, c := range []struct {
			offer []string
			want  string
		}{{[]string{"h2", "http/1.1"}, "h2"}, {[]string{"http/1.1"}, "http/1.1"}, {nil, ""}} {
			k := conf("one.test")
			k.NextProtos = c.offer
			if s, err := shake(k); err != nil || s.NegotiatedProtocol != c.want {
				t.Errorf("offered %v: %q, %v; want %q", c.offer, s.NegotiatedProtocol, err, c.want)
			}
		}
		caFile := kit.File(t, "ca.pem", string(ca.pem))
		port := addr[strings.LastIndex(addr, ":")+1:]
		for flag, want := range map[string]string{"--http2": "2 200", "--http1.1": "1.1 200"} {
			out, err := exec.Command("curl", "-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", flag, "--cacert", caFile,
				"--resolve", "one.test:"+port+":127.0.0.1", "https://one.test:"+port+"/x").CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("curl %s: %s, %v; want %s", flag, out, err, want)
			}
		}
	})
	t.Run("TLS 1.1 is refused", func(t *testing.T) {
		k := conf("one.test")
		k.MinVersion, k.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if _, err := shake(k); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("got %v", err)
		}
		k = conf("one.test")
		k.MaxVersion = tls.VersionTLS12
		if s, err := shake(k); err != nil || s.Version != tls.VersionTLS12 {
			t.Errorf("TLS 1.2: %v", err)
		}
		if status, _ := fetch(addr, "/"); status == http.StatusOK {
			t.Error("plaintext was served on a TLS listener")
		}
	})
	t.Run("replaced under load", func(t *testing.T) {
		l := kit.StartLoad(t, conf("two.test"), kit.Shot{Method: http.MethodGet, URL: "https://" + addr + "/a", Expect: `"app":"app"`},
			kit.Shot{Method: http.MethodPost, URL: "https://" + addr + "/b", Body: "payload", Expect: `"body":"payload"`})
		for range 2 {
			fresh := put("two.test") // the two files are not replaced in one instant
			kit.Eventually(t, time.Minute, "the new certificate", func() error {
				if got := serial("two.test"); got != fresh {
					return fmt.Errorf("certificate %d, want %d", got, fresh)
				}
				return nil
			})
			if got := serial("one.test"); got != one {
				t.Errorf("one.test has certificate %d, want %d as before", got, one)
			}
		}
		kit.Replace(t, filepath.Join(dir, "two.test.pem"), "broken")
		awaitText(t, p.Stderr, "the old ones stay")
		l.Clean(300)
	})
}
