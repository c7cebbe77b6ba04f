package listen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issue writes a self-signed pair for names into dir.
func issue(t *testing.T, dir, file string, notAfter time.Time, names ...string) Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: file}, DNSNames: names,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{Cert: filepath.Join(dir, file+".crt"), Key: filepath.Join(dir, file+".key")}
	write(t, p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, p.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return p
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

var later = time.Now().Add(time.Hour)

// shake makes a handshake and returns the names of the certificate shown.
func shake(t *testing.T, server *tls.Config, client *tls.Config) ([]string, error) {
	t.Helper()
	l, err := Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		if err = s.Handshake(); err == nil {
			_, err = s.Write([]byte("hi"))
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		defer c.Close()
		_, err = io.ReadFull(c, make([]byte, 2))
	}
	if serverErr := <-done; serverErr != nil {
		return nil, serverErr
	}
	if err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0].DNSNames, nil
}

func config(t *testing.T, o Options, pairs ...Pair) (*Certificates, *tls.Config) {
	t.Helper()
	certs, err := NewCertificates(pairs, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := TLSConfig(certs, o)
	if err != nil {
		t.Fatal(err)
	}
	return certs, c
}

func TestCertificateIsChosenBySNI(t *testing.T) {
	dir := t.TempDir()
	first := issue(t, dir, "first", later, "first.example")
	wild := issue(t, dir, "wild", later, "*.shop.example")
	exact := issue(t, dir, "exact", later, "www.shop.example")
	certs, loose := config(t, Options{}, first, wild, exact)
	_, strict := config(t, Options{StrictSNI: true}, first, wild, exact)
	for _, c := range []struct{ sni, want, strict string }{
		{"first.example", "first.example", "first.example"},
		{"WWW.Shop.Example", "www.shop.example", "www.shop.example"},
		{"api.shop.example", "*.shop.example", "*.shop.example"},
		{"a.b.shop.example", "first.example", ""},
		{"shop.example", "first.example", ""},
		{"other.example", "first.example", ""},
		{"", "first.example", ""},
	} {
		client := &tls.Config{ServerName: c.sni, InsecureSkipVerify: true}
		if names, err := shake(t, loose, client); err != nil || names[0] != c.want {
			t.Errorf("%q got %v, %v; want %s", c.sni, names, err, c.want)
		}
		names, err := shake(t, strict, client)
		if c.strict == "" && err == nil || c.strict != "" && (err != nil || names[0] != c.strict) {
			t.Errorf("strict: %q got %v, %v; want %q", c.sni, names, err, c.strict)
		}
	}
	if got := strings.Join(certs.Names(), " "); got != "*.shop.example first.example www.shop.example" {
		t.Errorf("names %s", got)
	}
}

func TestCertificatesAreReloadedLive(t *testing.T) {
	dir := t.TempDir()
	pair := issue(t, dir, "site", later, "old.example")
	certs, conf := config(t, Options{}, pair)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); certs.watch(ctx, 5*time.Millisecond) }()
	defer func() { cancel(); <-done }()
	shown := func() string {
		names, err := shake(t, conf, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return names[0]
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited for %s", what)
			}
		}
	}
	if shown() != "old.example" {
		t.Fatal("the first certificate is not shown")
	}
	soon := later.Add(time.Hour)
	issue(t, dir, "site", soon, "new.example")
	until("the new certificate", func() bool { return shown() == "new.example" })
	if !certs.Expiry().Equal(soon.Truncate(time.Second)) {
		t.Errorf("expiry %s, want %s", certs.Expiry(), soon)
	}
	write(t, pair.Cert, []byte("half a certifi"))
	until("the failure to be counted", func() bool { _, failed := certs.Reloads(); return failed > 0 })
	if shown() != "new.example" {
		t.Error("a failed reload did not keep the old certificate")
	}
	issue(t, dir, "site", soon, "third.example")
	until("recovery", func() bool { return shown() == "third.example" })
}

