package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("s.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON reads YAML as an editor with the schema would.
func asJSON(t *testing.T, text string) any {
	t.Helper()
	n := parseTag(text)
	if n == nil {
		t.Fatalf("%q is no YAML", text)
	}
	return jsonOf(n)
}

func jsonOf(n *node) any {
	switch n.kind {
	case mapNode:
		out := map[string]any{}
		for _, e := range n.entries {
			out[e.key] = jsonOf(e.value)
		}
		return out
	case listNode:
		out := []any{}
		for _, i := range n.items {
			out = append(out, jsonOf(i))
		}
		return out
	case nullNode:
		return nil
	}
	if n.style == quoted {
		return n.text
	}
	return infer(n.text)
}

// TestSchemaAgreesWithParse: what one accepts, so does the other. (Ranges of
// durations and sizes, Validate and unset variables are Parse's alone.)
func TestSchemaAgreesWithParse(t *testing.T) {
	t.Setenv("PORT", "8")
	filters, docs := sampleFilters()
	text, err := schemaOf(reflect.TypeFor[sample](), filters, docs)
	if err != nil {
		t.Fatal(err)
	}
	schema := compileSchema(t, text)
	for in, want := range map[string]bool{
		"{}":                               false,
		"name: ''":                         false,
		"name: A":                          false,
		"mode: fast":                       true,
		"mode: slow":                       false,
		"mode: ${MODE:-fast}":              true,
		"mode:":                            false,
		"on: true":                         true,
		"on: 1":                            false,
		"on: 'true'":                       false,
		"on: ${ON:-true}":                  true,
		"count: 5":                         true,
		"count: '5'":                       false,
		"count: 11":                        false,
		"count: ${PORT}":                   true,
		"count: 2.5":                       false,
		"unsigned: -1":                     false,
		"code: 301":                        true,
		"code: 303":                        false,
		"ratio: 0.5":                       true,
		"ratio: 1":                         true,
		"ratio: 2":                         false,
		"wait: 1h":                         true,
		"wait: 1m30s":                      true,
		"wait: 5":                          false,
		"wait: soon":                       false,
		"wait: 5 s":                        false,
		"wait: -5s":                        false,
		"shift: -5s":                       true,
		"plain: 0":                         true,
		"size: 64KiB":                      true,
		"size: 10 KB":                      true,
		"size: 2048":                       true,
		"size: 1.5KiB":                     false,
		"size: 64kib":                      false,
		"secret: x":                        true,
		"secret: [x]":                      false,
		"secrets: [x, 5]":                  true,
		"tags: a":                          true,
		"tags: [a, 1, true]":               true,
		"tags: {a: b}":                     false,
		"tags: [[a]]":                      false,
		"tags: [~]":                        false,
		"list: [1, 2]":                     true,
		"list: 1":                          false,
		"list: [6]":                        false,
		"list:":                            true,
		"words: [503, a]":                  true,
		"words: [504]":                     false,
		"labels: {a: 1}":                   true,
		"labels: {a: [1]}":                 false,
		"labels: []":                       false,
		"labels:":                          true,
		"nested: {deep: 1}":                true,
		"nested: {depp: 1}":                false,
		"nested: x":                        false,
		"nested:":                          false,
		"optional:":                        false,
		"optional: {}":                     true,
		"by_name: {a: {}}":                 true,
		"by_name: {a: 5}":                  false,
		"short: a":                         true,
		"short: [a, b]":                    true,
		"short: {tls: true}":               true,
		"short: {tsl: true}":               false,
		"also: /x":                         true,
		"also: [x]":                        false,
		"addrs: ::1":                       true,
		"addrs: [::1]":                     true,
		"addrs: {}":                        false,
		"prefix: 5":                        false,
		"free: [1, {a: ~}]":                true,
		"inlined: x":                       true,
		"unknown: x":                       false,
		"NoTag: x":                         false,
		"Hidden: x":                        false,
		"filters: [signer]":                true,
		"filters:\n- signer:":              true,
		"filters: [unknown]":               false,
		"filters: [unknown: {}]":           false,
		"filters: [rate_limit]":            false,
		"filters: [rate_limit: 5]":         true,
		"filters: [rate_limit: {rate: a}]": true,
		"filters: [rate_limit: {per: 5s}]": false,
		"filters: [rate_limit: {rate: a, per: x}]": false,
		"filters: [{signer: {}, rate_limit: 5}]":   false,
		"filters: [5]":                             false,
		"filters: signer":                          false,
		"checked: {from: 1, to: 2}":                true,
	} {
		if !strings.HasPrefix(in, "name") && in != "{}" {
			in = "name: x\n" + in
		}
		s, _, err := parseSample(t, in)
		for _, f := range s.Filters {
			if into, ok := filters[f.Kind]; !ok {
				err = fmt.Errorf("unknown filter %s", f.Kind)
			} else if e := f.Section.Decode(reflect.New(reflect.TypeOf(into).Elem()).Interface()); e != nil {
				err = e
			}
		}
		if (err == nil) != want {
			t.Errorf("%q: Parse says %v, want accepted = %v", in, err, want)
		}
		if err := schema.Validate(asJSON(t, in)); (err == nil) != want {
			t.Errorf("%q: schema says %v, want accepted = %v", in, err, want)
		}
	}
}

func TestSchemaOfSnapshot(t *testing.T) {
	t.Setenv("TOKEN", "x")
	filters, docs := sampleFilters()
	text, err := Schema(filters, docs)
	if err != nil {
		t.Fatal(err)
	}
	schema := compileSchema(t, text)
	if err := schema.Validate(asJSON(t, fullText())); err != nil {
		t.Error(err)
	}
	if err := schema.Validate(asJSON(t, full)); err == nil {
		t.Error("an unknown key was accepted")
	}
	if again, _ := Schema(filters, docs); !bytes.Equal(text, again) {
		t.Error("not the same twice")
	}
	if _, err := Schema(map[string]any{"x": 5}, nil); err == nil {
		t.Error("a filter without a struct was accepted")
	}
	if text, err = Schema(nil, nil); err != nil || compileSchema(t, text).Validate(asJSON(t, fullText())) != nil {
		t.Error("without filters, any filter should do", err)
	}
}

func TestReference(t *testing.T) {
	filters, docs := sampleFilters()
	out := Reference(filters, docs)
	for _, want := range []string{
		"| `version` | whole number | required |",
		"| `timeout` | duration | `30s` |",
		"| `header_bytes` | size | `64KiB` | Request head; 431 beyond. Allowed: 1KiB to 1MiB. |",
		"| `services` | map of name to [services](#services) |",
		"| `token` | secret |",
		"<a id=\"listeners-limits\"></a>\n#### `listeners[].limits`",
		"### rate_limit\n\nLimits.\n\nA lone value in place of the map sets `rate`.",
		"| `hosts` | list of text, or one |",
		"| `filters` | list of [filter](#filters) |",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q", want)
		}
	}
	for _, link := range strings.Split(out, "](#")[1:] {
		anchor, _, _ := strings.Cut(link, ")")
		if strings.Count(out, fmt.Sprintf("<a id=%q></a>", anchor)) != 1 {
			t.Errorf("the link to %s has not one target", anchor)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestUpdateReference(t *testing.T) {
	doc := "# Config\n\n<!-- begin reference -->\nstale-text\n<!-- end reference -->\n\nmore\n"
	out, err := UpdateReference(doc, nil, nil)
	if err != nil || strings.Contains(out, "stale-text") || !strings.HasSuffix(out, "\n\nmore\n") || !strings.Contains(out, "| `routes` |") {
		t.Errorf("%v\n%s", err, out)
	}
	if again, err := UpdateReference(out, nil, nil); err != nil || again != out {
		t.Errorf("a current document was changed: %v", err)
	}
	if _, err := UpdateReference("no markers", nil, nil); err == nil {
		t.Error("a document without markers was accepted")
	}
}
