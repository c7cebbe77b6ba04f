package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Snippet is a piece of configuration that stands elsewhere than in the file, in
// a key of Consul's KV store say. It may hold routes, services, policies and
// consumers, and refers neither to the environment nor to secrets' files: who
// may write it need not be trusted with what this machine holds.
type Snippet struct {
	Name string // what errors call it
	Text string
}

// snippet is what one may hold.
type snippet struct {
	Version   int                 `yaml:"version" default:"1" min:"1" max:"1" doc:"Version of this format."`
	Routes    []Route             `yaml:"routes" doc:"As in the file, after whose routes they stand."`
	Services  map[string]Service  `yaml:"services" doc:"As in the file."`
	Policies  map[string][]Filter `yaml:"policies" doc:"As in the file."`
	Consumers map[string]Consumer `yaml:"consumers" doc:"As in the file."`
}

// part is a snippet within a merged snapshot.
type part struct {
	doc   *document
	route int // where its routes begin
}

// Merge adds snippets to a snapshot, which stays as it is. What two places
// define is an error that names both.
func Merge(s *Snapshot, snippets []Snippet) (*Snapshot, error) {
	m := *s
	m.Routes, m.parts = slices.Clip(slices.Clone(s.Routes)), nil
	m.Services, m.Policies, m.Consumers = cloned(s.Services), cloned(s.Policies), cloned(s.Consumers)
	routes := map[string]string{}
	for i, r := range s.Routes {
		routes[r.Name] = s.Pos(itemPath("routes", i))
	}
	var errs []error
	for _, one := range snippets {
		var add snippet
		doc := &document{name: one.Name, source: strings.TrimPrefix(one.Text, "\ufeff"), sealed: true}
		d := &decoder{collector: &collector{doc: doc}}
		doc.root = parseYAML(d.collector)
		d.value(doc.root, reflect.ValueOf(&add).Elem(), rules{}, "")
		if err := d.err(); err != nil {
			errs = append(errs, err)
			continue
		}
		for i, r := range add.Routes {
			at := doc.pos(doc.root, itemPath("routes", i))
			if before, dup := routes[r.Name]; dup {
				errs = append(errs, fmt.Errorf("%s: route %s is defined at %s too", at, r.Name, before))
			}
			routes[r.Name] = at
		}
		before := m // where what is there already stands
		errs = append(errs, join("services", "service", m.Services, add.Services, before.Pos, doc)...)
		errs = append(errs, join("policies", "policy", m.Policies, add.Policies, before.Pos, doc)...)
		errs = append(errs, join("consumers", "consumer", m.Consumers, add.Consumers, before.Pos, doc)...)
		m.parts = append(slices.Clip(m.parts), part{doc, len(m.Routes)})
		m.Routes = append(m.Routes, add.Routes...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &m, nil
}

func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

func join[V any](key, what string, into, from map[string]V, pos func(string) string, doc *document) []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(from)) {
		at := keyPath(key, name)
		if _, dup := into[name]; dup {
			errs = append(errs, fmt.Errorf("%s: %s %s is defined at %s too", doc.pos(doc.root, at), what, name, pos(at)))
			continue
		}
		into[name] = from[name]
	}
	return errs
}

// place finds the snippet that the value at path stands in, and its path there.
// Nil is the file.
func (o origin) place(path string) (*document, string) {
	if index, rest, ok := routeIndex(path); ok {
		for _, p := range slices.Backward(o.parts) {
			if index >= p.route {
				return p.doc, itemPath("routes", index-p.route) + rest
			}
		}
		return nil, path
	}
	for _, key := range [...]string{"services", "policies", "consumers"} {
		rest, ok := strings.CutPrefix(path, key)
		if !ok || rest == "" {
			continue
		}
		for _, p := range o.parts {
			e := p.doc.root.get(key)
			if e == nil || e.value == nil || e.value.kind != mapNode {
				continue
			}
			if f, _ := e.value.entryAt(strings.TrimPrefix(rest, ".")); f != nil {
				return p.doc, path
			}
		}
	}
	return nil, path
}

// routeIndex takes "routes[12].service" apart.
func routeIndex(path string) (index int, rest string, ok bool) {
	s, ok := strings.CutPrefix(path, "routes[")
	if !ok {
		return 0, "", false
	}
	number, rest, ok := strings.Cut(s, "]")
	index, err := strconv.Atoi(number)
	return index, rest, ok && err == nil
}

// Digest tells configurations apart: of the file's text and of all snippets,
// before anything is expanded.
func (o origin) Digest() string {
	h := sha256.New()
	write := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	if o.doc != nil {
		write(o.doc.source)
	}
	for _, p := range o.parts {
		write(p.doc.name)
		write(p.doc.source)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
