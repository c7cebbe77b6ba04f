//go:build linux && watchdog

package loop

import (
	"log/slog"
	"strings"
	"testing"
)

// A task that blocks without Await is found, with the stack that says where.
func TestWatchdog(t *testing.T) {
	var log lockedBuffer
	g, err := New(Config{Loops: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	l := g.Loops()[0]
	blocked := make(chan struct{})
	l.Post(func() { l.Go(func() { <-blocked }) })
	eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "blocks its loop") })
	close(blocked)
	if !strings.Contains(log.String(), "watchdog_test.go") {
		t.Error("the log does not say where")
	}
}
