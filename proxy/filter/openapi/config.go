package openapi

import (
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

// Config is the openapi section of a route.
type Config struct {
	Document     string        `yaml:"document" required:"true" doc:"file with an OpenAPI 3.0 or 3.1 document, YAML or JSON; it may refer to files in its folder and below, and to nothing else. Read when the configuration is loaded"`
	BasePath     string        `yaml:"base_path" doc:"what stands before the document's paths in what clients ask for; without it the path of its first server" example:"/api/v1"`
	UnknownPaths string        `yaml:"unknown_paths" enum:"refuse,pass" default:"refuse" doc:"paths that the document does not have: 404, or pass unchecked"`
	StrictQuery  bool          `yaml:"strict_query" doc:"refuse query parameters that the document does not have"`
	MaxBody      int64         `yaml:"max_body" unit:"bytes" default:"1MiB" min:"1" max:"64MiB" doc:"the largest body that is checked, held in memory meanwhile; 413 beyond. Bodies without a schema pass as they come"`
	Timeout      time.Duration `yaml:"timeout" default:"10s" min:"10ms" doc:"a body that is checked must arrive within"`
	Errors       int           `yaml:"errors" default:"10" min:"1" max:"100" doc:"how many things that are wrong are told at most"`
	Parallel     int           `yaml:"parallel" default:"0" min:"0" max:"1024" doc:"how many bodies are checked at once; 0: twice as many as there are cores. One that waits for a second is 503. Filters of one number share it"`
	Mode         string        `yaml:"mode" enum:"enforce,report" default:"enforce" doc:"report lets everything pass and writes what it would have refused to the log, one line a second at most"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("openapi", "checks requests against an OpenAPI document: path, query, header and body", build)
}

// Filter checks requests.
type Filter struct {
	api     *api
	strict  bool
	pass    bool // unknown paths
	report  bool
	max     int64
	timeout time.Duration
	errors  int
	slots   slots
	wait    time.Duration // for one of them
	log     *slog.Logger
	said    pace
	about   string
}

func build(c *Config, env *filter.Env) (any, error) {
	f := &Filter{wait: longestWait, strict: c.StrictQuery, pass: c.UnknownPaths == "pass", report: c.Mode == "report",
		max: c.MaxBody, timeout: c.Timeout, errors: c.Errors, log: env.Log}
	if f.max <= 0 {
		f.max = 1 << 20
	}
	if f.timeout <= 0 {
		f.timeout = 10 * time.Second
	}
	if f.errors <= 0 {
		f.errors = 10
	}
	parallel := c.Parallel
	if parallel <= 0 {
		parallel = 2 * runtime.GOMAXPROCS(0)
	}
	var err error
	f.slots, err = store.Use(env.Store, "openapi/slots", strconv.Itoa(parallel), func() (slots, error) {
		return make(slots, parallel), nil
	})
	if err != nil {
		return nil, filter.Errorf("parallel", "%v", err)
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.api, err = load(c.Document); err != nil {
		return nil, filter.Errorf("document", "%v", err)
	}
	if c.BasePath != "" {
		if f.api.base, err = cleanBase(c.BasePath); err != nil {
			return nil, filter.Errorf("base_path", "%v", err)
		}
	}
	f.about = fmt.Sprintf("%s, %d operations below %s/, %d bodies checked at once", c.Document, f.api.operations, f.api.base, parallel)
	if f.report {
		f.about += ", report only"
	}
	return f, nil
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string { return f.about }
