package config

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const testEvery = 2 * time.Millisecond

type watched struct {
	t       *testing.T
	changes atomic.Int32
	looks   atomic.Int32
	log     lockedBuffer
}

// watch runs a Watcher until the test ends.
func watch(t *testing.T, path string, files ...string) *watched {
	t.Helper()
	w := &watched{t: t}
	watcher := &Watcher{
		Path: path, Every: testEvery, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Files:   func() []string { w.looks.Add(1); return files },
		Changed: func() { w.changes.Add(1) },
	}
	watcher.Begin()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); watcher.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// changed waits until so many changes were told, and then for some further
// looks, so that one too many would be seen.
func (w *watched) changed(want int32) {
	w.t.Helper()
	w.until("the change was not told", func() bool { return w.changes.Load() >= want })
	w.looked(5)
	if got := w.changes.Load(); got != want {
		w.t.Fatalf("%d changes told, want %d", got, want)
	}
}

func (w *watched) looked(times int32) {
	w.t.Helper()
	from := w.looks.Load()
	w.until("the watcher stands still", func() bool { return w.looks.Load() >= from+times })
}

func (w *watched) until(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(testEvery) {
		if time.Now().After(deadline) {
			w.t.Fatal(what)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Len()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	// By rename, so that no look falls between truncating and writing.
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, os.Rename(path+".tmp", path))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchSeesWritesInPlaceOfTheSameLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "a")
	w := watch(t, path)
	w.looked(3)
	w.changed(0)
	write(t, path, "b")
	w.changed(1)
	write(t, path, "c")
	w.changed(2)
}

func TestWatchIgnoresATouch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "a")
	w := watch(t, path)
	must(t, os.Chtimes(path, time.Now(), time.Now().Add(-time.Hour)))
	w.looked(3)
	w.changed(0)
}

func TestWatchSeesAnAtomicRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write(t, path, "a")
	w := watch(t, path)
	write(t, filepath.Join(dir, "new"), "b")
	must(t, os.Rename(filepath.Join(dir, "new"), path))
	w.changed(1)
}

func TestWatchSeesAKubernetesVolumeSwap(t *testing.T) {
	dir := t.TempDir()
	for v, text := range map[string]string{"v1": "a", "v2": "b"} {
		must(t, os.Mkdir(filepath.Join(dir, v), 0o700))
		write(t, filepath.Join(dir, v, "f"), text)
	}
	must(t, os.Symlink("v1", filepath.Join(dir, "..data")))
	must(t, os.Symlink("..data/f", filepath.Join(dir, "f")))
	w := watch(t, filepath.Join(dir, "f"))
	must(t, os.Symlink("v2", filepath.Join(dir, "..tmp")))
	must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	must(t, os.RemoveAll(filepath.Join(dir, "v1")))
	w.changed(1)
}

func TestWatchKeepsWhatItKnowsWhileTheFileIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "a")
	w := watch(t, path)
	must(t, os.Remove(path))
	w.until("the absence was not logged", func() bool { return w.log.Len() > 0 })
	w.changed(0)
	write(t, path, "a") // the same again: nothing to tell
	w.looked(3)
	w.changed(0)
	must(t, os.Remove(path))
	w.looked(3)
	write(t, path, "b")
	w.changed(1)
}

func TestWatchSeesSecretFiles(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "f"), filepath.Join(dir, "s")
	write(t, path, "a")
	write(t, secret, "a")
	w := watch(t, path, secret)
	write(t, secret, "b")
	w.changed(1)
}

func TestWatchWaitsUntilTheContentSettles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "a")
	w := &Watcher{Path: path}
	w.Begin()
	for i, step := range []struct {
		text string
		want bool
	}{{"b", false}, {"bc", false}, {"bcd", false}, {"bcd", true}, {"bcd", false}, {"x", false}, {"bcd", false}, {"bcd", false}} {
		write(t, path, step.text)
		if got := w.look(); got != step.want {
			t.Errorf("step %d: told %v, want %v", i, got, step.want)
		}
	}
}
