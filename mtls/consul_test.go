package mtls

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/test/kit"
)

// scripted is a ConnectCA that a test drives.
type scripted struct {
	leaves chan [2][]byte
	roots  chan rootsUpdate
	fails  chan error // ends WatchRoots
}

type rootsUpdate struct {
	td    string
	roots []string
}

func newScripted() *scripted {
	return &scripted{make(chan [2][]byte), make(chan rootsUpdate), make(chan error)}
}

func (s *scripted) WatchLeaf(ctx context.Context, service string, update func(cert, key []byte)) error {
	for {
		select {
		case l := <-s.leaves:
			update(l[0], l[1])
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *scripted) WatchRoots(ctx context.Context, update func(string, []string)) error {
	for {
		select {
		case r := <-s.roots:
			update(r.td, r.roots)
		case err := <-s.fails:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pemLeaf issues a leaf the way Consul sends it: SEC 1 key.
func pemLeaf(t *testing.T, ca *CA, id string) [2][]byte {
	t.Helper()
	l := must[*leaf](t)(ca.issue(must[spiffeid.ID](t)(spiffeid.FromString(id)), time.Now()))
	key := must[any](t)(x509.ParsePKCS8PrivateKey(l.key))
	sec1 := must[[]byte](t)(x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey)))
	return [2][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.cert}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}),
	}
}

func pemRoot(ca *CA) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.view.Load().signer.cert.Raw}))
}

func TestConsulNeedsLeafAndRoots(t *testing.T) {
	ca := openCA(t, CAConfig{})
	script := newScripted()
	script.leaves = make(chan [2][]byte, 1) // nobody is left waiting to send
	script.leaves <- pemLeaf(t, ca, webID)
	_, err := Consul(context.Background(), ConsulConfig{CA: script, Service: "web", Wait: 300 * time.Millisecond})
	wantError(t, err, "waited", `Consul's Connect CA (leaf of service "web" and roots)`, "connect { enabled = true }")

	_, err = Consul(context.Background(), ConsulConfig{CA: script})
	wantError(t, err, "the name of the service")
}

func TestConsulRotation(t *testing.T) {
	old, next := openCA(t, CAConfig{}), openCA(t, CAConfig{})
	script := newScripted()
	first := pemLeaf(t, old, webID)
	go func() {
		script.roots <- rootsUpdate{DefaultTrustDomain, []string{pemRoot(old)}}
		script.leaves <- first
	}()
	src := must[Source](t)(Consul(context.Background(), ConsulConfig{CA: script, Service: "web", Wait: 30 * time.Second}))
	defer src.Close()
	firstSerial := src.Status().Serial
	if st := src.Status(); st.Source != "consul" || st.ID != webID || st.Roots != 1 || st.Err != "" {
		t.Fatalf("status %+v", st)
	}

	// The new leaf comes before its root: it is not used yet.
	script.leaves <- pemLeaf(t, next, webID)
	eventually(t, "the early leaf is reported", func() bool { return strings.Contains(src.Status().Err, "does not verify") })
	if st := src.Status(); st.Serial != firstSerial {
		t.Error("a leaf without its root is in use")
	}
	// Both roots are trusted while the rotation lasts; then the leaf is used.
	script.roots <- rootsUpdate{DefaultTrustDomain, []string{pemRoot(next) + pemRoot(next), pemRoot(old)}}
	eventually(t, "the new leaf is in use", func() bool {
		st := src.Status()
		return st.Serial != firstSerial && st.Roots == 2 && st.Err == ""
	})

	// Rubbish changes nothing and is reported.
	second := src.Status().Serial
	for _, bad := range [][2][]byte{{nil, nil}, {[]byte("x"), []byte("y")}, {first[0], nil}, {pemLeaf(t, next, webID)[0], first[1]}} {
		before := src.Status().ErrAt
		script.leaves <- bad
		eventually(t, "the bad leaf is reported", func() bool {
			st := src.Status()
			return st.ErrAt != before && strings.Contains(st.Err, "leaf is unusable")
		})
	}
	for _, bad := range []rootsUpdate{{"", []string{pemRoot(old)}}, {"Not.A.Domain", []string{pemRoot(old)}}, {DefaultTrustDomain, nil}, {DefaultTrustDomain, []string{"x"}}} {
		before := src.Status().ErrAt
		script.roots <- bad
		eventually(t, "the bad roots are reported", func() bool {
			st := src.Status()
			return st.ErrAt != before && strings.Contains(st.Err, "roots are unusable") && strings.Contains(st.Err, "leaf is unusable")
		})
	}
	if st := src.Status(); st.Serial != second || st.Roots != 2 {
		t.Errorf("rubbish changed the state: %+v", st)
	}

	script.leaves <- pemLeaf(t, next, webID)
	eventually(t, "good news of the leaf leaves the bad news of the roots", func() bool {
		st := src.Status()
		return st.Serial != second && strings.Contains(st.Err, "roots are unusable") && !strings.Contains(st.Err, "leaf is unusable")
	})

	// A watch that ends is begun again.
	script.fails <- errors.New("unexpected end")
	eventually(t, "the end is reported", func() bool { return strings.Contains(src.Status().Err, "unexpected end") })
	script.roots <- rootsUpdate{DefaultTrustDomain, []string{pemRoot(next)}}
	eventually(t, "the new watch works", func() bool { return src.Status().Roots == 1 && src.Status().Err == "" })
}

