package cache

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// Config is the cache section of a route.
type Config struct {
	MaxBytes  int64 `yaml:"max_bytes" default:"64MiB" unit:"bytes" min:"1" doc:"memory for the answers of one name, overhead included"`
	MaxObject int64 `yaml:"max_object" unit:"bytes" min:"0" doc:"the largest body stored, at most a quarter of max_bytes; without it 1MiB, or that quarter if it is less"`

	TTL      time.Duration `yaml:"ttl" min:"0s" doc:"how long an answer is fresh when the service does not say; 0: it is not stored then"`
	Override bool          `yaml:"override" doc:"let ttl count also when the service says how long; private, no-store, no-cache and Set-Cookie still count"`
	Statuses []int         `yaml:"statuses" doc:"which statuses are stored. Without it: those that HTTP lets be stored, and only 200 when nothing but ttl says how long"`

	Heuristic time.Duration `yaml:"heuristic" min:"0s" doc:"when nothing says how long: fresh for a tenth of how old its Last-Modified is, and at most for this long (RFC 9111 section 4.2.2); 0: off. Counts before ttl"`

	Targets []string `yaml:"targets" listify:"true" default:"[Lintel-Cache-Control]" doc:"targeted fields (RFC 9213), the first counting most, that a service can say in place of Cache-Control what holds for this cache; add CDN-Cache-Control where no content network stands in front"`

	ContentTypes []string `yaml:"content_types" listify:"true" doc:"store only these, as application/json; without it any"`
	Methods      []string `yaml:"methods" listify:"true" default:"[GET, HEAD]" enum:"GET,HEAD" doc:"which methods are answered from the cache; HEAD is answered from what GET stored"`
	Vary         []string `yaml:"vary" listify:"true" doc:"request fields that choose an answer, besides those the service names"`
	IgnoreQuery  []string `yaml:"ignore_query" listify:"true" doc:"query parameters that do not choose an answer, as utm_*; the service must not use them in it"`
	Name         string   `yaml:"name" doc:"cache filters of one name and the same settings share their answers across routes; without a name each route has its own"`

	Authorized string `yaml:"authorized" default:"shared" enum:"shared,private" doc:"an answer to a known user: shared lets others have it if the service says public, s-maxage or must-revalidate (RFC 9111 section 3.5); private never does"`
	PerUser    *bool  `yaml:"per_user" default:"true" doc:"keep answers that are not for everybody for the user (issuer, subject, roles, scope) and consumer they were made for, also those that only ttl makes fresh; false: do not store them"`
	Cookies    string `yaml:"cookies" default:"credential" enum:"credential,ignore" doc:"whether a Cookie says who is asking, as Authorization does"`

	StaleIfError         time.Duration  `yaml:"stale_if_error" min:"0s" doc:"how long past its freshness an answer is given when the service fails and does not say itself (stale-if-error, RFC 5861); must-revalidate, proxy-revalidate and s-maxage forbid it"`
	StaleWhileRevalidate time.Duration  `yaml:"stale_while_revalidate" min:"0s" doc:"how long past its freshness an answer is given at once and renewed in the background, when the service does not say itself (stale-while-revalidate, RFC 5861); forbidden by the same"`
	MaxStale             *time.Duration `yaml:"max_stale" default:"1m" min:"0s" doc:"the most that a client's max-stale and stale-if-error are heeded; 0: not at all"`
	ClientControl        string         `yaml:"client_control" default:"honour" enum:"honour,ignore" doc:"whether a client's Cache-Control counts; ignore: no client can make the service be asked"`
	CoalesceTimeout      time.Duration  `yaml:"coalesce_timeout" default:"5s" min:"0s" doc:"how long concurrent requests for one missing answer wait for the first of them"`

	Shared *Shared `yaml:"shared" doc:"share answers with other instances through Redis: memory is asked first, then Redis, then the service. Without it each instance has its own"`

	Tags     []string `yaml:"tags" listify:"true" default:"[Surrogate-Key, Cache-Tag]" doc:"answer fields that list tags to purge by, separated by spaces or commas"`
	KeepTags bool     `yaml:"keep_tags" doc:"let those fields pass on to clients, as to a cache in front"`
	ShowKey  bool     `yaml:"show_key" doc:"tell in Cache-Status by which URL an answer is kept (key, RFC 9211 section 2.8)"`
}

