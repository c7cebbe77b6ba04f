package system

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/test/kit"
)

// svc is the SPIFFE ID of a service.
func svc(name string) string { return "spiffe://" + mtls.DefaultTrustDomain + "/svc/" + name }

// workload is a hostile (or honest) program with an identity of the mesh.
type workload struct {
	mtls.Source
	id string
}

// join takes an identity from the CA in dir.
func join(t testing.TB, dir, service string) *workload { return joinDomain(t, dir, "", service) }

func joinDomain(t testing.TB, dir, domain, service string) *workload {
	t.Helper()
	id := svc(service)
	if domain != "" {
		id = "spiffe://" + domain + "/svc/" + service
	}
	src, err := mtls.Embedded(t.Context(), mtls.EmbeddedConfig{ID: id,
		CA: mtls.CAConfig{Dir: dir, TrustDomain: domain, Log: slog.New(slog.DiscardHandler)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return &workload{src, id}
}

// meshConn is one mTLS connection to a sidecar, in the tester's own hands.
type meshConn struct {
	t    testing.TB
	conn *tls.Conn
	r    *bufio.Reader
	cs   tls.ConnectionState
	own  string
	dest string
}

func (w *workload) dial(t testing.TB, s *kit.Side) *meshConn {
	t.Helper()
	dest := svc(s.App.Name)
	expect, err := mtls.Expect(dest)
	if err != nil {
		t.Fatal(err)
	}
	conf := mtls.ClientConfig(w, expect, mtls.Options{})
	conf.NextProtos = []string{"http/1.1"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: limit}, "tcp", s.Mesh, conf)
	if err != nil {
		t.Fatalf("%s → %s: %v", w.id, dest, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &meshConn{t, conn, bufio.NewReader(conn), conn.ConnectionState(), w.id, dest}
}

// try sends a request; it fails when the connection does.
func (m *meshConn) try(method, path string, h http.Header) (answer, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: orders\r\n", method, path)
	for name, values := range h {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	_ = m.conn.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(m.conn, b.String()+"\r\n"); err != nil {
		return answer{}, err
	}
	return readAnswer(m.r)
}

func (m *meshConn) ask(method, path string, h http.Header) answer {
	m.t.Helper()
	a, err := m.try(method, path, h)
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// closed reports whether the sidecar has closed the connection.
func (m *meshConn) closed() bool {
	_ = m.conn.SetDeadline(time.Now().Add(limit))
	_, err := m.r.ReadByte()
	ne, timeout := err.(net.Error)
	return err != nil && (!timeout || !ne.Timeout())
}

// hop signs a hop token for this connection; change alters what it says.
func (m *meshConn) hop(token string, change func(*txntoken.HopClaims)) string {
	m.t.Helper()
	c := txntoken.HopClaims{Self: m.own, Dest: m.dest, TxnToken: token, Retries: -1}
	if change != nil {
		change(&c)
	}
	s, err := txntoken.SignHop(&m.cs, c)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// mint makes a Txn-Token as Lintel does, but one that outlives the slowest test.
func (w *workload) mint(t testing.TB, r txntoken.MintRequest) *exchange.Txn {
	t.Helper()
	m, err := txntoken.NewMinter(w, txntoken.MinterConfig{Lifetime: txntoken.MaxTxnLifetime})
	if err != nil {
		t.Fatal(err)
	}
	txn, err := m.Mint(r)
	if err != nil {
		t.Fatal(err)
	}
	return txn
}

// forge signs whatever claims it is told, with the workload's real key.
func (w *workload) forge(t testing.TB, change map[string]any) string {
	t.Helper()
	svid, err := w.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	claims := jwt.MapClaims{"iss": w.id, "aud": mtls.DefaultTrustDomain, "iat": now.Unix(), "exp": now.Add(txntoken.MaxTxnLifetime).Unix(),
		"txn": txntoken.NewID(), "sub": "ada", "scope": "", "req_wl": w.id, "tctx": map[string]any{"roles": []string{"admin"}}}
	maps.Copy(claims, change)
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	tok.Header["typ"] = "txntoken+jwt"
	var chain []string
	for _, c := range svid.Certificates {
		chain = append(chain, base64.StdEncoding.EncodeToString(c.Raw))
	}
	tok.Header["x5c"] = chain
	s, err := tok.SignedString(svid.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// unsigned makes a token of alg none out of another one's claims.
func unsigned(token string) string {
	parts := strings.Split(token, ".")
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"txntoken+jwt"}`))
	return head + "." + parts[1] + "."
}

// hmacked signs a token's claims with what everybody knows: its certificate.
func hmacked(t testing.TB, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	head := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(raw), `"ES256"`, `"HS256"`, 1)))
	key := sha256.Sum256(raw)
	sig, err := jwt.SigningMethodHS256.Sign(head+"."+parts[1], key[:])
	if err != nil {
		t.Fatal(err)
	}
	return head + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(sig)
}
