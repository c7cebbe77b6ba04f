package discovery

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// An answer that stays the same is not written again and again, and yet a
// restart knows how old it is.
func TestAgeOnDiskIsTrueThoughRecordsAreWrittenOnce(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h, src := NewHub(HubConfig{CacheDir: dir, Log: quiet()}), newScript()
		_, got := subscribe(t, h, src, Query{Service: "a"})
		src.good("10.0.0.1:1")
		eventually(t, time.Second, "known", got.fresh("10.0.0.1:1"))
		synctest.Wait()
		first, at := recordFile(t, dir)
		for range 30 {
			time.Sleep(time.Minute)
			src.good("10.0.0.1:1")
		}
		synctest.Wait()
		again, _ := recordFile(t, dir)
		if !bytes.Equal(first, again) {
			t.Error("an unchanged record was written again")
		}
		for _, closed := range []bool{false, true} { // first as if it had been killed
			if closed {
				h.Close()
			}
			now := openCache(dir, quiet())
			r, ok := now.load("script|" + queryKey(Query{Service: "a"}))
			now.close()
			if age := time.Since(r.At); !ok || age > confirmEvery+time.Minute || !r.At.After(at) {
				t.Errorf("closed %v: found %v, confirmed %v ago", closed, ok, age)
			}
		}
	})
}

// recordFile is the only record and its own time.
func recordFile(t *testing.T, dir string) ([]byte, time.Time) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "discovery", "*.json"))
	if len(files) != 1 {
		t.Fatalf("files %v, want one", files)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := openRecord(text, "script|"+queryKey(Query{Service: "a"}), confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	return text, r.At
}

func TestAConfirmationSpeaksForItsOwnRecordOnly(t *testing.T) {
	dir := t.TempDir()
	c := openCache(dir, quiet())
	old := time.Now().Add(-time.Hour)
	for _, address := range []string{"10.0.0.1:1", "10.0.0.2:1"} {
		c.save(record{Key: "k", At: old, Endpoints: endpoints(address)})
		eventually(t, patience, address+" is on disk", func() bool {
			text, err := os.ReadFile(c.path("k"))
			if err != nil || !bytes.Contains(text, []byte(address)) {
				return false
			}
			s, err := unseal(text)
			c.mu.Lock()
			defer c.mu.Unlock()
			return err == nil && c.confirmed.of(c.name("k")).Sum == s.Sum
		})
	}
	before, err := os.ReadFile(c.path("k"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c.confirm("k", now)
	c.confirm("unknown", now)
	c.close()
	age := func() time.Duration {
		t.Helper()
		c := openCache(dir, quiet())
		defer c.close()
		r, ok := c.load("k")
		if !ok {
			t.Fatal("no record")
		}
		return now.Sub(r.At).Round(time.Second)
	}
	if got := age(); got != 0 {
		t.Errorf("confirmed, but %v old", got)
	}
	// The record of another day, from a backup.
	other := openCache(t.TempDir(), quiet())
	if _, err := other.put(record{Key: "k", At: old, Endpoints: endpoints("10.0.0.1:1")}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(other.path("k"))
	other.close()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.path("k"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := age(); got != time.Hour {
		t.Errorf("another record is taken to be %v old, want an hour", got)
	}
	for name, damaged := range map[string][]byte{"empty": nil, "no JSON": []byte("x"), "not sealed": []byte(`{"sha256":"","record":{}}`), "not a map": mustSeal(t, `[1]`)} {
		if err := os.WriteFile(c.path("k"), before, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.confirmed.path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := age(); got != time.Hour {
			t.Errorf("%s: %v old, want an hour", name, got)
		}
	}
}

func mustSeal(t *testing.T, text string) []byte {
	t.Helper()
	b, _, err := seal([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a full disk did not take is written when there is room again.
func TestARecordThatCouldNotBeWrittenIsTriedAgain(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		blocked := filepath.Join(root, "cache")
		if err := os.WriteFile(blocked, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := openCache(blocked, quiet())
		at := time.Now()
		c.save(record{Key: "k", At: at, Endpoints: endpoints("10.0.0.1:1")})
		synctest.Wait()
		c.confirm("k", at.Add(time.Second))
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * confirmEvery)
		synctest.Wait()
		if _, err := os.Stat(c.path("k")); err != nil {
			t.Error(err)
		}
		c.close()
		again := openCache(blocked, quiet())
		defer again.close()
		if r, ok := again.load("k"); !ok || !r.At.Equal(at.Add(time.Second)) {
			t.Errorf("found %v, %v", ok, r.At)
		}
	})
}