// A leaf under an intermediate, as a Consul that uses Vault or a secondary
// datacenter sends it.
func TestConsulIntermediatesAreKept(t *testing.T) {
	root, inter := openCA(t, CAConfig{}), openCA(t, CAConfig{})
	rv, iv := root.view.Load(), inter.view.Load()
	tmpl := *iv.signer.cert
	tmpl.SignatureAlgorithm, tmpl.SubjectKeyId = 0, iv.signer.cert.SubjectKeyId
	issuer := *rv.signer.cert
	issuer.MaxPathLen, issuer.MaxPathLenZero = 1, false
	selfDER := must[[]byte](t)(x509.CreateCertificate(nil, &issuer, &issuer, rv.signer.key.Public(), rv.signer.key))
	issuerCert := must[*x509.Certificate](t)(x509.ParseCertificate(selfDER))
	interDER := must[[]byte](t)(x509.CreateCertificate(nil, &tmpl, issuerCert, iv.signer.key.Public(), rv.signer.key))
	leaf := pemLeaf(t, inter, webID)
	leaf[0] = append(leaf[0], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: interDER})...)

	script := newScripted()
	go func() {
		script.leaves <- leaf
		script.roots <- rootsUpdate{DefaultTrustDomain, []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfDER}))}}
	}()
	src := must[Source](t)(Consul(context.Background(), ConsulConfig{CA: script, Service: "web", Wait: 30 * time.Second}))
	defer src.Close()
	sErr, cErr, cs := handshake(t, ServerConfig(src, nil, Options{}), ClientConfig(src, expecting(t, webID), Options{}))
	if sErr != nil || cErr != nil {
		t.Fatal(sErr, cErr)
	}
	if len(cs.PeerCertificates) != 2 {
		t.Errorf("%d certificates were sent, expected leaf and intermediate", len(cs.PeerCertificates))
	}
}

// consulHTTP is a ConnectCA over Consul's plain HTTP API, by blocking queries.
type consulHTTP struct{ base string }

func (c consulHTTP) WatchLeaf(ctx context.Context, service string, update func(cert, key []byte)) error {
	return c.watch(ctx, "/v1/agent/connect/ca/leaf/"+service, func(dec *json.Decoder) error {
		var l struct{ CertPEM, PrivateKeyPEM string }
		err := dec.Decode(&l)
		if err == nil {
			update([]byte(l.CertPEM), []byte(l.PrivateKeyPEM))
		}
		return err
	})
}

func (c consulHTTP) WatchRoots(ctx context.Context, update func(string, []string)) error {
	return c.watch(ctx, "/v1/agent/connect/ca/roots", func(dec *json.Decoder) error {
		var r struct {
			TrustDomain string
			Roots       []struct{ RootCert string }
		}
		if err := dec.Decode(&r); err != nil {
			return err
		}
		var pems []string
		for _, root := range r.Roots {
			pems = append(pems, root.RootCert)
		}
		update(r.TrustDomain, pems)
		return nil
	})
}

func (c consulHTTP) watch(ctx context.Context, path string, decode func(*json.Decoder) error) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for index := ""; ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?wait=60s&index="+index, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", path, res.Status)
		} else {
			err = decode(json.NewDecoder(res.Body))
		}
		_ = res.Body.Close()
		if err != nil {
			return err
		}
		index = res.Header.Get("X-Consul-Index")
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(kit.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startConsul runs a real Consul; a missing one fails the test.
func startConsul(t *testing.T) (base string) {
	t.Helper()
	bin := os.Getenv("LINTEL_CONSUL_BIN")
	if bin == "" {
		bin = filepath.Join(must[string](t)(os.UserCacheDir()), "lintel", "consul-1.19.2")
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("this test needs Consul: build it in test/tools or set LINTEL_CONSUL_BIN: %v", err)
	}
	port := freePort(t)
	var log logBuffer
	cmd := exec.Command(bin, "agent", "-dev", "-bind", "127.0.0.1", "-http-port", port, "-grpc-port", "-1", "-grpc-tls-port", "-1",
		"-dns-port", "-1", "-server-port", freePort(t), "-serf-lan-port", freePort(t), "-serf-wan-port", freePort(t))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Consul's log:\n%s", log.String())
		}
	})
	return "http://127.0.0.1:" + port
}

