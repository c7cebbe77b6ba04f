package cache

import (
	"log/slog"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
	"lintel.dev/lintel/proxy/store/redistest"
)

// instance is a process of its own, as far as the cache goes.
type instance struct {
	*rig
	set  *store.Set
	addr []string
}

// newInstance builds a cache that shares by Redis at addr, with the clock of
// first, if there is one.
func newInstance(t testing.TB, c Config, first *instance, addr ...string) *instance {
	t.Helper()
	in := &instance{set: store.NewSet(), addr: addr}
	lease := in.set.Lease()
	t.Cleanup(lease.Release)
	env := envOf(lease, addr...)
	f, err := Kind().Build(&c, env)
	if err != nil {
		t.Fatal(err)
	}
	in.rig = &rig{cache: f.(*cache)}
	clock := in.rig
	if first != nil {
		clock = first.rig
	}
	in.now = clock.time
	return in
}

// pair are two instances whose Redis answers.
func pair(t testing.TB, c Config, addr ...string) (a, b *instance) {
	t.Helper()
	if c.Shared == nil {
		c.Shared = &Shared{Timeout: time.Second}
	}
	a = newInstance(t, c, nil, addr...)
	b = newInstance(t, c, a, addr...)
	for _, in := range []*instance{a, b} {
		eventually(t, "Redis is ready", func() bool { return in.tier.ready(time.Now()) })
	}
	return a, b
}

// settle waits until all is written and everybody has heard everything.
func settle(t testing.TB, all ...*instance) {
	t.Helper()
	for _, in := range all {
		eventually(t, "all is written", func() bool { return in.tier.queued.Load() == 0 })
		if !in.tier.heardBy(in.tier.news.posted, 30*time.Second) {
			t.Fatal("Redis did not hear")
		}
	}
	for _, in := range all {
		p, err := in.tier.ledger.Exchange(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "all is heard", func() bool {
			select {
			case in.tier.wake <- struct{}{}:
			default:
			}
			return in.tier.news.page().seq >= p.Last
		})
	}
	// What was read last has been heeded once another round has begun.
	for _, in := range all {
		before := in.tier.rounds.Load()
		eventually(t, "it is heeded", func() bool {
			select {
			case in.tier.wake <- struct{}{}:
			default:
			}
			return in.tier.rounds.Load() > before+1
		})
	}
}

func startRedis(t testing.TB) *redistest.Server { t.Helper(); return redistest.Start(t) }

func envWithoutRedis() *filter.Env {
	return &filter.Env{Store: store.NewSet().Lease(), Log: slog.New(slog.DiscardHandler), Route: "r"}
}

// envOf has connections to the Redis at addr, those already there first.
func envOf(lease *store.Lease, addr ...string) *filter.Env {
	mode := "single"
	if len(addr) > 1 {
		mode = "cluster"
	}
	return &filter.Env{Store: lease, Log: slog.New(slog.DiscardHandler), Route: "r", Redis: func(name string) (*store.Redis, error) {
		if len(addr) == 0 {
			addr = []string{"127.0.0.1:1"}
		}
		return store.Use(lease, "redis/"+name, "", func() (*store.Redis, error) {
			r, err := store.NewRedis(store.RedisConfig{Name: name, Mode: mode, Addresses: addr, Timeout: 5 * time.Second, Prefix: "p:"})
			if err == nil {
				r.Start()
			}
			return r, err
		})
	}}
}
