package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/proxy/store/redistest"
)

func open(t testing.TB, c store.RedisConfig) *store.Redis {
	t.Helper()
	if c.Mode == "" {
		c.Mode = "single"
	}
	c.Name, c.Prefix = "test", "lintel:"
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second // a busy machine is no outage
	}
	r, err := store.NewRedis(c)
	if err != nil {
		t.Fatal(err)
	}
	r.Start()
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func awaitState(t testing.TB, r *store.Redis, up bool) {
	t.Helper()
	redistest.WaitFor(t, "the connection", func() error {
		if s := r.Status(); s.Up != up {
			return errors.New(s.Err)
		}
		return nil
	})
}

func TestValuesGoThereAndBack(t *testing.T) {
	for _, mode := range []string{"single", "cluster"} {
		t.Run(mode, func(t *testing.T) {
			var addrs []string
			if mode == "single" {
				addrs = []string{redistest.Start(t).Addr()}
			} else {
				for _, s := range redistest.Cluster(t, 3) {
					addrs = append(addrs, s.Addr())
				}
			}
			r := open(t, store.RedisConfig{Mode: mode, Addresses: addrs})
			awaitState(t, r, true)
			ctx := t.Context()
			for _, key := range []string{"a", "b", "c", "d", "e"} {
				if _, found, err := r.Get(ctx, key); found || err != nil {
					t.Fatalf("before: %v %v", found, err)
				}
				if err := r.Set(ctx, key, []byte("\x00of "+key), time.Minute); err != nil {
					t.Fatal(err)
				}
				if v, found, err := r.Get(ctx, key); string(v) != "\x00of "+key || !found || err != nil {
					t.Fatalf("%q %v %v", v, found, err)
				}
				if err := r.Delete(ctx, key); err != nil {
					t.Fatal(err)
				}
				if _, found, _ := r.Get(ctx, key); found {
					t.Fatal("still there")
				}
			}
		})
	}
}

func TestAScriptIsLoadedWhereItIsNotKnown(t *testing.T) {
	s := redistest.Start(t)
	r := open(t, store.RedisConfig{Addresses: []string{s.Addr()}})
	awaitState(t, r, true)
	script := store.NewScript("return {tonumber(ARGV[1]), redis.call('INCR', KEYS[1])}")
	for i := range int64(3) {
		got, err := r.Run(t.Context(), script, "n", "7")
		if err != nil || len(got) != 2 || got[0] != 7 || got[1] != i+1 {
			t.Fatalf("%v %v", got, err)
		}
		s.Do("SCRIPT", "FLUSH")
	}
	if got := s.Do("GET", "lintel:n"); got != "3" {
		t.Errorf("under its prefix: %q", got)
	}
}

func TestPasswordAndUser(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "geheim")
	r := open(t, store.RedisConfig{Addresses: []string{s.Addr()}, Password: "geheim"})
	awaitState(t, r, true)
	bad := open(t, store.RedisConfig{Addresses: []string{s.Addr()}, Password: "falsch"})
	redistest.WaitFor(t, "the refusal", func() error {
		if e := bad.Status().Err; !strings.Contains(e, "WRONGPASS") {
			return errors.New(e)
		}
		return nil
	})
	if e := bad.Status().Err; strings.Contains(e, "falsch") {
		t.Errorf("the password is in the error: %s", e)
	}
}

// Absent at start, then there, killed, and back again.
func TestAnOutageCostsNobodyTime(t *testing.T) {
	s := redistest.Start(t)
	s.Stop()
	r := open(t, store.RedisConfig{Addresses: []string{s.Addr()}, Timeout: time.Minute})
	fast := func(when string) {
		t.Helper()
		began := time.Now()
		if _, _, err := r.Get(t.Context(), "k"); !errors.Is(err, store.ErrRedisDown) {
			t.Fatalf("%s: %v", when, err)
		}
		if took := time.Since(began); took > 20*time.Second { // who waits, waits for the timeout
			t.Errorf("%s: %v to find out that it is down", when, took)
		}
	}
	fast("before it was ever there")
	s.Restart()
	awaitState(t, r, true)
	if err := r.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	awaitState(t, r, false)
	fast("after it died")
	s.Restart()
	awaitState(t, r, true)
	if _, found, err := r.Get(t.Context(), "k"); found || err != nil {
		t.Errorf("%v %v", found, err)
	}
}

