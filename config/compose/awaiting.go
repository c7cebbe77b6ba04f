package compose

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config"
	"lintel.dev/lintel/mtls"
)

// slowStart is how long an identity may take before somebody is told.
const slowStart = 500 * time.Millisecond

// AwaitIdentity opens the source that the snapshot names and waits, bounded, for
// the first identity; it returns nil when the source is "none". The admin API
// and the probes open when there is something to see in them: until then, if it
// takes longer, their addresses say that the process lives and what it waits for.
func AwaitIdentity(ctx context.Context, s *config.Snapshot, service string, ca mtls.ConnectCA, log *slog.Logger) (*Identity, error) {
	var why atomic.Pointer[string]
	over := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		select {
		case <-time.After(slowStart):
			tellMeanwhile(ctx, s.Admin, &why, over, log)
		case <-over:
		}
	})
	id, err := openIdentity(ctx, s.Identity, service, ca, log, func(w string) { why.Store(&w) })
	close(over)
	telling.Wait()
	return id, err
}

// tellMeanwhile answers the probes until over is closed. Where the addresses
// cannot be had, say because the process before this one still has them, nobody
// is told.
func tellMeanwhile(ctx context.Context, cfg config.Admin, why *atomic.Pointer[string], over <-chan struct{}, log *slog.Logger) {
	ready := func() []admin.Check {
		c := admin.Check{Name: "identity", Required: true, Detail: "waiting"}
		if w := why.Load(); w != nil {
			c.Detail = *w
		}
		return []admin.Check{c, {Name: "listeners", Required: true}}
	}
	server, err := admin.New(admin.Config{Address: cfg.Address, Probes: cfg.Probes}, admin.Sources{Ready: ready}, log)
	if err != nil || server.Start(ctx) != nil {
		return
	}
	<-over
	end, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = server.Shutdown(end)
}
