package ratelimit

import (
	"fmt"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// Config is the rate_limit section of a route.
type Config struct {
	Requests  int           `yaml:"requests" min:"1" doc:"requests let through per window; this or limits"`
	Window    time.Duration `yaml:"window" default:"1m" doc:"the stretch of time that requests counts for"`
	Burst     int           `yaml:"burst" min:"0" doc:"gcra only: requests let through at once; 0 means as many as requests"`
	Limits    []Window      `yaml:"limits" doc:"several limits at once, up to 6: a request must pass all of them, and one that is refused counts for none"`
	Algorithm string        `yaml:"algorithm" enum:"gcra,sliding_window,fixed_window" default:"gcra" doc:"gcra: a steady rate with room for a burst, as a token bucket; sliding_window: at most requests in any stretch of window, given back up to a sixteenth of it late; fixed_window: at most requests per minute, hour … of the clock (UTC), so up to twice that around its edge"`

	Key        []string       `yaml:"key" listify:"true" default:"address" doc:"whom to count: address, consumer, subject (issuer and subject of the user), peer (a mesh caller's SPIFFE ID), claim:<dotted path>, route, header:<name>, path_param:<name>; several together make one key. A part that a request lacks counts as its address"`
	Cost       int            `yaml:"cost" default:"1" min:"1" doc:"what a request counts for"`
	MethodCost map[string]int `yaml:"method_cost" min:"1" doc:"what a request of such a method counts for, instead of cost" example:"{POST: 5}"`
	Overrides  *Overrides     `yaml:"overrides" doc:"other limits for some consumers; each such limit has counts of its own"`

	Store        string        `yaml:"store" enum:"memory,redis" default:"memory" doc:"where counts are kept: memory is this process alone, redis is all that use the same Redis with the same settings"`
	Redis        string        `yaml:"redis" default:"default" doc:"which connection of the section redis"`
	OnStoreError string        `yaml:"on_store_error" enum:"local,open,closed" doc:"while Redis cannot say. local: this process counts in memory, by the same settings, for itself; open: every request is let through; closed: every request is refused with 503. Must be said with store: redis"`
	Lease        int           `yaml:"lease" min:"0" max:"100000" doc:"permits of one key in demand that a process takes from Redis at once, so that Redis is not asked each time. n processes may let n·(lease−1) more through than the limit says; 1 is exact. 0 means a hundredth of the smallest limit, 1 to 100"`
	LeaseTime    time.Duration `yaml:"lease_time" default:"1s" min:"10ms" max:"1m" doc:"permits not used within this are lost"`

	IPv6Prefix int    `yaml:"ipv6_prefix" default:"64" min:"32" max:"128" doc:"IPv6 addresses that agree in this many bits are one client"`
	Name       string `yaml:"name" doc:"rate_limit filters of one name and the same settings share their counts across routes; without a name each route counts for itself. Shown to clients in RateLimit-Policy"`
	Headers    *bool  `yaml:"headers" default:"true" doc:"tell clients by RateLimit and RateLimit-Policy"`
	Legacy     string `yaml:"legacy_headers" enum:"off,seconds,epoch" default:"off" doc:"also X-RateLimit-Limit, -Remaining and -Reset, of the limit with least left; Reset in seconds from now, or in Unix time"`
	MaxKeys    int    `yaml:"max_keys" default:"1000000" min:"1" doc:"keys remembered at most, about 80 bytes each, 136 more for each sliding window, 400 with store: redis; past it the limit grows stricter for keys not yet known, never laxer"`
}

// Window is one of several limits.
type Window struct {
	Requests int           `yaml:"requests" required:"true" min:"1" doc:"requests let through per window"`
	Window   time.Duration `yaml:"window" required:"true" doc:"the stretch of time that requests counts for" example:"1h"`
	Burst    int           `yaml:"burst" min:"0" doc:"gcra only: requests let through at once; 0 means as many as requests"`
}

// Overrides are other limits for some consumers.
type Overrides struct {
	Consumers map[string]Override `yaml:"consumers" doc:"by consumer's name"`
	Tags      map[string]Override `yaml:"tags" doc:"by a tag that consumers have, as tag=value; a consumer's own entry goes before" example:"{plan=gold: {requests: 1000}}"`
}

// Override replaces the limits for a consumer.
type Override struct {
	Requests  int           `yaml:"requests" min:"1" doc:"requests let through per window"`
	Window    time.Duration `yaml:"window" doc:"the filter's own window when left out"`
	Burst     int           `yaml:"burst" min:"0" doc:"gcra only: as above"`
	Limits    []Window      `yaml:"limits" doc:"several limits at once"`
	Unlimited bool          `yaml:"unlimited" doc:"no limit at all"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("rate_limit", "lets each client make so many requests in a stretch of time", build)
}

func (c *Config) fill() {
	if c.Window == 0 {
		c.Window = time.Minute
	}
	if c.Algorithm == "" {
		c.Algorithm = string(store.GCRA)
	}
	if len(c.Key) == 0 {
		c.Key = []string{"address"}
	}
	if c.Cost == 0 {
		c.Cost = 1
	}
	if c.Store == "" {
		c.Store = "memory"
	}
	if c.Redis == "" {
		c.Redis = "default"
	}
	if c.LeaseTime == 0 {
		c.LeaseTime = time.Second
	}
	if c.IPv6Prefix == 0 {
		c.IPv6Prefix = 64
	}
	if c.Legacy == "" {
		c.Legacy = "off"
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 1_000_000
	}
}

// check finds what the tags of Config cannot say.
func (c *Config) check() error {
	if c.IPv6Prefix < 32 || c.IPv6Prefix > 128 {
		return filter.Errorf("ipv6_prefix", "found %d, want 32 to 128", c.IPv6Prefix)
	}
	if !nameable(c.Name) {
		return filter.Errorf("name", "found %q, want at most 64 letters, digits or any of . _ : / -", c.Name)
	}
	switch {
	case c.Store == "redis" && c.OnStoreError == "":
		return filter.Errorf("on_store_error", "missing: say what happens while Redis cannot be asked. "+
			"local: each process counts in memory by the same settings, so that clients get at most the limit from each; "+
			"open: every request is let through; closed: every request is refused with 503")
	case c.Store != "redis" && c.OnStoreError != "":
		return filter.Errorf("on_store_error", "found %q, but counts are kept in memory: say store: redis, or leave it out", c.OnStoreError)
	case c.Store != "redis" && c.Lease != 0:
		return filter.Errorf("lease", "found %d, but counts are kept in memory: say store: redis, or leave it out", c.Lease)
	}
	for method := range c.MethodCost {
		if method == "" || strings.ToUpper(method) != method {
			return filter.Errorf("method_cost", "found %q, want a method's name, which are in capitals, as POST", method)
		}
	}
	return nil
}

// mostCost is the most that a request can count for.
func (c *Config) mostCost() int64 {
	most := int64(c.Cost)
	for _, n := range c.MethodCost {
		most = max(most, int64(n))
	}
	return most
}

// fingerprint is everything that decides what a count means. Headers are not
// part of it: switching them keeps the counts.
func (c *Config) fingerprint(limits []store.Limit) string {
	return fmt.Sprintf("%s %v by %q v6 %d", c.Algorithm, limits, c.Key, c.IPv6Prefix)
}

// policy is the name clients see of a limit. A route's own name is nobody's
// business.
func (c *Config) policy(l store.Limit, alone bool) string {
	if c.Name != "" && alone {
		return c.Name
	}
	if c.Name != "" {
		return c.Name + "-" + exchange.ShortDuration(l.Window)
	}
	return fmt.Sprintf("%d-per-%s-by-%s", l.Requests, exchange.ShortDuration(l.Window), strings.Join(c.Key, "+"))
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
