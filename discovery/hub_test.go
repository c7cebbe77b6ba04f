package discovery

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// script is a source whose answers the test gives.
type script struct {
	updates chan Update
	watches atomic.Int32
}

func newScript() *script       { return &script{updates: make(chan Update)} }
func (s *script) Name() string { return "script" }
func (s *script) Watch(ctx context.Context, _ Query, update func(Update)) error {
	s.watches.Add(1)
	for {
		select {
		case u := <-s.updates:
			update(u)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *script) good(addresses ...string) {
	s.updates <- Update{Endpoints: endpoints(addresses...), At: time.Now()}
}
func (s *script) bad() { s.updates <- Update{Stale: true, Err: errors.New("connection refused")} }

func newTestHub(t *testing.T, cfg HubConfig) *Hub {
	if cfg.Log == nil {
		cfg.Log = quiet()
	}
	h := NewHub(cfg)
	t.Cleanup(h.Close)
	return h
}

func subscribe(t *testing.T, h *Hub, s Source, q Query) (*Subscription, *seen) {
	t.Helper()
	var got seen
	sub, err := h.Subscribe(s, q, got.update)
	if err != nil {
		t.Fatal(err)
	}
	return sub, &got
}

func TestSubscribersOfOneQueryShareAWatchThatEndsWithTheLast(t *testing.T) {
	h, src := newTestHub(t, HubConfig{}), newScript()
	s1, got1 := subscribe(t, h, src, Query{Service: "a", Tags: []string{"x", "y"}})
	src.good("10.0.0.1:1")
	eventually(t, patience, "first subscriber told", got1.fresh("10.0.0.1:1"))
	s2, got2 := subscribe(t, h, src, Query{Service: "a", Tags: []string{"y", "x"}})
	if !got2.fresh("10.0.0.1:1")() {
		t.Fatalf("a later subscriber was not told at once: %v", got2.last())
	}
	s1.Close()
	src.good("10.0.0.2:1")
	eventually(t, patience, "second told", got2.fresh("10.0.0.2:1"))
	if src.watches.Load() != 1 || got1.count() != 1 {
		t.Fatalf("%d watches, closed subscriber told %d times; want 1 and 1", src.watches.Load(), got1.count())
	}
	s2.Close()
	s2.Close()
	if n := len(h.Status()); n != 0 {
		t.Fatalf("%d watches left", n)
	}
}

func TestEqualSetsDoNotNotifyAgain(t *testing.T) {
	h, src := newTestHub(t, HubConfig{}), newScript()
	_, got := subscribe(t, h, src, Query{Service: "a"})
	for range 3 {
		src.good("10.0.0.1:1")
	}
	src.good() // the source truly says empty
	src.bad()
	src.bad()
	eventually(t, patience, "stale and empty", got.stale())
	if got.count() != 3 { // good, empty, stale
		t.Fatalf("told %d times, want 3: %v", got.count(), got.all)
	}
}

func TestAnAnswerThatEmptiesAServiceJustAfterAnOutageIsDoubted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock does not run while somebody works: settling is never over by a slow machine
		h, src := newTestHub(t, HubConfig{}), newScript()
		_, got := subscribe(t, h, src, Query{Service: "a"})
		src.good("10.0.0.1:1")
		src.bad()
		src.good() // the restarted agent has run no check yet
		src.good("10.0.0.1:1")
		src.good() // and now runs another, also at first critical
		src.good("10.0.0.2:1")
		eventually(t, time.Second, "the checks have run", got.fresh("10.0.0.2:1"))
		time.Sleep(2 * h.cfg.settling)
		synctest.Wait()
		for _, u := range got.all {
			if len(u.Endpoints) == 0 {
				t.Fatalf("the service went empty: %v", got.all)
			}
		}
		src.good() // long after: truly empty
		eventually(t, time.Second, "empty", got.fresh())
		src.good("10.0.0.3:1")
		src.bad()
		src.good()
		time.Sleep(h.cfg.settling - time.Second)
		src.good()
		src.bad() // away again, and back: doubted anew
		src.good()
		time.Sleep(2 * h.cfg.settling)
		synctest.Wait()
		if !got.stale("10.0.0.3:1")() {
			t.Fatalf("believed without a sign of life: %v", got.last())
		}
		src.good() // the pulse's confirmation
		eventually(t, time.Second, "empty when the source still says so", got.fresh())
	})
}

func TestReadyNamesWhatIsAwaited(t *testing.T) {
	h, src, other := newTestHub(t, HubConfig{}), newScript(), newScript()
	sub, _ := subscribe(t, h, src, Query{Service: "orders"})
	subscribe(t, h, other, Query{Service: "users"})
	src.bad()
	other.bad()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := h.Ready(ctx)
	if err == nil || !strings.Contains(err.Error(), `"orders"`) || !strings.Contains(err.Error(), `"users"`) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want both services named", err)
	}
	if err := sub.Ready(ctx); err == nil || !strings.Contains(err.Error(), "script") {
		t.Fatalf("got %v, want the source named", err)
	}
	src.good("10.0.0.1:1")
	other.good("10.0.0.1:1")
	if err := h.Ready(t.Context()); err != nil {
		t.Fatalf("after both answered: %v", err)
	}
}