func TestRealConsulIssuesOurIdentities(t *testing.T) {
	base := startConsul(t)
	// The agent is not up yet: the source's own retries must bridge that.
	ctx := context.Background()
	web := must[Source](t)(Consul(ctx, ConsulConfig{CA: consulHTTP{base}, Service: "web", Wait: 60 * time.Second}))
	defer web.Close()
	orders := must[Source](t)(Consul(ctx, ConsulConfig{CA: consulHTTP{base}, Service: "orders", Wait: 60 * time.Second}))
	defer orders.Close()

	own := must[spiffeid.ID](t)(ID(web))
	td := own.TrustDomain().Name()
	want := must[string](t)(ConsulServiceIDs().ID(td, Service{Name: "web", Datacenter: "dc1"}))
	if own.String() != want || !strings.HasSuffix(td, ".consul") {
		t.Errorf("Consul calls web %s, we %s", own, want)
	}
	expected := must[string](t)(ConsulServiceIDs().ID(td, Service{Name: "orders", Datacenter: "dc1"}))

	talk := func(o Options, tweak func(*tls.Config)) (error, error, tls.ConnectionState) {
		client := ClientConfig(web, expecting(t, expected), o)
		tweak(client)
		return handshake(t, ServerConfig(orders, func(p exchange.Peer) error {
			if p.ID != want {
				return fmt.Errorf("expected %s", want)
			}
			return nil
		}, o), client)
	}
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		sErr, cErr, cs := talk(Options{AllowTLS12: version == tls.VersionTLS12}, func(c *tls.Config) { c.MaxVersion = version })
		if sErr != nil || cErr != nil || cs.Version != version {
			t.Errorf("%s: server %v, client %v", tls.VersionName(version), sErr, cErr)
		}
	}
	_, err, _ := handshake(t, ServerConfig(orders, nil, Options{}), ClientConfig(orders, expecting(t, want), Options{}))
	wantError(t, err, "the endpoint is "+expected, "expected "+want)

	// A real root rotation: Consul makes a new key, cross-signs it, and hands
	// out new leaves, at a random moment of the next 30 s so that a whole
	// cluster does not ask at once. Handshakes work all the time.
	serialBefore, ordersBefore := web.Status().Serial, orders.Status().Serial
	rotateConsul(t, base)
	within(t, 150*time.Second, "both have leaves of the new root", func() bool {
		if sErr, cErr, _ := talk(Options{}, func(*tls.Config) {}); sErr != nil || cErr != nil {
			t.Fatalf("during the rotation: server %v, client %v", sErr, cErr)
		}
		bundle := must[*x509bundle.Bundle](t)(web.GetX509BundleForTrustDomain(own.TrustDomain()))
		return len(bundle.X509Authorities()) == 2 && web.Status().Serial != serialBefore && orders.Status().Serial != ordersBefore && orders.Status().Roots == 2
	})
	if st := web.Status(); st.Err != "" {
		t.Errorf("status %+v", st)
	}
}

func rotateConsul(t *testing.T, base string) {
	t.Helper()
	body := `{"Provider":"consul","Config":{"PrivateKeyType":"ec","PrivateKeyBits":384,"LeafCertTTL":"72h"}}`
	req := must[*http.Request](t)(http.NewRequest(http.MethodPut, base+"/v1/connect/ca/configuration", strings.NewReader(body)))
	res := must[*http.Response](t)((&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req))
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("rotation: %s", res.Status)
	}
}

func FuzzConnectPEM(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"), "x.consul")
	f.Fuzz(func(t *testing.T, cert, key []byte, td string) {
		if svid, err := parseSVID(cert, key); err == nil && (len(svid.Certificates) == 0 || svid.PrivateKey == nil) {
			t.Fatal("accepted without certificate or key")
		}
		if b, err := parseRoots(td, []string{string(cert)}); err == nil && b.Empty() {
			t.Fatal("accepted without a root")
		}
	})
}
