package transform

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/headers"
	"lintel.dev/lintel/proxy/filter/template"
)

// Config is the transform section of a route.
type Config struct {
	Request  Request  `yaml:"request" doc:"changes to what the service receives"`
	Response Response `yaml:"response" doc:"changes to what the client receives"`
}

// Request is what is changed of a request.
type Request struct {
	Path    string         `yaml:"path" doc:"new path; each placeholder is one segment, or a part of one, with everything else encoded, and {param:rest} is what a /* matched. A request without a value for one is refused. strip_prefix of the route applies to the new path, and rewrite.path replaces it" example:"/tenants/{claim:tenant}/{param:rest}"`
	Query   Query          `yaml:"query" doc:"changes to the query"`
	Headers headers.Change `yaml:"headers" doc:"changes to the header"`
}

// Response is what is changed of an answer.
type Response struct {
	Headers headers.Change `yaml:"headers" doc:"changes to the header"`
}

// Query is applied in this order: keep, remove, rename, set, add.
type Query struct {
	Keep   []string          `yaml:"keep" listify:"true" doc:"the only parameters that stay; without it all do"`
	Remove []string          `yaml:"remove" listify:"true" doc:"parameters of which every occurrence is removed"`
	Rename map[string]string `yaml:"rename" doc:"parameter to new name; what had the new name goes if there is one to rename"`
	Set    map[string]string `yaml:"set" doc:"parameter to value, in place of any of that name; with placeholders, of which none has a value, it is removed"`
	Add    map[string]string `yaml:"add" doc:"parameter to value, besides any of that name"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("transform", "changes path, query and header of a request and the header of its answer, with values of the path, the query, the header and the verified token", build)
}

func build(c *Config, _ *filter.Env) (any, error) {
	f := &Filter{}
	var err error
	if f.request, err = headers.Compile("request.headers", &c.Request.Headers, true); err != nil {
		return nil, err
	}
	if f.response, err = headers.Compile("response.headers", &c.Response.Headers, false); err != nil {
		return nil, err
	}
	if f.query, err = compileQuery(&c.Request.Query); err != nil {
		return nil, err
	}
	if c.Request.Path != "" {
		if f.path, err = compilePath(c.Request.Path); err != nil {
			return nil, filter.Errorf("request.path", "%s", err)
		}
		f.about = "path " + c.Request.Path
	}
	return f, nil
}

// compilePath checks the literal parts: placeholders encode theirs themselves.
func compilePath(s string) (*template.Template, error) {
	if s[0] != '/' {
		return nil, fmt.Errorf("%q must begin with a slash", s)
	}
	t, err := template.Parse(s)
	if err != nil {
		return nil, err
	}
	bare := s
	for open := strings.IndexByte(bare, '{'); open >= 0; open = strings.IndexByte(bare, '{') {
		end := strings.IndexByte(bare[open:], '}')
		if end < 0 {
			return nil, fmt.Errorf("unclosed { in %q", s)
		}
		bare = bare[:open] + "x" + bare[open+end+1:]
	}
	for i := 0; i < len(bare); i++ {
		c := bare[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`?#"<>\^{|}`+"`;", c) >= 0 {
			return nil, fmt.Errorf("%q holds %q, which no path does: encode it, or change the query by query", s, c)
		}
		if c == '%' && (i+2 >= len(bare) || !hexDigit(bare[i+1]) || !hexDigit(bare[i+2])) {
			return nil, fmt.Errorf("%q has a broken percent-encoding", s)
		}
	}
	if !normal(bare) {
		return nil, fmt.Errorf("%q has an empty or dot segment", s)
	}
	return t, nil
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// normal reports whether no segment of the path is empty, the last aside, "." or
// "..": in such a path every segment stays where the template has it.
func normal(path string) bool {
	for rest := path[1:]; ; {
		seg, after, more := strings.Cut(rest, "/")
		if seg == "." || seg == ".." || seg == "" && more {
			return false
		}
		if !more {
			return true
		}
		rest = after
	}
}

func compileQuery(c *Query) (*query, error) {
	q := &query{keep: c.Keep, remove: c.Remove, all: c.Keep == nil}
	for _, list := range []struct {
		key   string
		names []string
	}{{"keep", c.Keep}, {"remove", c.Remove}} {
		for i, n := range list.names {
			if n == "" {
				return nil, filter.Errorf(fmt.Sprintf("request.query.%s[%d]", list.key, i), "found nothing, want a parameter's name")
			}
		}
	}
	for _, from := range slices.Sorted(maps.Keys(c.Rename)) {
		if to := c.Rename[from]; to == "" || from == to {
			return nil, filter.Errorf("request.query.rename."+from, "found %q, want another name", to)
		}
		q.rename = append(q.rename, [2]string{from, c.Rename[from]})
	}
	var err error
	if q.set, err = parameters("request.query.set", c.Set); err != nil {
		return nil, err
	}
	q.add, err = parameters("request.query.add", c.Add)
	return q, err
}

// parameters are sorted by name, so that a table behaves the same every time.
func parameters(path string, m map[string]string) ([]parameter, error) {
	var out []parameter
	for _, name := range slices.Sorted(maps.Keys(m)) {
		t, err := template.Parse(m[name])
		if err != nil {
			return nil, filter.Errorf(path+"."+name, "%s", err)
		}
		_, fixed := t.Static()
		out = append(out, parameter{name, t, fixed})
	}
	return out, nil
}