// Shared is a second tier of a cache, which all instances with the same name and
// settings have in common.
type Shared struct {
	Redis     string        `yaml:"redis" default:"default" doc:"which connection of the section redis"`
	Timeout   time.Duration `yaml:"timeout" default:"20ms" min:"1ms" max:"1s" doc:"the most that a request which memory cannot answer waits for Redis; no longer than the connection's own timeout. After that, or an error, Redis is not asked for a second"`
	MaxObject int64         `yaml:"max_object" default:"256KiB" unit:"bytes" min:"1" max:"16777216" doc:"the largest body kept in Redis; larger ones stay in memory. Others that use the connection wait while such a one is moved"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("cache", "keeps answers in memory and gives them again as RFC 9111 allows", build)
}

// understood are the statuses stored without a list (RFC 9110 section 15.1,
// without 206 and those a user would not expect).
var understood = []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501}

func (c *Config) fill() {
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.MaxObject == 0 {
		c.MaxObject = min(1<<20, c.MaxBytes/4)
	}
	if len(c.Methods) == 0 {
		c.Methods = []string{http.MethodGet, http.MethodHead}
	}
	if c.Authorized == "" {
		c.Authorized = "shared"
	}
	if c.Cookies == "" {
		c.Cookies = "credential"
	}
	if c.Targets == nil {
		c.Targets = []string{"Lintel-Cache-Control"}
	}
	if c.Tags == nil {
		c.Tags = []string{"Surrogate-Key", "Cache-Tag"}
	}
	if c.ClientControl == "" {
		c.ClientControl = "honour"
	}
	if c.MaxStale == nil {
		minute := time.Minute
		c.MaxStale = &minute
	}
	if c.Shared != nil {
		c.Shared = c.Shared.filled()
	}
	if c.CoalesceTimeout == 0 {
		c.CoalesceTimeout = 5 * time.Second
	}
}

func (s Shared) filled() *Shared {
	if s.Redis == "" {
		s.Redis = "default"
	}
	if s.Timeout == 0 {
		s.Timeout = 20 * time.Millisecond
	}
	if s.MaxObject == 0 {
		s.MaxObject = 256 << 10
	}
	return &s
}

// shared is what outlives the table.
type shared struct {
	responses *store.Responses[*answer]
	flights   *store.Flights
	maxBytes  int64
	ignore    []string // query parameters

	misses, stored, stale, renewed, failed, purged atomic.Int64
}

func build(c *Config, env *filter.Env) (any, error) {
	conf := *c
	conf.fill()
	if err := conf.check(); err != nil {
		return nil, err
	}
	perUser := conf.PerUser == nil || *conf.PerUser
	name := "cache/name:" + conf.Name
	if conf.Name == "" {
		name = "cache/route:" + env.Route
	}
	// Whatever decides what is stored and for whom; times of serving are not
	// part of it and change without emptying the cache.
	says := fmt.Sprintf("%v %v %v %q %q %s %v %s %v %q %q %q %v", conf.TTL, conf.Override,
		conf.Statuses, conf.ContentTypes, conf.Vary, conf.Authorized, perUser, conf.Cookies,
		conf.Heuristic, conf.Targets, conf.IgnoreQuery, conf.Tags, conf.KeepTags)
	print := fmt.Sprintf("%d %d %s", conf.MaxBytes, conf.MaxObject, says)
	if conf.Shared != nil { // else a route that shares and one that does not would forget apart
		print += " redis " + conf.Shared.Redis
	}
	s, err := store.Use(env.Store, name, print, func() (*shared, error) {
		return &shared{responses: store.NewResponses[*answer](conf.MaxBytes, conf.MaxObject), flights: store.NewFlights(),
			maxBytes: conf.MaxBytes, ignore: conf.IgnoreQuery}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	f := &cache{
		Config: conf, shared: s, now: time.Now,
		get: slices.Contains(conf.Methods, http.MethodGet), head: slices.Contains(conf.Methods, http.MethodHead),
		cookies: conf.Cookies == "credential", perUser: perUser, share: conf.Authorized == "shared",
	}
	if f.tier, err = openTier(env, conf.Shared, s, name, says, print); err != nil {
		return nil, err
	}
	return f, nil
}

func (c *Config) check() error {
	if c.MaxBytes < 64<<10 {
		return filter.Errorf("max_bytes", "found %d, want at least 65536", c.MaxBytes)
	}
	if c.MaxObject < 0 || c.MaxObject > c.MaxBytes/4 {
		return filter.Errorf("max_object", "found %d, want at most a quarter of max_bytes, %d", c.MaxObject, c.MaxBytes/4)
	}
	for i, m := range c.Methods {
		if m != http.MethodGet && m != http.MethodHead {
			return filter.Errorf(fmt.Sprintf("methods[%d]", i), "found %q, want GET or HEAD", m)
		}
	}
	for i, s := range c.Statuses {
		if s < 200 || s > 599 || s == http.StatusPartialContent || s == http.StatusNotModified {
			return filter.Errorf(fmt.Sprintf("statuses[%d]", i), "found %d, want 200 to 599 but neither 206 nor 304", s)
		}
	}
	for key, names := range map[string][]string{"vary": c.Vary, "targets": c.Targets, "tags": c.Tags} {
		for i, v := range names {
			if !token(v) || v == "*" {
				return filter.Errorf(fmt.Sprintf("%s[%d]", key, i), "found %q, want the name of a field", v)
			}
		}
	}
	for i, n := range c.IgnoreQuery {
		if n == "" || n == "*" || strings.ContainsAny(n, "&=?# ") || strings.Contains(strings.TrimSuffix(n, "*"), "*") {
			return filter.Errorf(fmt.Sprintf("ignore_query[%d]", i), "found %q, want a parameter's name or its beginning and *, as utm_*", n)
		}
	}
	if c.ClientControl != "honour" && c.ClientControl != "ignore" {
		return filter.Errorf("client_control", "found %q, want honour or ignore", c.ClientControl)
	}
	if c.Authorized != "shared" && c.Authorized != "private" {
		return filter.Errorf("authorized", "found %q, want shared or private", c.Authorized)
	}
	if c.Cookies != "credential" && c.Cookies != "ignore" {
		return filter.Errorf("cookies", "found %q, want credential or ignore", c.Cookies)
	}
	if s := c.Shared; s != nil && (s.Timeout < time.Millisecond || s.Timeout > time.Second) {
		return filter.Errorf("shared.timeout", "found %v, want 1ms to 1s: it is what every miss may cost while Redis is slow", s.Timeout)
	}
	if s := c.Shared; s != nil && (s.MaxObject < 1 || s.MaxObject > 16<<20) {
		return filter.Errorf("shared.max_object", "found %d, want 1 to 16MiB", s.MaxObject)
	}
	if c.Override && c.TTL == 0 {
		return filter.Errorf("override", "found true without a ttl: set ttl to what is to count instead")
	}
	for key, d := range map[string]time.Duration{"ttl": c.TTL, "heuristic": c.Heuristic, "stale_if_error": c.StaleIfError,
		"stale_while_revalidate": c.StaleWhileRevalidate, "max_stale": *c.MaxStale, "coalesce_timeout": c.CoalesceTimeout} {
		if d < 0 {
			return filter.Errorf(key, "found %v, want 0 or more", d)
		}
	}
	return nil
}

// Explain says what is kept, in one line.
func (f *cache) Explain() string {
	s := fmt.Sprintf("%d bytes, bodies up to %d", f.MaxBytes, f.MaxObject)
	if f.TTL > 0 {
		s += fmt.Sprintf(", ttl %v", f.TTL)
		if f.Override {
			s += " whatever the service says"
		}
	}
	if f.Heuristic > 0 {
		s += fmt.Sprintf(", heuristic up to %v", f.Heuristic)
	}
	if f.StaleWhileRevalidate > 0 {
		s += fmt.Sprintf(", stale while revalidated %v", f.StaleWhileRevalidate)
	}
	if f.StaleIfError > 0 {
		s += fmt.Sprintf(", stale if error %v", f.StaleIfError)
	}
	if f.Shared != nil {
		s += ", shared through redis " + f.Shared.Redis
	}
	return s + ", known users " + f.Authorized
}
