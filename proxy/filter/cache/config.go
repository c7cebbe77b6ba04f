package cache

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
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

	ContentTypes []string `yaml:"content_types" listify:"true" doc:"store only these, as application/json; without it any"`
	Methods      []string `yaml:"methods" listify:"true" default:"[GET, HEAD]" enum:"GET,HEAD" doc:"which methods are answered from the cache; HEAD is answered from what GET stored"`
	Vary         []string `yaml:"vary" listify:"true" doc:"request fields that choose an answer, besides those the service names"`
	Name         string   `yaml:"name" doc:"cache filters of one name and the same settings share their answers across routes; without a name each route has its own"`

	Authorized string `yaml:"authorized" default:"shared" enum:"shared,private" doc:"an answer to a known user: shared lets others have it if the service says public, s-maxage or must-revalidate (RFC 9111 section 3.5); private never does"`
	PerUser    *bool  `yaml:"per_user" default:"true" doc:"keep answers that are not for everybody for the user (issuer, subject, roles, scope) and consumer they were made for, also those that only ttl makes fresh; false: do not store them"`
	Cookies    string `yaml:"cookies" default:"credential" enum:"credential,ignore" doc:"whether a Cookie says who is asking, as Authorization does"`

	StaleIfError    time.Duration  `yaml:"stale_if_error" min:"0s" doc:"how long past its freshness an answer is given when the service fails, unless it forbids that by must-revalidate"`
	MaxStale        *time.Duration `yaml:"max_stale" default:"1m" min:"0s" doc:"the most that a client's max-stale is heeded; 0: not at all"`
	CoalesceTimeout time.Duration  `yaml:"coalesce_timeout" default:"5s" min:"0s" doc:"how long concurrent requests for one missing answer wait for the first of them"`
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
	if c.MaxStale == nil {
		minute := time.Minute
		c.MaxStale = &minute
	}
	if c.CoalesceTimeout == 0 {
		c.CoalesceTimeout = 5 * time.Second
	}
}

// shared is what outlives the table.
type shared struct {
	responses *store.Responses[*answer]
	flights   *store.Flights
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
	print := fmt.Sprintf("%d %d %v %v %v %q %q %s %v %s", conf.MaxBytes, conf.MaxObject, conf.TTL, conf.Override,
		conf.Statuses, conf.ContentTypes, conf.Vary, conf.Authorized, perUser, conf.Cookies)
	s, err := store.Use(env.Store, name, print, func() (*shared, error) {
		return &shared{store.NewResponses[*answer](conf.MaxBytes, conf.MaxObject), store.NewFlights()}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	f := &cache{
		Config: conf, responses: s.responses, flights: s.flights, now: time.Now,
		get: slices.Contains(conf.Methods, http.MethodGet), head: slices.Contains(conf.Methods, http.MethodHead),
		cookies: conf.Cookies == "credential", perUser: perUser, share: conf.Authorized == "shared",
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
	for i, v := range c.Vary {
		if v == "" || strings.ContainsAny(v, " \t,*:\"") {
			return filter.Errorf(fmt.Sprintf("vary[%d]", i), "found %q, want the name of a request field", v)
		}
	}
	if c.Authorized != "shared" && c.Authorized != "private" {
		return filter.Errorf("authorized", "found %q, want shared or private", c.Authorized)
	}
	if c.Cookies != "credential" && c.Cookies != "ignore" {
		return filter.Errorf("cookies", "found %q, want credential or ignore", c.Cookies)
	}
	if c.Override && c.TTL == 0 {
		return filter.Errorf("override", "found true without a ttl: set ttl to what is to count instead")
	}
	for key, d := range map[string]time.Duration{"ttl": c.TTL, "stale_if_error": c.StaleIfError, "max_stale": *c.MaxStale, "coalesce_timeout": c.CoalesceTimeout} {
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
	if f.StaleIfError > 0 {
		s += fmt.Sprintf(", stale if error %v", f.StaleIfError)
	}
	return s + ", known users " + f.Authorized
}
