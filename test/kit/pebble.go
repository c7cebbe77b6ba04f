package kit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	bigendian "encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Pebble is a real ACME server for tests. It finds every name at 127.0.0.1, and
// validates on the ports given. It forgets everything when it is restarted.
type Pebble struct {
	t         testing.TB
	bin       string
	dir       string
	addr      string
	admin     string
	HTTPAddr  string // where it looks for HTTP-01 answers, instead of port 80
	TLSAddr   string // where it looks for TLS-ALPN-01 answers, instead of port 443
	CARoot    string // PEM file: who signs its own HTTPS
	validity  time.Duration
	dns       string
	Directory string // its URL
	Bound     bool   // accounts must be bound with PebbleKeyID; set before Start

	mu    sync.Mutex
	cmd   *exec.Cmd
	guard *exec.Cmd
	ended chan struct{}
	log   *Output
}

// What binds an account to one that a server with Bound knows.
const (
	PebbleKeyID  = "kid-1"
	PebbleMACKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

// NewPebble prepares a server whose certificates live for validity. Start starts
// it. The binary is $LINTEL_PEBBLE_BIN, else lintel/pebble-v2.10.1 in the user's
// cache folder; a missing one fails the test.
func NewPebble(t testing.TB, validity time.Duration) *Pebble {
	t.Helper()
	p := &Pebble{t: t, dir: t.TempDir(), addr: FreeAddr(t), admin: FreeAddr(t), HTTPAddr: FreeAddr(t), TLSAddr: FreeAddr(t), validity: validity, log: &Output{}}
	if p.bin = os.Getenv("LINTEL_PEBBLE_BIN"); p.bin == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("kit: no cache folder to look for Pebble in: %v; set LINTEL_PEBBLE_BIN", err)
		}
		p.bin = filepath.Join(cache, "lintel", "pebble-v2.10.1")
	}
	if _, err := os.Stat(p.bin); err != nil {
		t.Fatalf("kit: this test needs the ACME server Pebble v2.10.1, and there is none: %v; build it with `make tools`, or set LINTEL_PEBBLE_BIN", err)
	}
	p.Directory = "https://" + p.addr + "/dir"
	p.dns = stubDNS(t)
	p.configure()
	t.Cleanup(p.Kill)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("pebble's log (tail): %s", tail(p.log.String()))
		}
	})
	return p
}

func (p *Pebble) configure() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble's own"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		p.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.CARoot = p.write("pebble.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	p.write("pebble.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// settings writes what the next Start begins with.
func (p *Pebble) settings() {
	conf, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"externalAccountBindingRequired": p.Bound, "externalAccountMACKeys": map[string]string{PebbleKeyID: PebbleMACKey},
		"listenAddress": p.addr, "managementListenAddress": p.admin, "certificate": p.CARoot, "privateKey": filepath.Join(p.dir, "pebble.key"),
		"httpPort": port(p.HTTPAddr), "tlsPort": port(p.TLSAddr), "keyAlgorithm": "ecdsa",
		"domainBlocklist": []string{"blocked.test"},
		"retryAfter":      map[string]int{"authz": 1, "order": 1},
		"profiles":        map[string]any{"default": map[string]any{"description": "the only one", "validityPeriod": int(p.validity.Seconds())}},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("pebble.json", conf)
}

func (p *Pebble) write(name string, b []byte) string {
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func port(addr string) int {
	_, text, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(text)
	return n
}

// Start starts it, with empty memory, and waits until it answers.
func (p *Pebble) Start() *Pebble {
	p.t.Helper()
	p.settings()
	cmd := exec.Command(p.bin, "-config", filepath.Join(p.dir, "pebble.json"), "-dnsserver", p.dns)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.Env = []string{"HOME=" + p.dir, "PATH=" + os.Getenv("PATH"), "PEBBLE_VA_NOSLEEP=1", "GOMAXPROCS=2"}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("kit: could not start %s: %v", p.bin, err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	p.mu.Lock()
	p.cmd, p.ended, p.guard = cmd, ended, startGuard(cmd.Process.Pid)
	p.mu.Unlock()
	Eventually(p.t, time.Minute, "pebble answers", func() error { _, err := p.get("https://" + p.addr + "/dir"); return err })
	return p
}

// Kill ends it at once; its ports stay reserved for the next Start.
func (p *Pebble) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	if p.guard != nil {
		_ = p.guard.Process.Kill()
		_ = p.guard.Wait()
	}
	p.cmd = nil
}

// Log is what it has written so far.
func (p *Pebble) Log() string { return p.log.String() }

// Roots are whom clients of the certificates it issues trust, since its last Start.
func (p *Pebble) Roots() *x509.CertPool {
	p.t.Helper()
	b, err := p.get("https://" + p.admin + "/roots/0")
	if err != nil {
		p.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		p.t.Fatalf("kit: pebble's root is no PEM: %s", b)
	}
	return pool
}

func (p *Pebble) get(url string) ([]byte, error) {
	own, err := os.ReadFile(p.CARoot)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(own)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, res.Status)
	}
	return io.ReadAll(res.Body)
}

// stubDNS answers that every name is at 127.0.0.1, and nothing else, over TCP as
// Pebble asks.
func stubDNS(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				for answerDNS(conn) == nil {
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

// answerDNS answers one question (RFC 1035 section 4.2.2).
func answerDNS(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	buf := make([]byte, bigendian.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return err
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf); err != nil {
		return err
	}
	answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true, RecursionDesired: m.RecursionDesired}, Questions: m.Questions}
	for _, q := range m.Questions {
		if q.Type == dnsmessage.TypeA {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}})
		}
	}
	b, err := answer.AppendPack(make([]byte, 2, 512))
	if err != nil {
		return err
	}
	bigendian.BigEndian.PutUint16(b, uint16(len(b)-2))
	_, err = conn.Write(b)
	return err
}
