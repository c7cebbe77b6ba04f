package compose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/store"
)

// A reload that fails has built what was new in it, and gives it up. What serves
// must be shown all the same.
func TestAFailedReloadHidesNothingThatServes(t *testing.T) {
	const text = "version: 1\nredis: {default: {addresses: '127.0.0.1:1'}}\nservices: {orders: {static: ['127.0.0.1:1']}}\n"
	set := store.NewSet()
	c := &Clusters{Feed: func(_ string, svc config.Service, replace func([]cluster.Endpoint)) (func(), error) {
		replace([]cluster.Endpoint{{Address: svc.Static[0].Address}})
		return func() {}, nil
	}}
	r := &Redis{Log: slog.New(slog.DiscardHandler)}
	use := func(text string) *store.Lease {
		t.Helper()
		lease, s := set.Lease(), parse(t, text)
		if _, err := c.Use(lease, "orders", s.Services["orders"]); err != nil {
			t.Fatal(err)
		}
		if _, err := r.For(lease, s)("default"); err != nil {
			t.Fatal(err)
		}
		return lease
	}
	shown := func(want string) {
		t.Helper()
		if s := c.Status(); len(s) != 1 || s[0].Endpoints[0].Address != want {
			t.Errorf("services: %+v, want %s", s, want)
		}
		if s := r.Status(); len(s) != 1 {
			t.Errorf("redis: %+v", s)
		}
	}
	changed := strings.ReplaceAll(text, "127.0.0.1:1", "127.0.0.1:2")
	first := use(text)
	use(changed).Release()
	shown("127.0.0.1:1")

	second := use(changed) // this one goes well, and an exchange still holds the first table
	shown("127.0.0.1:2")
	third := use(text) // and back
	second.Release()
	shown("127.0.0.1:1")
	first.Release()
	shown("127.0.0.1:1")
	third.Release()
	if len(c.Status())+len(r.Status()) != 0 {
		t.Errorf("released, but still there: %+v %+v", c.Status(), r.Status())
	}
}

// A certificate, key or CA that was replaced in place is taken with the next reload,
// also where only a tier of the failover uses it.
func TestAReloadTakesReplacedTLSFiles(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	write := func() {
		t.Helper()
		if err := os.WriteFile(ca, selfSigned(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	s := parse(t, "version: 1\nredis: {default: {addresses: '127.0.0.1:1', tls: {ca: '"+ca+"'}}}\n"+
		"services: {a: {static: ['127.0.0.1:1'], tls: {ca: '"+ca+"'}}, b: {static: ['127.0.0.1:2'], failover: [{service: a}]}, c: {static: ['127.0.0.1:3']}}\n")
	set := store.NewSet()
	c := &Clusters{Feed: func(string, config.Service, func([]cluster.Endpoint)) (func(), error) { return func() {}, nil }}
	r := &Redis{Log: slog.New(slog.DiscardHandler)}
	use := func() (*store.Lease, map[string]any) {
		t.Helper()
		lease, got := set.Lease(), map[string]any{}
		for name, svc := range s.Services {
			svc, err := WithFailover(s.Services, svc)
			if err != nil {
				t.Fatal(err)
			}
			if got[name], err = c.Use(lease, name, svc); err != nil {
				t.Fatal(err)
			}
		}
		conn, err := r.For(lease, s)("default")
		if err != nil {
			t.Fatal(err)
		}
		got["redis"] = conn
		return lease, got
	}
	first, before := use()
	second, same := use()
	write()
	third, after := use()
	for name, was := range before {
		if same[name] != was {
			t.Errorf("%s: a reload that changed nothing made it anew", name)
		}
		if anew := after[name] != was; anew != (name != "c") {
			t.Errorf("%s: made anew %t after its CA was replaced", name, anew)
		}
	}
	for _, l := range []*store.Lease{first, second, third} {
		l.Release()
	}
}

func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
