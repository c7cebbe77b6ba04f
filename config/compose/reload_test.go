package compose

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/tracing"
)

// What changes while a process starts, which waits for an identity and for Consul
// after it has read its file, is not missed: neither the file nor a secret of it.
func TestAChangeDuringTheStartIsTaken(t *testing.T) {
	for _, changed := range []string{"lintel.yaml", "password"} {
		t.Run(changed, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, text string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			const text = "version: 1\nredis: {default: {addresses: ['127.0.0.1:1'], password: 'file:password'}}\n"
			write("lintel.yaml", text)
			write("password", "old")
			path := filepath.Join(dir, "lintel.yaml")
			s, err := config.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if changed == "password" {
				write("password", "new")
			} else {
				write("lintel.yaml", text+"shutdown: {delay: 7s}\n")
			}
			r := &Reloader{Path: path, Log: slog.New(slog.DiscardHandler), Metrics: tracing.NewMetrics(), Apply: func(*config.Snapshot) error { return nil }}
			if err := r.Boot(s); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var following sync.WaitGroup
			following.Go(func() { r.Follow(ctx) })
			defer following.Wait()
			defer cancel()
			taken := func() bool {
				s := r.Current()
				return s.Redis["default"].Password == "new" || s.Shutdown.Delay == 7*time.Second
			}
			for end := time.Now().Add(6 * time.Second); !taken(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it goes on with what it began with")
				}
			}
			if n := r.Generation.Load(); n != 2 {
				t.Errorf("%d generations, want the first and the change", n)
			}
		})
	}
}
