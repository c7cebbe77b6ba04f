package ratelimit

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// tier is the limits of some clients, with their counts.
type tier struct {
	limits  []store.Limit
	memory  *store.Limits       // counts, or with redis what counts while Redis cannot
	shared  *store.SharedLimits // nil: in memory only
	answers *answers
}

func build(c *Config, env *filter.Env) (any, error) {
	conf := *c
	conf.fill()
	if err := conf.check(); err != nil {
		return nil, err
	}
	parts, err := parseParts(conf.Key)
	if err != nil {
		return nil, err
	}
	f := &limiter{Config: conf, log: env.Log, parts: parts, by: strings.Join(conf.Key, "+"), told: conf.Headers == nil || *conf.Headers}
	f.costs = map[string]int64{}
	for method, n := range conf.MethodCost {
		f.costs[method] = int64(n)
	}
	if conf.Store == "redis" {
		if env.Redis == nil {
			return nil, filter.Errorf("store", "found redis, but there is no section redis")
		}
		if f.redis, err = env.Redis(conf.Redis); err != nil {
			return nil, filter.Errorf("redis", "%v", err)
		}
	}
	b := &builder{conf: &f.Config, env: env, redis: f.redis}
	if f.usual, err = b.tier("", Override{Requests: conf.Requests, Window: conf.Window, Burst: conf.Burst, Limits: conf.Limits}); err != nil {
		return nil, err
	}
	if f.others, err = b.overrides(); err != nil {
		return nil, err
	}
	return f, nil
}

type builder struct {
	conf  *Config
	env   *filter.Env
	redis *store.Redis
}

// overrides finds the tier of every consumer that has another than the usual.
func (b *builder) overrides() (map[string]*tier, error) {
	o := b.conf.Overrides
	if o == nil {
		return nil, nil
	}
	out := map[string]*tier{}
	by := map[string]string{} // which tag
	for _, tag := range slices.Sorted(maps.Keys(o.Tags)) {
		path := "overrides.tags." + tag
		name, value, ok := strings.Cut(tag, "=")
		if !ok || name == "" {
			return nil, filter.Errorf(path, "found %q, want tag=value, as plan=gold", tag)
		}
		t, err := b.tier(path, o.Tags[tag])
		if err != nil {
			return nil, err
		}
		for _, c := range b.env.Consumers {
			if v, has := c.Tags[name]; !has || v != value {
				continue
			}
			if _, own := o.Consumers[c.Name]; own {
				continue
			}
			if by[c.Name] != "" {
				return nil, filter.Errorf(path, "consumer %s has both %s and %s: give it an entry of its own under consumers", c.Name, by[c.Name], tag)
			}
			out[c.Name], by[c.Name] = t, tag
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Consumers)) {
		path := "overrides.consumers." + name
		if !slices.ContainsFunc(b.env.Consumers, func(c filter.Consumer) bool { return c.Name == name }) {
			return nil, filter.Errorf(path, "no consumer is named %q: add it to the section consumers, or correct the name", name)
		}
		t, err := b.tier(path, o.Consumers[name])
		if err != nil {
			return nil, err
		}
		out[name] = t
	}
	return out, nil
}

// tier leases the counts of one set of limits. Nil, without an error, is no
// limit.
func (b *builder) tier(path string, o Override) (*tier, error) {
	if o.Unlimited {
		if o.Requests != 0 || len(o.Limits) > 0 {
			return nil, filter.Errorf(path, "found unlimited besides a limit, want one of both")
		}
		return nil, nil
	}
	limits, err := b.limits(path, o)
	if err != nil {
		return nil, err
	}
	t := &tier{limits: limits}
	conf := b.conf
	scope := "route:" + b.env.Route
	if conf.Name != "" {
		scope = "name:" + conf.Name
	}
	print := conf.fingerprint(limits)
	if path != "" { // not one count with others who have the same limits
		print += " for " + path
	}
	t.memory, err = store.Use(b.env.Store, "ratelimit/"+scope, fmt.Sprintf("%s keys %d", print, conf.MaxKeys), func() (*store.Limits, error) {
		return store.NewLimits(conf.MaxKeys, store.Algorithm(conf.Algorithm), limits...)
	})
	if err != nil {
		return nil, filter.Errorf(path, "%v", err)
	}
	if b.redis != nil {
		lease, err := b.lease(limits)
		if err != nil {
			return nil, err
		}
		shared := store.SharedConfig{Scope: scopeOf(scope, print), Algorithm: store.Algorithm(conf.Algorithm), Limits: limits,
			Lease: lease, LeaseTime: conf.LeaseTime, MaxKeys: conf.MaxKeys}
		// The pointer is part of it: another connection is another place.
		t.shared, err = store.Use(b.env.Store, "ratelimit/shared/"+scope, fmt.Sprintf("%v %p", shared, b.redis), func() (*store.SharedLimits, error) {
			return store.NewSharedLimits(b.redis, shared)
		})
		if err != nil {
			return nil, filter.Errorf(path, "%v", err)
		}
	}
	t.answers = newAnswers(limits, func(l store.Limit) string { return conf.policy(l, len(limits) == 1) })
	return t, nil
}

