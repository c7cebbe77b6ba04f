package ops_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store/redistest"
	"lintel.dev/lintel/test/kit"
)

const acmeKey = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// startACMERedis runs deploy/examples/acme-redis.yaml.
func startACMERedis(t *testing.T, p *kit.Pebble, caRoot, redis, plain, secure string, app *kit.App) *acmeEdge {
	t.Helper()
	admin := kit.FreeAddr(t)
	env := []string{"LISTEN_PLAIN=" + plain, "LISTEN=" + secure, "ADMIN=" + admin, "REDIS_ADDR=" + redis, "DOMAIN=one.test", "ACME_EMAIL=admin@one.test",
		"ACME_CA=" + p.Directory, "ACME_CA_ROOT=" + caRoot, "ACME_KEY_FILE=" + kit.File(t, "acme.key", acmeKey+"\n"), "SITE_ADDR=" + app.Addr}
	return &acmeEdge{kit.Start(t, env, "ingress", "-c", "../../deploy/examples/acme-redis.yaml", "--log-level", "debug").Ready(admin), admin, secure}
}

// TestACMEInstancesShareRedis and nothing else. The CA reaches the first only,
// which cannot order: it does not trust the CA. So the second's order is answered
// by the first.
func TestACMEInstancesShareRedis(t *testing.T) {
	t.Parallel()
	p := kit.NewPebble(t, 24*time.Hour).Start()
	redis, app := redistest.Start(t), kit.StartApp(t, "app", "")
	stranger := kit.File(t, "root.pem", string(newAuthority(t).pem))
	reached := startACMERedis(t, p, stranger, redis.Addr(), p.HTTPAddr, p.TLSAddr, app)
	awaitText(t, reached.Stderr, "acme: no certificate obtained")
	orders := startACMERedis(t, p, p.CARoot, redis.Addr(), kit.FreeAddr(t), kit.FreeAddr(t), app)
	third := startACMERedis(t, p, p.CARoot, redis.Addr(), kit.FreeAddr(t), kit.FreeAddr(t), app)
	first := awaitShown(t, orders.secure, "one.test", p.Roots())
	awaitText(t, reached.Stderr, "acme: answered a challenge")
	for _, e := range []*acmeEdge{reached, third} {
		if got := awaitShown(t, e.secure, "one.test", p.Roots()); got.SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Error("they show different certificates")
		}
	}
	if n := strings.Count(p.Log(), "Issued certificate serial"); n != 1 {
		t.Errorf("the CA has issued %d certificates, expected 1", n)
	}
	// One that starts later has it before it listens.
	late := startACMERedis(t, p, p.CARoot, redis.Addr(), kit.FreeAddr(t), kit.FreeAddr(t), app)
	if _, err := shown(late.secure, "one.test", p.Roots()); err != nil {
		t.Errorf("one that starts later: %v", err)
	}
	all := redis.Do("EVAL", "return table.concat(redis.call('HVALS', KEYS[1]), '\\n')", "1", "lintel:acme")
	for _, secret := range []string{"BEGIN", "PRIVATE", "private_key", "one.test", acmeKey} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is to be read in Redis", secret)
		}
	}
	if len(all) < 1000 {
		t.Errorf("only %d bytes are in Redis: is it the right place to look?", len(all))
	}
	for _, e := range []*acmeEdge{reached, orders, third, late} {
		if out := e.Stderr.String() + e.Stdout.String(); strings.Contains(out, "PRIVATE KEY") || strings.Contains(out, acmeKey) {
			t.Error("a key was logged")
		}
	}
	if _, config := fetch(orders.admin, "/config"); strings.Contains(config, acmeKey) {
		t.Error("the key is told")
	}
}

// TestACMEWithoutRedisForAWhile: around a renewal it goes on serving, and then
// recovers, with a Redis that came back empty. One that starts meanwhile opens
// without it.
func TestACMEWithoutRedisForAWhile(t *testing.T) {
	t.Parallel()
	p := kit.NewPebble(t, 30*time.Second).Start()
	redis, app := redistest.Start(t), kit.StartApp(t, "app", "")
	e := startACMERedis(t, p, p.CARoot, redis.Addr(), p.HTTPAddr, p.TLSAddr, app)
	first := awaitShown(t, e.secure, "one.test", p.Roots())
	redis.Stop()
	kit.Eventually(t, time.Minute, "a failure that is told", func() error {
		if d := mustReady(t, e.admin).detail("acme secure one.test"); !strings.Contains(d, "shared storage") {
			return errors.New(d)
		}
		return nil
	})
	if got, err := shown(e.secure, "one.test", p.Roots()); err != nil || got.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("without Redis: %v", err)
	}
	began := time.Now()
	late := startACMERedis(t, p, p.CARoot, redis.Addr(), kit.FreeAddr(t), kit.FreeAddr(t), app)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("a start without Redis took %s", took)
	}
	awaitText(t, late.Stderr, "the storage cannot be read")
	redis.Restart()
	awaitShown(t, late.secure, "one.test", p.Roots())
	kit.Eventually(t, 2*time.Minute, "another certificate", func() error {
		got, err := shown(e.secure, "one.test", p.Roots())
		if err == nil && got.SerialNumber.Cmp(first.SerialNumber) == 0 {
			err = errors.New("it is still the one before")
		}
		return err
	})
}
