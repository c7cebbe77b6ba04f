package jsonbody

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/template"
)

// Config is the json_body section of a route.
type Config struct {
	Request   Edits         `yaml:"request" doc:"edits to what the service receives"`
	Response  Edits         `yaml:"response" doc:"edits to what the client receives; the service is asked for answers without coding and for the whole"`
	MaxSize   int64         `yaml:"max_size" unit:"bytes" default:"1MiB" min:"1" max:"64MiB" doc:"the largest body that is edited; it is held in memory meanwhile"`
	Otherwise string        `yaml:"otherwise" enum:"refuse,pass" default:"refuse" doc:"what becomes of JSON that cannot be edited because it is too large, malformed, encoded or a part: refuse answers 400, 413, 415 or 502; pass leaves it as it is"`
	Timeout   time.Duration `yaml:"timeout" default:"10s" min:"10ms" doc:"the whole of a body must arrive within"`
}

// Edits are made in this order: drop, pick, rename, set, wrap. A path names a
// member, as id or address.city; lists are looked into, so it means that
// member of each element. A dot in a name is written \.
type Edits struct {
	Drop   []string          `yaml:"drop" listify:"true" doc:"members to remove" example:"[password, address.geo]"`
	Pick   []string          `yaml:"pick" listify:"true" doc:"the only members that stay" example:"[id, name, address.city]"`
	Rename map[string]string `yaml:"rename" doc:"path to the member's new name"`
	Set    map[string]any    `yaml:"set" doc:"path to a value of any kind, in place of what is there; text may hold placeholders as {claim:sub}, and a member of which none has a value is removed"`
	Wrap   string            `yaml:"wrap" doc:"the body becomes the one member of that name of a new object" example:"data"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("json_body", "edits JSON bodies: picks, drops, renames, sets and wraps members", build)
}

func build(c *Config, _ *filter.Env) (any, error) {
	f := &Filter{max: c.MaxSize, pass: c.Otherwise == "pass", timeout: c.Timeout}
	if f.max <= 0 {
		f.max = 1 << 20
	}
	if f.timeout <= 0 {
		f.timeout = 10 * time.Second
	}
	var err error
	if f.request, err = compile("request", &c.Request); err != nil {
		return nil, err
	}
	if f.response, err = compile("response", &c.Response); err != nil {
		return nil, err
	}
	if f.request == nil && f.response == nil {
		return nil, filter.Errorf("", "nothing is edited: want at least one of drop, pick, rename, set and wrap, for request or response")
	}
	return f, nil
}

// compile returns nil when there is nothing to do.
func compile(dir string, e *Edits) (*edits, error) {
	out := &edits{}
	for _, list := range []struct {
		key   string
		paths []string
		mark  func(*node)
	}{{"drop", e.Drop, func(n *node) { n.drop = true }}, {"pick", e.Pick, func(n *node) { n.pick = true }}} {
		for i, p := range list.paths {
			n, err := out.at(&out.keep, p)
			if err != nil {
				return nil, filter.Errorf(fmt.Sprintf("%s.%s[%d]", dir, list.key, i), "%v", err)
			}
			list.mark(n)
		}
	}
	if e.Pick != nil && len(e.Pick) == 0 {
		return nil, filter.Errorf(dir+".pick", "found no paths, which would leave nothing")
	}
	out.keep.settle()
	for _, p := range slices.Sorted(maps.Keys(e.Rename)) {
		err := out.renamed(p, e.Rename[p])
		if err == nil && e.Rename[p] == "" {
			err = fmt.Errorf("found no new name for %s", p)
		}
		if err != nil {
			return nil, filter.Errorf(dir+".rename."+p, "%v", err)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(e.Set)) {
		n, err := out.at(&out.set, p)
		if err == nil {
			n.value, err = valueOf(e.Set[p])
		}
		if err != nil {
			return nil, filter.Errorf(dir+".set."+p, "%v", err)
		}
		out.personal = out.personal || n.value.text != nil
	}
	if err := out.set.overlaps(); err != nil {
		return nil, filter.Errorf(dir+".set", "%v", err)
	}
	if e.Wrap != "" {
		out.wrap = quoted(e.Wrap)
	}
	out.about = e.explain()
	if out.about == "" {
		return nil, nil
	}
	return out, nil
}

// valueOf takes text with placeholders as a template, and everything else as
// JSON.
func valueOf(v any) (*value, error) {
	if s, ok := v.(string); ok && strings.Contains(s, "{") {
		t, err := template.Parse(s)
		if err != nil {
			return nil, err
		}
		text, fixed := t.Static()
		if !fixed {
			return &value{text: t}, nil
		}
		v = text
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("found a value that JSON does not have: %w", err)
	}
	return &value{json: bytes.TrimRight(b.Bytes(), "\n")}, nil
}

func quoted(s string) []byte {
	b, _ := json.Marshal(s) // a string always can be
	return b
}

func (e *Edits) explain() string {
	var parts []string
	if len(e.Drop) > 0 {
		parts = append(parts, "drop "+strings.Join(e.Drop, " "))
	}
	if len(e.Pick) > 0 {
		parts = append(parts, "pick "+strings.Join(e.Pick, " "))
	}
	for _, p := range slices.Sorted(maps.Keys(e.Rename)) {
		parts = append(parts, "rename "+p+" to "+e.Rename[p])
	}
	for _, p := range slices.Sorted(maps.Keys(e.Set)) {
		parts = append(parts, "set "+p)
	}
	if e.Wrap != "" {
		parts = append(parts, "wrap in "+e.Wrap)
	}
	return strings.Join(parts, ", ")
}