// A server that hangs: each command is bounded, however many there are.
func TestAStallIsBounded(t *testing.T) {
	s := redistest.Start(t)
	wire := redistest.NewWire(t, s.Addr())
	const timeout = 50 * time.Millisecond
	r := open(t, store.RedisConfig{Addresses: []string{wire.Addr()}, Timeout: timeout})
	awaitState(t, r, true)
	wire.Hold()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var longest time.Duration
	for range 2000 { // more than the client library's pipelines hold
		wg.Go(func() {
			began := time.Now()
			_, _, err := r.Get(t.Context(), "k")
			took := time.Since(began)
			if !errors.Is(err, store.ErrRedisSlow) && !errors.Is(err, store.ErrRedisDown) {
				t.Errorf("%v", err)
			}
			mu.Lock()
			longest = max(longest, took)
			mu.Unlock()
		})
	}
	wg.Wait()
	if longest > timeout+20*time.Second { // in turn it would be 100 s
		t.Errorf("a command took %v", longest)
	}
	if r.Status().Up {
		t.Error("it is still thought to answer")
	}
	wire.Release()
	awaitState(t, r, true)
	if _, _, err := r.Get(t.Context(), "k"); err != nil {
		t.Errorf("after the stall: %v", err)
	}
}

func TestACallersCancellationIsNoOutage(t *testing.T) {
	s := redistest.Start(t)
	r := open(t, store.RedisConfig{Addresses: []string{s.Addr()}})
	awaitState(t, r, true)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		if _, _, err := r.Get(gone, "k"); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
	}
	if s := r.Status(); !s.Up || s.Errors != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWhatRedisRefusesIsNoOutage(t *testing.T) {
	s := redistest.Start(t)
	r := open(t, store.RedisConfig{Addresses: []string{s.Addr()}})
	awaitState(t, r, true)
	s.Do("LPUSH", "lintel:list", "x")
	for range 10 {
		if _, _, err := r.Get(t.Context(), "list"); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Fatalf("%v", err)
		}
	}
	if s := r.Status(); !s.Up || s.Errors != 10 {
		t.Errorf("%+v", s)
	}
}

func TestAnImpossibleConnectionIsRefused(t *testing.T) {
	for want, c := range map[string]store.RedisConfig{
		"found none":    {Mode: "single"},
		"want host":     {Mode: "single", Addresses: []string{"localhost"}},
		"want one":      {Mode: "single", Addresses: []string{"a:1", "b:1"}},
		"mode":          {Mode: "several", Addresses: []string{"a:1"}},
		"master: miss":  {Mode: "sentinel", Addresses: []string{"a:1"}},
		"only Sentinel": {Mode: "single", Addresses: []string{"a:1"}, Master: "m"},
		"database 0":    {Mode: "cluster", Addresses: []string{"a:1"}, DB: 1},
	} {
		if _, err := store.NewRedis(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := redistest.Start(b)
	r := open(b, store.RedisConfig{Addresses: []string{s.Addr()}})
	awaitState(b, r, true)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Get(b.Context(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSentinelsSayWhereTheMasterIs(t *testing.T) {
	master := redistest.Start(t)
	sentinel := redistest.Sentinel(t, master, "main")
	r := open(t, store.RedisConfig{Mode: "sentinel", Addresses: []string{sentinel.Addr()}, Master: "main"})
	awaitState(t, r, true)
	if err := r.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := master.Do("GET", "lintel:k"); got != "v" {
		t.Errorf("the master has %q", got)
	}
}

// TLS in both directions: each side shows a certificate of the same CA.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	pair, pool := certificate(t, dir)
	addr := redistest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", dir+"/cert.pem", "--tls-key-file", dir+"/key.pem",
		"--tls-ca-cert-file", dir+"/cert.pem", "--tls-auth-clients", "yes")
	good := open(t, store.RedisConfig{Addresses: []string{addr}, TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "redis.test"}})
	awaitState(t, good, true)
	if err := good.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Error(err)
	}
	for name, conf := range map[string]*tls.Config{
		"another name":   {RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "other.test"},
		"an unknown CA":  {RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}, ServerName: "redis.test"},
		"no certificate": {RootCAs: pool, ServerName: "redis.test"},
	} {
		bad := open(t, store.RedisConfig{Addresses: []string{addr}, TLS: conf})
		redistest.WaitFor(t, name, func() error {
			switch s := bad.Status(); {
			case s.Up:
				t.Fatal("it was let in")
			case strings.Contains(s.Err, "not connected yet"):
				return errors.New(s.Err)
			}
			return nil // by an alert, or by a connection that just ends
		})
	}
}

func certificate(t *testing.T, dir string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"redis.test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, b := range map[string][]byte{"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(dir+"/"+name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
