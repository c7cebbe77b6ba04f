package ratelimit

import (
	"fmt"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// Concurrency is the concurrency section of a route.
type Concurrency struct {
	InFlight   int           `yaml:"in_flight" required:"true" min:"1" doc:"requests in progress at once; an answer's body, a stream and a WebSocket count until their end"`
	Key        []string      `yaml:"key" listify:"true" default:"address" doc:"whom to count, as of rate_limit; route alone is one count for all"`
	Status     int           `yaml:"status" enum:"429,503" default:"429" doc:"what a request beyond is refused with: 429 says that the client does too much, 503 that the service is full"`
	RetryAfter time.Duration `yaml:"retry_after" default:"1s" min:"0s" doc:"what it is told to wait; 0s: nothing"`
	IPv6Prefix int           `yaml:"ipv6_prefix" default:"64" min:"32" max:"128" doc:"IPv6 addresses that agree in this many bits are one client"`
	Name       string        `yaml:"name" doc:"concurrency filters of one name and the same key share their counts across routes; without a name each route counts for itself"`
}

// ConcurrencyKind describes the filter to the registry.
func ConcurrencyKind() filter.Kind {
	return filter.Define("concurrency", "lets each client have so many requests in progress at once; counted in this process", buildConcurrency)
}

func buildConcurrency(c *Concurrency, env *filter.Env) (any, error) {
	conf := *c
	if len(conf.Key) == 0 {
		conf.Key = []string{"address"}
	}
	if conf.Status == 0 {
		conf.Status = 429
	}
	if conf.IPv6Prefix == 0 {
		conf.IPv6Prefix = 64
	}
	if conf.InFlight < 1 {
		return nil, filter.Errorf("in_flight", "found %d, want at least 1", conf.InFlight)
	}
	if !nameable(conf.Name) {
		return nil, filter.Errorf("name", "found %q, want at most 64 letters, digits or any of . _ : / -", conf.Name)
	}
	parts, err := parseParts(conf.Key)
	if err != nil {
		return nil, err
	}
	name := "concurrency/route:" + env.Route
	if conf.Name != "" {
		name = "concurrency/name:" + conf.Name
	}
	// The number is not part of it: another one counts on from where this is.
	counts, err := store.Use(env.Store, name, fmt.Sprintf("by %q v6 %d", conf.Key, conf.IPv6Prefix), func() (*store.InFlight, error) {
		return store.NewInFlight(), nil
	})
	if err != nil {
		return nil, filter.Errorf("", "%v", err)
	}
	return &concurrency{Concurrency: conf, counts: counts, parts: parts}, nil
}

type concurrency struct {
	Concurrency
	counts *store.InFlight
	parts  []part
}

// OnRequest takes a place, which Done gives back.
func (f *concurrency) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Shadow {
		x.NotAsked("how many are in progress")
		return filter.Next
	}
	var room [256]byte
	held := f.counts.Enter(keyed(room[:0], f.parts, x, f.IPv6Prefix), f.InFlight)
	if held != nil {
		x.Keep(held)
		return filter.Next
	}
	return filter.Refuse(&exchange.Fault{
		Source:     exchange.FromPolicy,
		Status:     f.Status,
		Code:       "too-many-in-flight",
		Title:      "Too many requests at once",
		Detail:     fmt.Sprintf("%d requests are in progress already", f.InFlight),
		RetryAfter: f.RetryAfter,
		Proxy:      "http_request_denied",
	})
}

// Done gives the place back, on every outcome.
func (f *concurrency) Done(x *exchange.Exchange) {
	if held, ok := x.Kept().(*store.Place); ok {
		x.Keep(nil)
		f.counts.Leave(held)
	}
}

// Explain says what is limited, in one line.
func (f *concurrency) Explain() string {
	return fmt.Sprintf("%d requests in progress, by %s; else %d", f.InFlight, strings.Join(f.Key, "+"), f.Status)
}
