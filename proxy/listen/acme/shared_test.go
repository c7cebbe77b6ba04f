package acme

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// memory is a KV; while err is set it does not answer.
type memory struct {
	mu     sync.Mutex
	fields map[string][]byte
	locks  map[string]lease
	err    error
}

type lease struct {
	token string
	until time.Time
}

func newMemory() *memory { return &memory{fields: map[string][]byte{}, locks: map[string]lease{}} }

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) Get(_ context.Context, f string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.fields[f]
	return bytes.Clone(v), ok && m.err == nil, m.err
}

func (m *memory) Set(_ context.Context, f string, v []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.fields[f] = bytes.Clone(v)
	}
	return m.err
}

func (m *memory) Delete(_ context.Context, fields ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range fields {
		if m.err == nil {
			delete(m.fields, f)
		}
	}
	return m.err
}

func (m *memory) Fields(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.fields)), m.err
}

func (m *memory) Lock(_ context.Context, name, token string, ttl time.Duration) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, ok := m.locks[name]; m.err != nil || ok && l.token != token && time.Now().Before(l.until) {
		return false, m.err
	}
	m.locks[name] = lease{token, time.Now().Add(ttl)}
	return true, nil
}

func (m *memory) Unlock(ctx context.Context, name, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name].token == token && ctx.Err() == nil {
		delete(m.locks, name)
	}
	return errors.Join(m.err, ctx.Err())
}

var testKey = bytes.Repeat([]byte{7}, KeySize)

func share(t testing.TB, kv KV) *shared {
	t.Helper()
	s, err := newShared(kv, testKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStoragesAreAlike: certmagic is told the same by a folder and by a KV.
func TestStoragesAreAlike(t *testing.T) {
	dir, err := openStorage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]certmagic.Storage{"folder": dir, "shared": share(t, newMemory())} {
		t.Run(name, func(t *testing.T) {
			ctx, began := t.Context(), time.Now().Add(-time.Second)
			missing := func(key string) {
				t.Helper()
				_, lerr := s.Load(ctx, key)
				_, serr := s.Stat(ctx, key)
				if !errors.Is(lerr, fs.ErrNotExist) || !errors.Is(serr, fs.ErrNotExist) || s.Exists(ctx, key) {
					t.Errorf("%s: %v, %v", key, lerr, serr)
				}
			}
			missing("a/b")
			for _, kv := range [][2]string{{"a/b/one", "1"}, {"a/b/two", "22"}, {"a/bc", ""}, {"a/b/one", "111"}, {"d", "4"}} {
				if err := s.Store(ctx, kv[0], []byte(kv[1])); err != nil {
					t.Fatal(err)
				}
			}
			if v, err := s.Load(ctx, "a/b/one"); err != nil || string(v) != "111" {
				t.Errorf("%q %v", v, err)
			}
			if v, err := s.Load(ctx, "a/bc"); err != nil || len(v) != 0 {
				t.Errorf("%q %v", v, err)
			}
			if i, err := s.Stat(ctx, "a/b/two"); err != nil || i.Size != 2 || !i.IsTerminal || i.Modified.Before(began) || i.Modified.After(time.Now().Add(time.Second)) {
				t.Errorf("%+v %v", i, err)
			}
			if i, err := s.Stat(ctx, "a/b"); err != nil || i.IsTerminal || !s.Exists(ctx, "a/b") {
				t.Errorf("%+v %v", i, err)
			}
			for _, l := range []struct {
				prefix    string
				recursive bool
				want      string
			}{{"a", false, "a/b a/bc"}, {"a", true, "a/b a/b/one a/b/two a/bc"}, {"a/b", false, "a/b/one a/b/two"}} {
				keys, err := s.List(ctx, l.prefix, l.recursive)
				slices.Sort(keys)
				if got := strings.Join(keys, " "); err != nil || got != l.want {
					t.Errorf("%s %t: %s %v", l.prefix, l.recursive, got, err)
				}
			}
			if _, err := s.List(ctx, "nothing", true); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a list of nothing: %v", err)
			}
			if err := errors.Join(s.Delete(ctx, "a/b"), s.Delete(ctx, "nothing")); err != nil {
				t.Fatal(err)
			}
			missing("a/b")
			missing("a/b/one")
			if !s.Exists(ctx, "a/bc") || !s.Exists(ctx, "d") {
				t.Error("more was deleted than was below")
			}
		})
	}
}

