package compose

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/tracing"
)

// Reloader keeps a process on its newest good configuration.
type Reloader struct {
	Path    string                       // "" when there is no file to follow
	Apply   func(*config.Snapshot) error // compiles and swaps; on an error nothing has changed
	Log     *slog.Logger
	Metrics *tracing.Metrics
	Further Further // configuration beside the file; nil without any

	mu         sync.Mutex
	booted     *config.Snapshot // what the process was started with
	watcher    *config.Watcher
	current    atomic.Pointer[config.Snapshot]
	lastErr    atomic.Pointer[string]
	Generation atomic.Int64
}

// Further is configuration that stands elsewhere than in the file and is put
// into force with it, as a whole.
type Further interface {
	Take() ([]config.Snippet, error)    // the newest
	Fallback() ([]config.Snippet, bool) // what was good in an earlier process, if there is such
	Taken()                             // what was given last is in force
}

// Boot applies the first snapshot.
func (r *Reloader) Boot(s *config.Snapshot) error {
	r.begin(s)
	whole, err := r.merged(s)
	if err == nil {
		err = r.Apply(whole)
	}
	var refused error
	if err != nil && r.Further != nil {
		if old, ok := r.Further.Fallback(); ok {
			refused = err
			if whole, err = config.Merge(s, old); err == nil {
				err = r.Apply(whole)
			}
			if err != nil { // the newest is what people can repair
				return refused
			}
		}
	}
	if err != nil {
		return err
	}
	r.booted = whole
	r.done(whole)
	if refused != nil {
		r.failed(refused)
	}
	return nil
}

// merged is s with what stands elsewhere.
func (r *Reloader) merged(s *config.Snapshot) (*config.Snapshot, error) {
	if r.Further == nil {
		return s, nil
	}
	list, err := r.Further.Take()
	if err != nil {
		return nil, err
	}
	return config.Merge(s, list)
}

// failed says why the newest configuration is not in force.
func (r *Reloader) failed(err error) {
	msg := err.Error()
	r.lastErr.Store(&msg)
	r.Metrics.ReloadFailed()
	r.Log.Error("reload: the new configuration is not valid; the old one keeps running", "file", r.Path, "error", msg)
}

func (r *Reloader) done(s *config.Snapshot) {
	r.current.Store(s)
	r.lastErr.Store(nil)
	if r.Further != nil {
		r.Further.Taken()
	}
	r.Metrics.Reloaded(uint64(r.Generation.Add(1)))
}

// Current is the snapshot in force.
func (r *Reloader) Current() *config.Snapshot { return r.current.Load() }

// Err says why the newest file is not in force; "" when it is.
func (r *Reloader) Err() string {
	if e := r.lastErr.Load(); e != nil {
		return *e
	}
	return ""
}

// Reload reads the file and puts it in force. On any error the old
// configuration keeps running, and the error says what is wrong.
func (r *Reloader) Reload() error {
	if r.Path == "" {
		return fmt.Errorf("compose: nothing to reload: the configuration came from flags")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := config.Load(r.Path)
	if err == nil {
		s, err = r.merged(s)
	}
	if err == nil {
		err = r.Apply(s)
	}
	if err != nil {
		r.failed(err)
		return err
	}
	r.done(s)
	if fixed := needRestart(r.booted, s); len(fixed) > 0 {
		r.Log.Warn("reload: applied, but some sections take effect at the next start only", "sections", strings.Join(fixed, ", "))
		return nil
	}
	r.Log.Info("reload: applied", "file", r.Path, "generation", r.Generation.Load())
	return nil
}

// needRestart names the changed sections that only a new process reads.
func needRestart(old, now *config.Snapshot) []string {
	var out []string
	for _, s := range []struct {
		name string
		a, b any
	}{
		{"listeners", old.Listeners, now.Listeners}, {"discovery", old.Discovery, now.Discovery},
		{"identity", old.Identity, now.Identity}, {"tracing", old.Tracing, now.Tracing},
		{"admin", old.Admin, now.Admin}, {"sidecar (all but policy, filters, timeout, retries, upstreams.hedge, forward_token and user_headers)", fixed(old.Sidecar), fixed(now.Sidecar)},
	} {
		if !reflect.DeepEqual(s.a, s.b) {
			out = append(out, s.name)
		}
	}
	return out
}

// begin notes what was read of the files, so that changes since are seen: s may have
// been loaded a while ago.
func (r *Reloader) begin(s *config.Snapshot) {
	if r.Path == "" {
		return
	}
	r.watcher = &config.Watcher{Path: r.Path, Log: r.Log, Changed: func() { _ = r.Reload() },
		Files: func() []string {
			if s := r.Current(); s != nil {
				return s.Files()
			}
			return nil
		},
		Loaded: func(path string) ([sha256.Size]byte, bool) {
			if now := r.Current(); now != nil {
				s = now
			}
			return s.Read(path)
		}}
	r.watcher.Begin()
}

// Follow reloads whenever the file, or a secret's file it names, changes, until
// ctx ends.
func (r *Reloader) Follow(ctx context.Context) {
	if r.watcher != nil {
		r.watcher.Run(ctx)
	}
}

// fixed is what of a sidecar section only a new process reads.
func fixed(s *config.Sidecar) config.Sidecar {
	if s == nil {
		return config.Sidecar{}
	}
	c := *s
	c.Policy, c.Inbound, c.OutboundChain = config.Policy{}, nil, nil
	c.Upstreams = slices.Clone(c.Upstreams)
	for i := range c.Upstreams {
		c.Upstreams[i].Hedge = nil
	}
	c.Timeout, c.Retries, c.ForwardToken, c.UserHeaders = 0, config.Retries{}, false, false
	return c
}