// limits reads either form.
func (b *builder) limits(path string, o Override) ([]store.Limit, error) {
	at := func(key string) string { return strings.TrimPrefix(path+"."+key, ".") }
	switch {
	case o.Requests == 0 && len(o.Limits) == 0:
		return nil, filter.Errorf(at("requests"), "found neither requests nor limits, want one of them")
	case o.Requests != 0 && len(o.Limits) > 0:
		return nil, filter.Errorf(at("requests"), "found both requests and limits, want one of them")
	}
	list := o.Limits
	if o.Requests != 0 {
		if o.Window == 0 {
			o.Window = b.conf.Window
		}
		list = []Window{{Requests: o.Requests, Window: o.Window, Burst: o.Burst}}
	} else if o.Burst != 0 {
		return nil, filter.Errorf(at("burst"), "found %d beside limits: give each of them its own", o.Burst)
	}
	if len(list) > store.MaxLimits {
		return nil, filter.Errorf(at("limits"), "found %d, want at most %d", len(list), store.MaxLimits)
	}
	out := make([]store.Limit, len(list))
	for i, w := range list {
		key := func(name string) string {
			if o.Requests != 0 {
				return at(name)
			}
			return at(fmt.Sprintf("limits[%d].%s", i, name))
		}
		l, err := b.limit(w, key)
		if err != nil {
			return nil, err
		}
		for _, other := range out[:i] {
			if other.Window == l.Window {
				return nil, filter.Errorf(key("window"), "found %s twice: of two limits for one window only the lower counts", exchange.ShortDuration(l.Window))
			}
		}
		out[i] = l
	}
	return out, nil
}

func (b *builder) limit(w Window, key func(string) string) (store.Limit, error) {
	l := store.Limit{Requests: int64(w.Requests), Window: w.Window, Burst: int64(w.Burst)}
	cost, most := b.conf.mostCost(), l.Requests
	switch gcra := b.conf.Algorithm == string(store.GCRA); {
	case w.Requests < 1:
		return l, filter.Errorf(key("requests"), "found %d, want at least 1", w.Requests)
	case w.Window <= 0:
		return l, filter.Errorf(key("window"), "found %v, want more than 0", w.Window)
	case w.Burst < 0:
		return l, filter.Errorf(key("burst"), "found %d, want 1 or more, or 0 for as many as requests", w.Burst)
	case !gcra && w.Burst != 0:
		return l, filter.Errorf(key("burst"), "found %d, but only algorithm gcra knows bursts", w.Burst)
	case gcra && w.Burst == 0:
		l.Burst = l.Requests
	case gcra:
		most = l.Burst
	}
	if cost > most {
		return l, filter.Errorf(key("requests"), "a request may cost %d, more than the %d that are let through at once: it would never pass", cost, most)
	}
	// Counts nothing; it complains here, where the key is known.
	if _, err := store.NewLimits(1, store.Algorithm(b.conf.Algorithm), l); err != nil {
		return l, filter.Errorf(key("requests"), "%s", strings.TrimPrefix(err.Error(), "store: "))
	}
	return l, nil
}

// lease is how many permits are taken at once: never fewer than one request
// costs.
func (b *builder) lease(limits []store.Limit) (int64, error) {
	auto, most := int64(100), int64(math.MaxInt64)
	for _, l := range limits {
		auto, most = min(auto, l.Requests/100), min(most, l.Requests)
		if l.Burst > 0 {
			most = min(most, l.Burst)
		}
	}
	lease := int64(b.conf.Lease)
	switch {
	case lease > most:
		return 0, filter.Errorf("lease", "found %d, more than the %d that a limit lets through at once: one process could take all of it", lease, most)
	case lease == 0:
		lease = auto
	}
	return max(lease, b.conf.mostCost(), 1), nil
}

// scopeOf is whose counts they are, in Redis: processes that disagree about
// what a count means count apart.
func scopeOf(scope, print string) string {
	sum := sha256.Sum256([]byte(print))
	if len(scope) > 64 {
		long := sha256.Sum256([]byte(scope))
		scope = base64.RawURLEncoding.EncodeToString(long[:16])
	}
	return scope + ":" + base64.RawURLEncoding.EncodeToString(sum[:9])
}
