package ops_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// doors is a gateway with an open listener and one that requires certificates.
type doors struct {
	site, clients, others *authority
	open, closed, asking  string
	bundle, admin         string
}

func startDoors(t *testing.T) *doors {
	t.Helper()
	d := &doors{site: newAuthority(t), clients: newAuthority(t), others: newAuthority(t),
		open: kit.FreeAddr(t), closed: kit.FreeAddr(t), asking: kit.FreeAddr(t), admin: kit.FreeAddr(t)}
	dir := t.TempDir()
	var pairs []string
	for _, name := range []string{"open.test", "partners.test"} {
		cert, key, _ := d.site.issue(name)
		kit.Replace(t, filepath.Join(dir, name+".pem"), cert)
		kit.Replace(t, filepath.Join(dir, name+".key"), key)
		pairs = append(pairs, fmt.Sprintf("{cert: %q, key: %q}", filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")))
	}
	d.bundle = filepath.Join(dir, "clients.pem")
	kit.Replace(t, d.bundle, string(d.clients.pem))
	certs := "[" + strings.Join(pairs, ", ") + "]"
	app := kit.StartApp(t, "app", "")
	file := kit.File(t, "doors.yaml", fmt.Sprintf(`version: 1
listeners:
  - {name: open, address: %q, tls: {certificates: %s}}
  - {name: closed, address: %q, tls: {certificates: %s, client_ca: %q, client_auth: require}}
  - {name: asking, address: %q, tls: {certificates: %s, client_ca: %q, client_auth: request}}
admin: {address: %q}
routes:
  - {name: open, match: {hosts: open.test}, service: app}
  - {name: partners, listeners: [closed], match: {hosts: partners.test}, service: app}
services:
  app: {static: [%s]}
`, d.open, certs, d.closed, certs, d.bundle, d.asking, certs, d.bundle, d.admin, app.Addr))
	kit.Start(t, nil, "ingress", "-c", file).Ready(d.admin)
	return d
}

// client shows a certificate of an authority, nil for none, and names sni in the
// handshake. A session cache may be given.
func (d *doors) client(t *testing.T, sni string, by *authority, sessions tls.ClientSessionCache) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(d.site.cert)
	c := &tls.Config{RootCAs: pool, ServerName: sni, ClientSessionCache: sessions}
	if by != nil {
		cert, key, _ := by.issue("client.test")
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		// Shown whatever the server says it takes.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return c
}

// get asks for a host; status 0 is no answer at all.
func (d *doors) get(conf *tls.Config, addr, host string, h2 bool) (status int, resumed bool, err error) {
	conf = conf.Clone()
	conf.VerifyConnection = func(s tls.ConnectionState) error { resumed = s.DidResume; return nil }
	transport := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: !h2, ForceAttemptHTTP2: h2}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, "https://"+addr+"/x", nil)
	if err != nil {
		return 0, false, err
	}
	req.Host = host
	res, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return 0, resumed, err
	}
	_, _ = io.Copy(io.Discard, res.Body) // tickets come with it
	_ = res.Body.Close()
	return res.StatusCode, resumed, nil
}

// TestNobodyGetsAroundClientCertificates by another name, another listener or
// an old session.
func TestNobodyGetsAroundClientCertificates(t *testing.T) {
	t.Parallel()
	d := startDoors(t)
	for _, c := range []struct {
		what, addr, sni, host string
		by                    *authority
		want                  int // 0: no handshake
	}{
		{"with a certificate", d.closed, "partners.test", "partners.test", d.clients, 200},
		{"without", d.closed, "partners.test", "partners.test", nil, 0},
		{"with somebody else's", d.closed, "partners.test", "partners.test", d.others, 0},
		{"without, by the name of an open host", d.closed, "open.test", "partners.test", nil, 0},
		{"without, at the open listener", d.open, "partners.test", "partners.test", nil, 404},
		{"without, at the open listener, by the name of an open host", d.open, "open.test", "partners.test", nil, 404},
		{"with a certificate, at the open listener", d.open, "open.test", "partners.test", d.clients, 404},
		{"without, where one is asked for", d.asking, "open.test", "open.test", nil, 200},
		{"with a certificate, where one is asked for", d.asking, "open.test", "open.test", d.clients, 200},
		{"with somebody else's, where one is asked for", d.asking, "open.test", "open.test", d.others, 0},
		{"where one is asked for, by the name of a closed host", d.asking, "partners.test", "partners.test", d.clients, 404},
	} {
		for _, h2 := range []bool{false, true} {
			status, _, err := d.get(d.client(t, c.sni, c.by, nil), c.addr, c.host, h2)
			if status != c.want {
				t.Errorf("%s (HTTP/2 %t): %d, %v; want %d", c.what, h2, status, err, c.want)
			}
		}
	}
	// A session of the open listener is nothing at the closed one.
	sessions := tls.NewLRUClientSessionCache(8)
	plain := d.client(t, "partners.test", nil, sessions)
	for i, want := range []bool{false, true} {
		if _, resumed, err := d.get(plain, d.open, "open.test", false); err != nil || resumed != want {
			t.Errorf("request %d at the open listener: resumed %t, %v", i, resumed, err)
		}
	}
	if status, _, _ := d.get(plain, d.closed, "partners.test", false); status != 0 {
		t.Errorf("with a session of the open listener the closed one answered %d", status)
	}
}

func TestClientCAsAreReplacedWhileRunning(t *testing.T) {
	t.Parallel()
	d := startDoors(t)
	sessions := tls.NewLRUClientSessionCache(8)
	old := d.client(t, "partners.test", d.clients, sessions)
	for range 2 {
		if status, _, err := d.get(old, d.closed, "partners.test", false); status != 200 {
			t.Fatalf("%d, %v", status, err)
		}
	}
	kit.Replace(t, d.bundle, string(d.others.pem))
	kit.Eventually(t, time.Minute, "the new CA counts", func() error {
		status, _, err := d.get(d.client(t, "partners.test", d.others, nil), d.closed, "partners.test", false)
		if status != 200 {
			return fmt.Errorf("%d, %v", status, err)
		}
		return nil
	})
	if status, resumed, _ := d.get(old, d.closed, "partners.test", false); status != 0 {
		t.Errorf("the old CA's client was served: %d, resumed %t", status, resumed)
	}
	kit.Replace(t, d.bundle, "broken")
	kit.Eventually(t, time.Minute, "readyz tells of the broken file", func() error {
		if s := mustReady(t, d.admin).detail("certificates closed"); !strings.HasPrefix(s, "ok=false") || !strings.Contains(s, "client CA file") {
			return errors.New(s)
		}
		return nil
	})
	if status, _, err := d.get(d.client(t, "partners.test", d.others, nil), d.closed, "partners.test", false); status != 200 {
		t.Errorf("with a broken file the CA before counts no more: %d, %v", status, err)
	}
	if status, _, _ := d.get(d.client(t, "partners.test", nil, nil), d.closed, "partners.test", false); status != 0 {
		t.Errorf("with a broken file the listener is open: %d", status)
	}
}
