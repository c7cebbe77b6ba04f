package compress

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/content"
	"lintel.dev/lintel/proxy/store"
)

// Config is the compress section of a route.
type Config struct {
	Codings      []string `yaml:"codings" listify:"true" enum:"zstd,br,gzip" default:"[zstd, br, gzip]" doc:"content codings to offer; of those a client likes equally well, the first"`
	Effort       string   `yaml:"effort" enum:"low,medium,high" default:"medium" doc:"how hard to try: gzip 4, 6 or 9; br 3, 4 or 6; zstd 1, 3 or 7"`
	MinSize      int64    `yaml:"min_size" unit:"bytes" default:"1KiB" min:"0" doc:"smaller answers go as they are; those of unknown length are taken for large"`
	ContentTypes []string `yaml:"content_types" listify:"true" default:"[text/*, application/json, application/*+json, application/javascript, application/xml, application/*+xml, application/wasm, application/yaml, application/graphql, image/svg+xml, font/ttf, font/otf]" doc:"media types to compress: a/b, a/*, a/*+json"`
	TakeOver     bool     `yaml:"take_over" doc:"ask the service for answers without coding, so that it leaves the work to Lintel"`
	Parallel     int      `yaml:"parallel" default:"0" min:"0" max:"1024" doc:"how many answers are worked on at once; 0: half of the cores, at least one. Filters of one number share it"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("compress", "sends answers as zstd, br or gzip, whichever the client likes best", build)
}

func (c *Config) fill() {
	if c.Codings == nil {
		c.Codings = []string{"zstd", "br", "gzip"}
	}
	if c.Effort == "" {
		c.Effort = "medium"
	}
	if c.ContentTypes == nil {
		c.ContentTypes = []string{"text/*", "application/json", "application/*+json"}
	}
	if c.Parallel == 0 {
		c.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
}

func build(c *Config, env *filter.Env) (any, error) {
	conf := *c
	conf.fill()
	f := &Filter{minSize: conf.MinSize, takeOver: conf.TakeOver}
	if len(conf.Codings) == 0 {
		return nil, filter.Errorf("codings", "found none, want at least one of zstd, br and gzip")
	}
	for i, name := range conf.Codings {
		if slices.Contains(conf.Codings[:i], name) {
			return nil, filter.Errorf(fmt.Sprintf("codings[%d]", i), "%s is given twice", name)
		}
		made, err := newCoding(name, conf.Effort)
		if err != nil {
			return nil, filter.Errorf(fmt.Sprintf("codings[%d]", i), "%v", err)
		}
		f.codings = append(f.codings, made)
	}
	var at int
	var err error
	if f.types, at, err = content.ParseTypes(conf.ContentTypes); err != nil {
		return nil, filter.Errorf(fmt.Sprintf("content_types[%d]", at), "%v", err)
	}
	f.slots, err = store.Use(env.Store, "compress/slots", strconv.Itoa(conf.Parallel), func() (slots, error) {
		return make(slots, conf.Parallel), nil
	})
	if err != nil {
		return nil, filter.Errorf("parallel", "%v", err)
	}
	f.about = fmt.Sprintf("%s, %s effort, from %d bytes, %d at once", strings.Join(conf.Codings, " "), conf.Effort, conf.MinSize, conf.Parallel)
	return f, nil
}