// Who awaits Ready opens a listener next: by then its cluster must have the endpoints.
func TestReadyOnlyOnceSubscribersHaveBeenTold(t *testing.T) {
	h, src := newTestHub(t, HubConfig{}), newScript()
	telling, told := make(chan struct{}), make(chan struct{})
	sub, err := h.Subscribe(src, Query{Service: "orders"}, func(Update) { close(telling); <-told })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	go src.good("10.0.0.1:1")
	<-telling
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if sub.Ready(ctx) == nil || h.Ready(ctx) == nil {
		t.Fatal("ready before the subscriber knew")
	}
	close(told)
	if err := sub.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMaxStaleDropsLoudlyAndAnAnswerBringsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		h, src := newTestHub(t, HubConfig{MaxStale: time.Minute, Log: log.logger()}), newScript()
		sub, got := subscribe(t, h, src, Query{Service: "a"})
		src.good("10.0.0.1:1")
		src.bad()
		eventually(t, time.Second, "stale first", got.stale("10.0.0.1:1"))
		eventually(t, 2*time.Minute, "then dropped", got.stale())
		if !strings.Contains(log.String(), "DROPPED") || !h.Status()[0].Dropped || sub.Staleness() < time.Minute {
			t.Fatalf("dropped in silence: %s %+v", log.String(), h.Status())
		}
		src.good("10.0.0.1:1")
		eventually(t, time.Second, "back", got.fresh("10.0.0.1:1"))
	})
}

func TestColdStartWithoutSourceUsesDisk(t *testing.T) {
	dir, src := t.TempDir(), newScript()
	h := NewHub(HubConfig{CacheDir: dir, Log: quiet()})
	if _, err := h.Subscribe(src, Query{Service: "a"}, func(Update) {}); err != nil {
		t.Fatal(err)
	}
	src.good("10.0.0.1:1", "10.0.0.2:1")
	src.good("10.0.0.1:1", "10.0.0.2:1") // taken: so the first was learnt
	h.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "discovery", "*.json"))
	if len(files) != 1 {
		t.Fatalf("files %v, want one", files)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	aged, err := openRecord(whole, "script|"+queryKey(Query{Service: "a"}), confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	aged.At = aged.At.Add(-2 * time.Hour)
	other := &cache{dir: t.TempDir(), log: quiet()}
	if _, err := other.put(aged); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(other.path(aged.Key))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		text    []byte
		service string
		stale   time.Duration
		use     bool
	}{
		{"whole", whole, "a", 0, true},
		{"another query", whole, "b", 0, false},
		{"too old", old, "a", time.Hour, false},
		{"truncated", whole[:len(whole)/2], "a", 0, false},
		{"one byte changed", bytes.Replace(whole, []byte("10.0.0.1"), []byte("10.0.0.9"), 1), "a", 0, false},
		{"empty", nil, "a", 0, false},
		{"not json", []byte("\x00\x01"), "a", 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(files[0], test.text, 0o600); err != nil {
				t.Fatal(err)
			}
			h, src := newTestHub(t, HubConfig{CacheDir: dir, MaxStale: test.stale}), newScript()
			sub, got := subscribe(t, h, src, Query{Service: test.service})
			src.bad()
			src.bad()
			limit := 50 * time.Millisecond // for what never comes
			if test.use {
				limit = patience
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if err := sub.Ready(ctx); (err == nil) != test.use {
				t.Fatalf("ready: %v, want use of disk: %v", err, test.use)
			}
			if test.use && (!got.stale("10.0.0.1:1", "10.0.0.2:1")() || !h.Status()[0].FromDisk || sub.Staleness() <= 0) {
				t.Fatalf("got %+v, %+v", got.last(), h.Status())
			}
			src.good("10.0.0.3:1")
			eventually(t, patience, "the source's answer wins", got.fresh("10.0.0.3:1"))
		})
	}
}

func TestUnusableCacheFolderOnlyWarns(t *testing.T) {
	var log lockedBuffer
	file := filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h, src := NewHub(HubConfig{CacheDir: file, Log: log.logger()}), newScript()
	_, got := subscribe(t, h, src, Query{Service: "a"})
	src.bad() // looks on disk, finds none
	src.good("10.0.0.1:1")
	eventually(t, patience, "traffic goes on", got.fresh("10.0.0.1:1"))
	h.Close()
	if !strings.Contains(log.String(), "in memory only") {
		t.Fatalf("no warning: %s", log.String())
	}
}

func FuzzOpenRecord(f *testing.F) {
	f.Add([]byte(`{"sha256":"","record":{}}`))
	f.Add([]byte(`{"sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","record":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := openRecord(text, "k", confirmation{})
		if err == nil && (r.Key != "k" || r.At.After(time.Now())) {
			t.Fatalf("accepted %+v", r)
		}
	})
}

func TestConcurrentSubscribersAndClose(t *testing.T) {
	h, c := newTestHub(t, HubConfig{}), NewCatalog()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				s, err := h.Subscribe(c, Query{Service: "a"}, func(Update) {})
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
			}
		})
	}
	all.Wait()
	if len(h.Status()) != 0 {
		t.Fatalf("left: %v", h.Status())
	}
}
