package ratelimit

import (
	"fmt"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// Config is the rate_limit section of a route.
type Config struct {
	Requests int           `yaml:"requests" required:"true" min:"1" doc:"requests let through per window, on average"`
	Window   time.Duration `yaml:"window" default:"1m" doc:"the stretch of time that requests counts for"`
	Burst    int           `yaml:"burst" min:"0" doc:"requests let through at once; 0 means as many as requests"`

	Key []string `yaml:"key" listify:"true" default:"address" doc:"whom to count: address, consumer, subject (issuer and subject of the user), claim:<dotted path>, route, header:<name>; several together make one key. A part that a request lacks counts as its address"`

	IPv6Prefix int    `yaml:"ipv6_prefix" default:"64" min:"32" max:"128" doc:"IPv6 addresses that agree in this many bits are one client"`
	Name       string `yaml:"name" doc:"rate_limit filters of one name and the same settings share their counts across routes; without a name each route counts for itself. Shown to clients in RateLimit-Policy"`
	Headers    *bool  `yaml:"headers" default:"true" doc:"tell clients by RateLimit and RateLimit-Policy"`
	MaxKeys    int    `yaml:"max_keys" default:"1000000" min:"1" doc:"keys remembered at most, about 80 bytes each; past it the limit grows stricter for keys not yet known, never laxer"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("rate_limit", "lets each client make so many requests in a stretch of time", build)
}

func (c *Config) fill() {
	if c.Window == 0 {
		c.Window = time.Minute
	}
	if c.Burst == 0 {
		c.Burst = c.Requests
	}
	if len(c.Key) == 0 {
		c.Key = []string{"address"}
	}
	if c.IPv6Prefix == 0 {
		c.IPv6Prefix = 64
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 1_000_000
	}
}

func build(c *Config, env *filter.Env) (any, error) {
	conf := *c
	conf.fill()
	if conf.Requests < 1 {
		return nil, filter.Errorf("requests", "found %d, want at least 1", conf.Requests)
	}
	if conf.Burst < 0 {
		return nil, filter.Errorf("burst", "found %d, want 1 or more, or 0 for as many as requests", conf.Burst)
	}
	if conf.IPv6Prefix < 32 || conf.IPv6Prefix > 128 {
		return nil, filter.Errorf("ipv6_prefix", "found %d, want 32 to 128", conf.IPv6Prefix)
	}
	if !nameable(conf.Name) {
		return nil, filter.Errorf("name", "found %q, want at most 64 letters, digits or any of . _ : / -", conf.Name)
	}
	parts := make([]part, len(conf.Key))
	for i, k := range conf.Key {
		p, err := parsePart(k)
		if err != nil {
			return nil, filter.Errorf(fmt.Sprintf("key[%d]", i), "%v", err)
		}
		parts[i] = p
	}
	limit := store.Limit{Requests: int64(conf.Requests), Window: conf.Window, Burst: int64(conf.Burst)}
	name := "ratelimit/name:" + conf.Name
	if conf.Name == "" {
		name = "ratelimit/route:" + env.Route
	}
	limits, err := store.Use(env.Store, name, conf.fingerprint(), func() (*store.Limits, error) {
		return store.NewLimits(limit, conf.MaxKeys)
	})
	if err != nil {
		return nil, filter.Errorf("", "%v", err)
	}
	f := &limiter{limits: limits, limit: limit, parts: parts, v6: conf.IPv6Prefix, by: strings.Join(conf.Key, "+")}
	if conf.Headers == nil || *conf.Headers {
		f.answers = newAnswers(conf.policy(), conf.Requests, conf.Window)
	}
	return f, nil
}

// fingerprint is everything that decides what a count means. Headers are not
// part of it: switching them keeps the counts.
func (c *Config) fingerprint() string {
	return fmt.Sprintf("%d/%v burst %d by %q v6 %d keys %d", c.Requests, c.Window, c.Burst, c.Key, c.IPv6Prefix, c.MaxKeys)
}

// policy is the name clients see. A route's own name is nobody's business.
func (c *Config) policy() string {
	if c.Name != "" {
		return c.Name
	}
	return fmt.Sprintf("%d-per-%s-by-%s", c.Requests, short(c.Window), strings.Join(c.Key, "+"))
}

// short writes 1m0s as 1m and 2h0m0s as 2h.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func nameable(s string) bool {
	if len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune("._:/-", rune(c)) {
			return false
		}
	}
	return true
}
