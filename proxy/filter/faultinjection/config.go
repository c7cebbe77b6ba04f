package faultinjection

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/ipfilter"
	"lintel.dev/lintel/proxy/store"
)

// Config is the fault_injection section of a route.
type Config struct {
	Delay     *Delay   `yaml:"delay" doc:"requests that wait"`
	Abort     *Abort   `yaml:"abort" doc:"requests that are refused; one that is also delayed waits first"`
	Asked     *Asked   `yaml:"asked" doc:"who may ask for a fault of their own request, by X-Fault-Delay: 500ms and X-Fault-Abort: 503. Everybody else's such fields are taken off"`
	MaxActive int      `yaml:"max_active" default:"1000" min:"1" max:"100000" doc:"requests delayed at once; beyond, none is"`
	Methods   []string `yaml:"methods" listify:"true" doc:"only these; all when empty. Who may ask gets a fault with any"`
}

// Delay has requests wait.
type Delay struct {
	Time  time.Duration `yaml:"time" required:"true" min:"1ms" max:"1m" doc:"for how long"`
	Share float64       `yaml:"share" default:"1" min:"0" max:"1" doc:"part of the requests: 0.1 is every tenth, exactly"`
}

// Abort refuses requests.
type Abort struct {
	Status int     `yaml:"status" default:"503" min:"400" max:"599" doc:"status"`
	GRPC   int     `yaml:"grpc_status" default:"14" min:"1" max:"16" doc:"status for gRPC callers (14 is UNAVAILABLE)"`
	Share  float64 `yaml:"share" default:"1" min:"0" max:"1" doc:"part of the requests: 0.1 is every tenth, exactly"`
}

// Asked are those who may ask.
type Asked struct {
	Addresses []string      `yaml:"addresses" listify:"true" doc:"from these addresses and ranges" example:"[10.0.0.0/8]"`
	Key       string        `yaml:"key" unit:"secret" doc:"or with this in X-Fault-Key, 16 bytes or more"`
	MaxDelay  time.Duration `yaml:"max_delay" default:"10s" min:"1ms" max:"1m" doc:"what is asked beyond is cut to this"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("fault_injection", "delays and aborts requests on purpose, for tests: never leave it in production by accident", build)
}

// Counts are the faults of a route. They outlive tables.
type Counts struct {
	Route          string
	Delays, Aborts atomic.Uint64

	active atomic.Int64
}

const minKey = 16

func build(c *Config, env *filter.Env) (any, error) {
	f := &Filter{cfg: *c}
	if f.cfg.MaxActive == 0 {
		f.cfg.MaxActive = 1000
	}
	if c.Delay == nil && c.Abort == nil && c.Asked == nil {
		return nil, filter.Errorf("", "no fault is described: want delay, abort or asked")
	}
	if d := c.Delay; d != nil && (d.Time <= 0 || d.Time > time.Minute) {
		return nil, filter.Errorf("delay.time", "found %v, want 1ms to 1m", d.Time)
	}
	for i, m := range c.Methods {
		if m == "" || strings.ToUpper(m) != m {
			return nil, filter.Errorf(fmt.Sprintf("methods[%d]", i), "found %q, want a method's name, which are in capitals, as POST", m)
		}
	}
	if a := c.Asked; a != nil {
		if len(a.Addresses) == 0 && a.Key == "" {
			return nil, filter.Errorf("asked", "nobody may ask: want addresses or key")
		}
		if a.Key != "" && len(a.Key) < minKey {
			return nil, filter.Errorf("asked.key", "found %d bytes, want %d at least: who guesses it may fail requests", len(a.Key), minKey)
		}
		table, at, err := ipfilter.ParseTable(a.Addresses)
		if err != nil {
			return nil, filter.Errorf(fmt.Sprintf("asked.addresses[%d]", at), "%v", err)
		}
		f.from, f.digest = table, sha256.Sum256([]byte(a.Key))
	}
	var err error
	if f.counts, err = store.Use(env.Store, "faults/"+env.Route, "", func() (*Counts, error) {
		return &Counts{Route: env.Route}, nil
	}); err != nil {
		return nil, err
	}
	f.about = f.describe()
	if env.Log != nil {
		env.Log.Warn("fault_injection: requests of this route fail on purpose", "route", env.Route, "faults", f.about)
	}
	return f, nil
}

func (f *Filter) describe() string {
	var out []string
	if d := f.cfg.Delay; d != nil {
		out = append(out, fmt.Sprintf("delays %g%% by %v", 100*d.Share, d.Time))
	}
	if a := f.cfg.Abort; a != nil {
		out = append(out, fmt.Sprintf("aborts %g%% with %d", 100*a.Share, a.Status))
	}
	if f.cfg.Asked != nil {
		out = append(out, "and what allowed callers ask for")
	}
	return strings.Join(out, ", ")
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string { return f.about }
