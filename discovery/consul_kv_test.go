package discovery

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lintel.dev/lintel/test/kit"
)

// keys is what a watch of keys was told.
type keys struct {
	mu  sync.Mutex
	got []KV
	err error
}

func (k *keys) update(kv KV) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, kv)
}

func (k *keys) heard(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// says reports whether the newest is exactly that, key and value in turn.
func (k *keys) says(want ...string) func() bool {
	return func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.got) == 0 || k.err != nil {
			return false
		}
		var flat []string
		for _, p := range k.got[len(k.got)-1].Pairs {
			flat = append(flat, p.Key, p.Value)
		}
		return strings.Join(flat, "|") == strings.Join(want, "|")
	}
}

func watchKeys(t *testing.T, c *Consul, prefix string) *keys {
	t.Helper()
	k := &keys{}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.WatchKV(ctx, prefix, k.update, k.heard)
	}()
	t.Cleanup(func() { stop(); <-ended })
	return k
}

func TestConsulKeysAreWatched(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t)
	c := client(t, agent)
	k := watchKeys(t, c, "lintel/edge/")
	eventually(t, patience, "no keys is an answer", k.says())
	// The kit writes JSON: a quoted string.
	agent.Put("/v1/kv/lintel/edge/b", "two", nil)
	agent.Put("/v1/kv/lintel/edge/a", "one", nil)
	agent.Put("/v1/kv/lintel/edge-of-others", "other", nil)
	eventually(t, patience, "both, sorted", k.says("lintel/edge/a", `"one"`, "lintel/edge/b", `"two"`))
	k.mu.Lock()
	first := k.got[len(k.got)-1]
	k.mu.Unlock()
	agent.Put("/v1/kv/lintel/edge/a", "three", nil)
	eventually(t, patience, "changed", k.says("lintel/edge/a", `"three"`, "lintel/edge/b", `"two"`))
	k.mu.Lock()
	second := k.got[len(k.got)-1]
	k.mu.Unlock()
	if second.Index <= first.Index || second.Digest() == first.Digest() {
		t.Errorf("index %d then %d, digest %s then %s", first.Index, second.Index, first.Digest(), second.Digest())
	}
	if now, err := c.GetKV(t.Context(), "lintel/edge/"); err != nil || now.Digest() != second.Digest() || now.Index != second.Index {
		t.Errorf("%+v %v", now, err)
	}
	for _, prefix := range []string{"", "lintel/edge", "/lintel/"} {
		if err := c.WatchKV(t.Context(), prefix, k.update, k.heard); err == nil {
			t.Errorf("the prefix %q is taken", prefix)
		}
	}
}

// A token that may not look must never read as "there is nothing".
func TestConsulKeysThatMayNotBeReadAreNoEmptiness(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t, kit.WithACL())
	agent.Put("/v1/kv/lintel/edge/a", "one", nil)
	agent.Put("/v1/acl/policy", object{"Name": "reads", "Rules": `key_prefix "lintel/edge/" { policy = "read" }`}, nil)
	agent.Put("/v1/acl/policy", object{"Name": "blind", "Rules": `key_prefix "other/" { policy = "read" }`}, nil)
	token := func(policy string) string {
		var made struct{ SecretID string }
		agent.Put("/v1/acl/token", object{"Policies": []object{{"Name": policy}}}, &made)
		return made.SecretID
	}
	reads := watchKeys(t, client(t, agent, func(cfg *ConsulConfig) { cfg.Token = token("reads") }), "lintel/edge/")
	eventually(t, patience, "read", reads.says("lintel/edge/a", `"one"`))
	for name, secret := range map[string]string{"none": "", "another's": token("blind")} {
		blind := watchKeys(t, client(t, agent, func(cfg *ConsulConfig) { cfg.Token = secret }), "lintel/edge/")
		eventually(t, patience, "denied: "+name, func() bool {
			blind.mu.Lock()
			defer blind.mu.Unlock()
			return errors.Is(blind.err, ErrDenied)
		})
		if len(blind.got) != 0 {
			t.Errorf("%s: told %+v", name, blind.got)
		}
	}
}

func TestKeysAreKeptOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "er")
	kv := KV{Prefix: "lintel/edge/", Pairs: []KVPair{{"lintel/edge/a", "x: \"y\"\n"}}, Index: 7}
	if _, ok, err := LoadKV(dir, kv.Prefix); ok || err != nil {
		t.Errorf("from nothing: %v %v", ok, err)
	}
	if err := SaveKV(dir, kv); err != nil {
		t.Fatal(err)
	}
	got, ok, err := LoadKV(dir, kv.Prefix)
	if err != nil || !ok || got.Digest() != kv.Digest() || got.Index != 7 {
		t.Errorf("%+v %v %v", got, ok, err)
	}
	if _, ok, err := LoadKV(dir, "other/"); ok || err != nil {
		t.Errorf("another prefix: %v %v", ok, err)
	}
	path := kvFile(dir, kv.Prefix)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string]string{"cut": string(text[:len(text)/2]), "changed": strings.Replace(string(text), "edge/a", "edge/b", 1), "emptied": ""} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := LoadKV(dir, kv.Prefix); ok || err == nil {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}
