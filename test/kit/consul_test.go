package kit

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConsulWithDataDirRemembersAcrossKillAndRestart(t *testing.T) {
	t.Parallel()
	c := StartConsul(t, WithDataDir())
	addr := c.HTTPAddr()
	c.Put("/v1/kv/lintel", "kept", nil)
	c.Kill()
	if err := c.Get("/v1/status/leader", nil); err == nil {
		t.Fatal("a killed agent answers")
	}
	c.Restart()
	var kv []any
	if err := c.Get("/v1/kv/lintel", &kv); err != nil || len(kv) != 1 || c.HTTPAddr() != addr {
		t.Fatalf("after restart: %v, %v at %s (was %s)", kv, err, c.HTTPAddr(), addr)
	}
}

func TestConsulDevModeWithACLStartsAndForgets(t *testing.T) {
	t.Parallel()
	c := StartConsul(t, WithACL())
	c.Put("/v1/kv/lintel", "lost", nil)
	c.Restart()
	var kv []any
	if err := c.Get("/v1/kv/lintel", &kv); err == nil {
		t.Fatalf("a dev agent remembered %v", kv)
	}
	if env := c.Env(); len(env) != 2 {
		t.Fatalf("env %v, want address and token", env)
	}
}
