package compose

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/filter"
)

var update = flag.Bool("update", false, "write the golden table anew")

// leaf is one key of the configuration and a value it cannot have.
type leaf struct {
	path string // as an error names it: routes[0].timeout
	bad  any
}

// leaves lists every key below a struct.
func leaves(t reflect.Type, at string) []leaf {
	var out []leaf
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		path := strings.TrimPrefix(at+"."+name, ".")
		out = append(out, below(f.Type, path, f.Tag)...)
	}
	return out
}

func below(t reflect.Type, path string, tag reflect.StructTag) []leaf {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Interface:
		return nil // it takes anything
	case t == reflect.TypeFor[time.Duration]():
		return []leaf{{path, "soon"}}
	case t == reflect.TypeFor[config.Filter](), t == reflect.TypeFor[filter.Nested]():
		return []leaf{{path, []any{"a", "b"}}}
	case t.Kind() == reflect.Struct && t.NumField() > 0 && asMap(t) && len(leaves(t, path)) > 0:
		return append([]leaf{{path, "words"}}, leaves(t, path)...)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		return append([]leaf{{path, map[string]any{"no": "list"}}}, below(t.Elem(), path+"[0]", tag)...)
	case t.Kind() == reflect.Map:
		return append([]leaf{{path, "words"}}, below(t.Elem(), path+".any", tag)...)
	case tag.Get("enum") != "", tag.Get("pattern") != "":
		return []leaf{{path, "?!"}}
	case t.Kind() == reflect.String:
		return []leaf{{path, []any{"a", "list"}}}
	}
	return []leaf{{path, "neither"}}
}

// asMap reports a struct that is written as a map: what is written as text has methods.
func asMap(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.NumMethod() == 0 || p.Implements(reflect.TypeFor[config.Validator]())
}

// document nests bad at path in an otherwise empty configuration.
func document(path string, bad any) map[string]any {
	parts := strings.FieldsFunc(strings.ReplaceAll(path, "[0]", ".[0]"), func(r rune) bool { return r == '.' })
	v := bad
	for _, p := range slices.Backward(parts) {
		if p == "[0]" {
			v = []any{v}
		} else {
			v = map[string]any{p: v}
		}
	}
	return v.(map[string]any)
}

// Every key of the configuration, of every section and of every filter, has at
// least one value that is refused by naming the key and its place. The golden
// file is what a person reads.
func TestEveryKeyRefusesAWrongValue(t *testing.T) {
	var table strings.Builder
	for _, l := range leaves(reflect.TypeFor[config.Snapshot](), "") {
		doc := document(l.path, l.bad)
		if _, ok := doc["version"]; !ok {
			doc["version"] = 1
		}
		text, err := json.MarshalIndent(doc, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		_, err = config.Parse("lintel.yaml", text)
		table.WriteString(l.path + ": " + told(t, l, err) + "\n")
	}
	reg, err := Registry()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range reg.Kinds() {
		for _, l := range leaves(reflect.TypeOf(k.Config()).Elem(), "") {
			text, err := json.MarshalIndent(map[string]any{"version": 1, "policies": map[string]any{
				"p": []any{map[string]any{k.Name: document(l.path, l.bad)}}}}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			s, err := config.Parse("lintel.yaml", text)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Policies["p"][0].Section.Decode(k.Config())
			table.WriteString(k.Name + "." + l.path + ": " + told(t, l, err) + "\n")
		}
	}
	const golden = "testdata/bad_input.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if table.String() != string(want) {
		got, old := strings.Split(table.String(), "\n"), strings.Split(string(want), "\n")
		for _, line := range got {
			if !slices.Contains(old, line) {
				t.Errorf("new: %s", line)
			}
		}
		t.Errorf("%s is not what is told now; if the new messages are better, run go test ./config/compose -update", golden)
	}
}

// told finds the complaint about exactly this key.
func told(t *testing.T, l leaf, err error) string {
	t.Helper()
	var errs config.Errors
	if !errors.As(err, &errs) {
		t.Errorf("%s: %v was accepted (error: %v)", l.path, l.bad, err)
		return "accepted"
	}
	for _, e := range errs {
		if (e.Path == l.path || strings.HasSuffix(e.Path, "."+l.path)) && e.Line > 0 {
			return e.Msg
		}
	}
	for _, e := range errs { // words for a map may stand for one key of it
		if l.bad == "words" && strings.HasPrefix(e.Path, l.path+".") && e.Line > 0 {
			return e.Msg
		}
	}
	t.Errorf("%s: no error names it with its line: %v", l.path, err)
	return "not named"
}
