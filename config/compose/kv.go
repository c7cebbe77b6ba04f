package compose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/discovery"
)

// Changes of several keys are taken together when they come within so long of
// each other.
const (
	kvQuiet   = 250 * time.Millisecond
	kvLongest = 2 * time.Second
)

// KV is configuration from Consul's key/value store, beside the file.
type KV struct {
	prefix string
	dir    string // where the last good state is kept; "" nowhere
	log    *slog.Logger
	stop   context.CancelFunc
	over   sync.WaitGroup
	moved  chan struct{} // a signal: newest is another
	first  chan struct{} // closed with Consul's first answer

	mu      sync.Mutex
	newest  *discovery.KV // as Consul says; nil before the first answer
	kept    *discovery.KV // the last good state as found on disk; nil when there is none
	taken   *discovery.KV // as tried last
	tried   string        // its digest
	inForce *discovery.KV // nil before the first
	asked   error         // why Consul cannot be asked; nil while it answers
}

// OpenKV begins to watch what the snapshot names; nil when it names nothing.
func OpenKV(d *Discovery, cfg config.Discovery, log *slog.Logger) *KV {
	if cfg.Consul == nil || cfg.Consul.KV == "" || d.Consul == nil {
		return nil
	}
	k := &KV{prefix: cfg.Consul.KV, dir: cfg.CacheDir, log: log, moved: make(chan struct{}, 1), first: make(chan struct{}),
		asked: errors.New("it has not answered yet")}
	if k.dir != "" {
		switch kv, ok, err := discovery.LoadKV(k.dir, k.prefix); {
		case err != nil:
			log.Warn("config: the last good state of Consul's keys cannot be read", "error", err)
		case ok:
			k.kept = &kv
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	k.over.Go(func() { _ = d.Consul.WatchKV(ctx, k.prefix, k.update, k.heard) }) // ends with ctx
	return k
}

// CheckKV finds what is wrong with the prefix, and a sidecar that has one.
func CheckKV(s *config.Snapshot) []error {
	c := s.Discovery.Consul
	if c == nil || c.KV == "" {
		return nil
	}
	at := s.Pos("discovery.consul.kv")
	switch {
	case s.Sidecar != nil && len(s.Listeners) == 0:
		return []error{fmt.Errorf("%s: discovery.consul.kv: a sidecar takes no configuration from Consul's keys, an ingress does", at)}
	case !strings.HasSuffix(c.KV, "/") || strings.HasPrefix(c.KV, "/"):
		return []error{fmt.Errorf("%s: discovery.consul.kv: found %q, want a prefix that ends with / and does not begin with it", at, c.KV)}
	}
	return nil
}

// FetchKV asks Consul once, for who wants to check what stands there.
func FetchKV(ctx context.Context, cfg config.Discovery, log *slog.Logger) ([]config.Snippet, error) {
	d, err := OpenDiscovery(cfg, nil, log)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if d.Consul == nil || cfg.Consul.KV == "" {
		return nil, errors.New("discovery.consul.kv names no prefix")
	}
	kv, err := d.Consul.GetKV(ctx, cfg.Consul.KV)
	return snippets(&kv), err
}

func snippets(kv *discovery.KV) []config.Snippet {
	var out []config.Snippet
	for _, p := range kv.Pairs {
		name := "consul:" + p.Key
		if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
			name = quoted
		}
		out = append(out, config.Snippet{Name: name, Text: p.Value})
	}
	return out
}

func (k *KV) update(kv discovery.KV) {
	k.mu.Lock()
	begin := k.newest == nil
	k.newest = &kv
	k.mu.Unlock()
	if begin {
		close(k.first)
	}
	select {
	case k.moved <- struct{}{}:
	default:
	}
}

func (k *KV) heard(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = err
}

// Ready waits for Consul's first answer. Without one the last good state on
// disk does.
func (k *KV) Ready(ctx context.Context, wait time.Duration) error {
	if k == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	k.mu.Lock()
	kept := k.kept
	k.mu.Unlock()
	if kept != nil { // a restart while Consul is away must not take the whole wait
		var short context.CancelFunc
		ctx, short = context.WithTimeout(ctx, min(wait, 5*time.Second))
		defer short()
	}
	select {
	case <-k.first:
		return nil
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept != nil {
		k.log.Warn("config: Consul does not answer; its keys are taken as they last were good, from disk",
			"prefix", k.prefix, "keys", len(k.kept.Pairs), "digest", k.kept.Digest(), "error", k.asked)
		return nil
	}
	return fmt.Errorf("compose: the keys under %s, which hold configuration (discovery.consul.kv), are not known: %w, "+
		"and discovery.cache_dir has no last good state", k.prefix, k.asked)
}

// errEmptied keeps an accident from taking everything away.
var errEmptied = errors.New("there were keys and now there is none: to take all of it back, keep one that says routes: []")

// Take implements Further: the newest state, or the one from disk before Consul
// has answered.
func (k *KV) Take() ([]config.Snippet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	had := k.inForce
	if had == nil {
		had = k.kept
	}
	if k.taken = k.newest; k.taken == nil {
		k.taken = had
	}
	k.tried = k.taken.Digest()
	if len(k.taken.Pairs) == 0 && had != nil && len(had.Pairs) > 0 {
		return nil, fmt.Errorf("consul:%s: %w", k.prefix, errEmptied)
	}
	return snippets(k.taken), nil
}

// Fallback implements Further: what to begin with if the newest is not valid.
func (k *KV) Fallback() ([]config.Snippet, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == nil || k.kept == k.taken {
		return nil, false
	}
	k.taken = k.kept
	return snippets(k.kept), true
}

// Taken implements Further: the state last taken is in force, and so the last
// good one.
func (k *KV) Taken() {
	k.mu.Lock()
	defer k.mu.Unlock()
	same := k.inForce != nil && k.inForce.Digest() == k.taken.Digest()
	k.inForce = k.taken
	if k.dir == "" || same || k.taken == k.kept {
		return
	}
	if err := discovery.SaveKV(k.dir, *k.taken); err != nil {
		k.log.Warn("config: the last good state of Consul's keys cannot be kept on disk", "error", err)
	}
}

// Run calls changed when the keys hold something other than was tried last,
// until ctx ends.
func (k *KV) Run(ctx context.Context, changed func()) {
	if k == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.moved:
		}
		quiet, longest := time.NewTimer(kvQuiet), time.NewTimer(kvLongest)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				waiting = false
			case <-k.moved:
				quiet.Reset(kvQuiet)
			case <-quiet.C:
				waiting = false
			case <-longest.C:
				waiting = false
			}
		}
		quiet.Stop()
		longest.Stop()
		k.mu.Lock()
		other := k.newest != nil && k.newest.Digest() != k.tried
		if k.newest != nil && !other && k.inForce != nil && k.inForce.Digest() == k.tried {
			k.inForce = k.newest // the same text again: only its index is another
		}
		k.mu.Unlock()
		if other && ctx.Err() == nil {
			changed()
		}
	}
}

// Close ends the watch.
func (k *KV) Close() {
	if k == nil {
		return
	}
	k.stop()
	k.over.Wait()
}
