package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// waitLimit bounds every wait.
const waitLimit = 30 * time.Second

// drivers are the ways in which a server runs; every test of one runs them all.
func drivers() map[string]Options {
	return map[string]Options{"threads": {Threads: true}, "loops": {}}
}

// each runs a test for every driver.
func each(t *testing.T, f func(t *testing.T, opt Options)) {
	for name, opt := range drivers() {
		t.Run(name, func(t *testing.T) { f(t, opt) })
	}
}

func conns(s exchange.Server) (open, refused int64) { return s.(*server).Conns() }

// handler serves with a function, and finishes with another if there is one.
type handler struct {
	serve  func(*exchange.Exchange)
	finish func(*exchange.Exchange)
}

func (h handler) Serve(x *exchange.Exchange) { h.serve(x) }

func (h handler) Finish(x *exchange.Exchange) {
	if h.finish != nil {
		h.finish(x)
	}
	x.RunDone()
}

// running starts a server, which ends with the test.
func running(t *testing.T, opt Options, cfg exchange.ServerConfig, h exchange.Handler) (exchange.Server, string) {
	t.Helper()
	cfg.Name = "test"
	s, err := NewServer(cfg, h, slog.New(slog.DiscardHandler), opt)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
	return s, l.Addr().String()
}

// forwarding is a handler that forwards to address over tr.
func forwarding(tr exchange.Transport, address string, finish func(*exchange.Exchange)) handler {
	return handler{finish: finish, serve: func(x *exchange.Exchange) {
		if x.Fault == nil {
			up, err := tr.Reserve(x, address, exchange.HTTP1)
			if err == nil {
				err = up.RoundTrip(x)
			}
			if err != nil {
				x.Fault = err.(*exchange.Fault)
			}
		}
		if x.Fault != nil {
			x.Answer(x.Fault.Status, "text/plain", []byte(x.Fault.Code))
		}
	}}
}

// scripted is a service that answers every connection by script.
func scripted(t *testing.T, script func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scriptedOn(t, l, script)
	return l.Addr().String()
}

func scriptedOn(t *testing.T, l net.Listener, script func(net.Conn, *bufio.Reader)) {
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(2 * waitLimit))
				script(c, bufio.NewReader(c))
			}()
		}
	}()
}

// answerOK answers every request, its body read, until the connection ends.
func answerOK(c net.Conn, br *bufio.Reader) {
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

func newTransport(t *testing.T, cfg exchange.TransportConfig) exchange.Transport {
	tr := NewTransport(cfg)
	t.Cleanup(tr.Close)
	return tr
}

// peer is a client's end of a connection.
type peer struct {
	t *testing.T
	net.Conn
	br *bufio.Reader
}

func dial(t *testing.T, address string) *peer {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return peerOn(t, c)
}

func peerOn(t *testing.T, c net.Conn) *peer {
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	return &peer{t, c, bufio.NewReader(c)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Fatal(err)
	}
}

// answer reads the next answer, an interim one as well.
func (p *peer) answer(method string) (*http.Response, string) {
	p.t.Helper()
	res, err := http.ReadResponse(p.br, &http.Request{Method: method})
	if err != nil {
		p.t.Fatalf("no answer: %v", err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("an answer of status %d broke off: %v", res.StatusCode, err)
	}
	return res, string(b)
}

// ended waits for the connection to be closed, nothing more being said.
func (p *peer) ended() {
	p.t.Helper()
	b, err := io.ReadAll(p.br)
	if len(b) > 0 || isTimeout(err) {
		p.t.Errorf("%q and %v where the connection was to end", b, err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", waitLimit, what)
		}
	}
}

// receive takes from c, but does not wait for ever.
func receive[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(waitLimit):
		t.Fatalf("waited %s for %s", waitLimit, what)
	}
	return v
}

// certified returns configurations of two ends that know each other.
func certified(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "http1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
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
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		&tls.Config{RootCAs: known, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
}

// talker is a TLS 1.3 client that only talks: crypto/tls makes the handshake,
// then it writes records itself, key updates among them, which crypto/tls would
// never send.
type talker struct {
	raw    net.Conn
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func talk(t *testing.T, address string, cfg *tls.Config) *talker {
	t.Helper()
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(waitLimit))
	_ = raw.(*net.TCPConn).SetReadBuffer(4 << 10)
	var log bytes.Buffer
	cfg = cfg.Clone()
	cfg.KeyLogWriter = &log
	c := tls.Client(raw, cfg)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	w := &talker{raw: raw}
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			w.secret, _ = hex.DecodeString(f[2])
		}
	}
	if c.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 || len(w.secret) != sha256.Size {
		t.Fatalf("cipher suite %x, a secret of %d bytes", c.ConnectionState().CipherSuite, len(w.secret))
	}
	w.keys(t)
	return w
}

// expand is HKDF-Expand-Label (RFC 8446 section 7.1).
func (w *talker) expand(t *testing.T, label string, n int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	key, err := hkdf.Expand(sha256.New, w.secret, string(append(info, 0)), n)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (w *talker) keys(t *testing.T) {
	t.Helper()
	block, err := aes.NewCipher(w.expand(t, "key", 16))
	if err != nil {
		t.Fatal(err)
	}
	if w.aead, err = cipher.NewGCM(block); err != nil {
		t.Fatal(err)
	}
	w.iv, w.seq = w.expand(t, "iv", 12), 0
}

// say sends one record of application data.
func (w *talker) say(s string) error { return w.record(23, []byte(s)) }

// updateKey asks the other side to update its key, too.
func (w *talker) updateKey(t *testing.T) error {
	err := w.record(22, []byte{24, 0, 0, 1, 1})
	w.secret = w.expand(t, "traffic upd", sha256.Size)
	w.keys(t)
	return err
}

func (w *talker) record(kind byte, p []byte) error {
	nonce := bytes.Clone(w.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(w.seq >> (56 - 8*i))
	}
	w.seq++
	n := len(p) + 1 + w.aead.Overhead()
	head := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	_, err := w.raw.Write(w.aead.Seal(head, nonce, append(bytes.Clone(p), kind), head))
	return err
}