func TestReloadOnRequest(t *testing.T) {
	dir := t.TempDir()
	pair := issue(t, dir, "site", later, "old.example")
	certs, _ := config(t, Options{}, pair)
	if err := certs.Reload(); err != nil {
		t.Fatal(err)
	}
	if changed, failed := certs.Reloads(); changed != 0 || failed != 0 {
		t.Errorf("nothing changed, but %d reloads, %d failures", changed, failed)
	}
	issue(t, dir, "site", later, "new.example")
	if err := certs.Reload(); err != nil || certs.Names()[0] != "new.example" {
		t.Errorf("%v, %v", err, certs.Names())
	}
	if err := os.Remove(pair.Key); err != nil {
		t.Fatal(err)
	}
	if err := certs.Reload(); !errors.Is(err, os.ErrNotExist) || certs.Names()[0] != "new.example" {
		t.Errorf("%v, %v", err, certs.Names())
	}
}

func TestBadFilesAreRefusedClearly(t *testing.T) {
	dir := t.TempDir()
	good, other := issue(t, dir, "good", later, "a.example"), issue(t, dir, "other", later, "b.example")
	big := filepath.Join(dir, "big")
	write(t, big, make([]byte, maxFile+1))
	for want, pair := range map[string]Pair{
		"private key does not match": {good.Cert, other.Key},
		"no such file":               {filepath.Join(dir, "none"), good.Key},
		"expired at":                 issue(t, dir, "expired", time.Now().Add(-time.Hour), "a.example"),
		"subjectAltName":             issue(t, dir, "nameless", later),
		"larger than":                {big, good.Key},
		"PEM":                        {good.Key, good.Key},
	} {
		if _, err := NewCertificates([]Pair{good, pair}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestTLSTerms(t *testing.T) {
	dir := t.TempDir()
	site, friend, stranger := issue(t, dir, "site", later, "a.example"), issue(t, dir, "friend", later, "f"), issue(t, dir, "stranger", later, "s")
	load := func(p Pair) []tls.Certificate { // as a list
		c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{c}
	}
	for name, c := range map[string]struct {
		o      Options
		client *tls.Config
		ok     bool
	}{
		"TLS 1.1 is refused":           {Options{}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"TLS 1.2 is taken":             {Options{}, &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.2 is refused on demand": {Options{MinVersion: "1.3"}, &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		"no forward secrecy": {Options{}, &tls.Config{MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
		"required and missing":  {Options{ClientAuth: "require", ClientCA: friend.Cert}, &tls.Config{}, false},
		"required and good":     {Options{ClientAuth: "require", ClientCA: friend.Cert}, &tls.Config{Certificates: load(friend)}, true},
		"requested and missing": {Options{ClientAuth: "request", ClientCA: friend.Cert}, &tls.Config{}, true},
		"requested and bad": {Options{ClientAuth: "request", ClientCA: friend.Cert}, &tls.Config{
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &load(stranger)[0], nil }}, false},
	} {
		_, conf := config(t, c.o, site)
		client := c.client.Clone()
		client.InsecureSkipVerify = true
		if _, err := shake(t, conf, client); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	certs, _ := config(t, Options{}, site)
	for _, o := range []Options{{MinVersion: "1.1"}, {ClientAuth: "maybe"}, {ClientAuth: "require"},
		{ClientCA: friend.Cert}, {ClientAuth: "require", ClientCA: friend.Key}, {ClientAuth: "request", ClientCA: "none"}} {
		if _, err := TLSConfig(certs, o); err == nil {
			t.Errorf("%+v is no error", o)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	l, err := Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Open(l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	if _, err := Open("localhost"); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("%v", err)
	}
}

func TestLimitHoldsConnectionsBack(t *testing.T) {
	inner, err := Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(inner, 1)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Fatal("a second connection was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	_ = first.Close()
	_ = first.Close() // frees one place only
	second := <-accepted
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-accepted; ok {
		t.Error("accepted after Close")
	}
	_ = second.Close()
}