func TestSharedValuesCannotBeChanged(t *testing.T) {
	kv := newMemory()
	s := share(t, kv)
	if err := errors.Join(s.Store(t.Context(), "one", []byte("s3cret")), s.Store(t.Context(), "two", []byte("other"))); err != nil {
		t.Fatal(err)
	}
	sealed := kv.fields["one"]
	if bytes.Contains(sealed, []byte("s3cret")) {
		t.Error("it is there to be read")
	}
	for i := range sealed { // every bit counts, the time's too
		b := bytes.Clone(sealed)
		b[i] ^= 1
		if _, _, err := s.unseal("one", b); err == nil {
			t.Errorf("byte %d changed, and taken", i)
		}
		if _, _, err := s.unseal("one", sealed[:i]); err == nil {
			t.Errorf("cut after %d bytes, and taken", i)
		}
	}
	kv.fields["two"] = sealed
	for _, err := range []error{func() error { _, err := s.Load(t.Context(), "two"); return err }(), s.Store(t.Context(), "two", nil)} {
		if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "another key") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a value in another's place: %v", err)
		}
	}
	if !bytes.Equal(kv.fields["two"], sealed) || !s.Exists(t.Context(), "two") {
		t.Error("what cannot be opened was overwritten")
	}
	if _, err := newShared(kv, testKey[1:], nil); err == nil {
		t.Error("a short key was taken")
	}
}

func TestSharedLocks(t *testing.T) {
	kv := newMemory()
	a, b := share(t, kv), share(t, kv)
	a.ttl, b.ttl = 90*time.Millisecond, 90*time.Millisecond
	if err := a.Lock(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*a.ttl)
	defer cancel()
	if err := b.Lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a lock that is held was not extended: %v", err)
	}
	if err := errors.Join(a.Unlock(ctx, "x"), b.Lock(t.Context(), "x")); err != nil { // ctx has ended
		t.Fatal(err)
	}
	if a.Unlock(t.Context(), "x") == nil {
		t.Error("unlocked twice")
	}
	b.locks["x"].end() // b dies
	if err := a.Lock(t.Context(), "x"); err != nil {
		t.Errorf("a dead holder's lock: %v", err)
	}
	if err := b.Unlock(t.Context(), "x"); err != nil || kv.locks["x"].token != a.locks["x"].token {
		t.Errorf("the late one has freed another's lock: %v", err)
	}
	kv.fail(errors.New("away"))
	if err := a.Unlock(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "ends by itself") {
		t.Errorf("%v", err)
	}
	if err := a.Lock(t.Context(), "x"); err == nil {
		t.Error("locked without a store")
	}
}

// TestSharedStorageIsAwayAndBack: nothing is ordered while it is away, and what
// it has is taken when it is back.
func TestSharedStorageIsAwayAndBack(t *testing.T) {
	kv := newMemory()
	var first, second shelf
	c := good("")
	c.Shared, c.Key, c.Publish = kv, testKey, first.put
	ca := &fakeCA{validity: time.Hour}
	_, stop := manage(t, c, ca)
	until(t, "the certificate", func() bool { return first.serial("one.test") == 1 })
	stop()
	for f, v := range kv.fields {
		if bytes.Contains(v, []byte("BEGIN")) || bytes.Contains(v, []byte("one.test")) {
			t.Errorf("%s is there to be read", f)
		}
	}
	kv.fail(errors.New("redis is away"))
	c.Publish = second.put
	began := time.Now()
	m, stop := manage(t, c, ca)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("waited %s for it", took)
	}
	until(t, "a failure that is told", func() bool { return strings.Contains(m.Status()[0].Err, "redis is away") })
	kv.fail(nil)
	until(t, "the certificate", func() bool { return second.serial("one.test") == 1 })
	stop()
	var logged lines
	c.Key, c.Log = bytes.Repeat([]byte{8}, KeySize), slog.New(slog.NewTextHandler(&logged, nil))
	m, _ = manage(t, c, ca)
	until(t, "the wrong key to be told", func() bool { return strings.Contains(m.Status()[0].Err, "another key than storage.key") })
	if !strings.Contains(logged.String(), "another key than storage.key") {
		t.Errorf("the log says %s", logged.String())
	}
	if n := ca.asked.Load(); n != 1 {
		t.Errorf("the CA was asked %d times", n)
	}
}

// FuzzUnseal: nothing but what was sealed is opened. Each of the fuzzer's workers
// has seeds with nonces of its own, so it is known by name and value.
func FuzzUnseal(f *testing.F) {
	s := share(f, newMemory())
	good := s.seal("name", []byte("value"), time.Unix(1, 2))
	f.Add("name", good)
	f.Add("other", good)
	f.Add("name", good[:20])
	f.Add("name", []byte{2})
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		value, modified, err := s.unseal(name, b)
		if err == nil && (name != "name" || len(b) != len(good) || string(value) != "value" || !modified.Equal(time.Unix(1, 2))) {
			t.Errorf("%q %x: %q", name, b, value)
		}
	})
}
