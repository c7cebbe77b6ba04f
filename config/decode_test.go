package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func parseSample(t *testing.T, text string) (*sample, *document, error) {
	t.Helper()
	s := &sample{}
	doc, err := parseInto(filepath.Join(t.TempDir(), "f.yaml"), []byte(text), s)
	doc.name = "f.yaml"
	return s, doc, err
}

// TestWrongInput walks every kind and tag with wrong values and compares the
// whole message. Positions count from 1.
func TestWrongInput(t *testing.T) {
	t.Setenv("EMPTY", "")
	t.Setenv("WORD", "top-secret-word")
	const name = "name: x\n" // line 1, so that the rest is right
	for _, c := range []struct{ in, want string }{
		{"mode: fast\n", `1:1: name is missing: expected a string`},
		{"name: ''\n", `1:7: name: expected text that matches ^[a-z]+$, found ""`},
		{"name: X\n", `1:7: name: expected text that matches ^[a-z]+$, found "X"`},
		{name + "mode: fsat", `2:7: mode: expected one of fast, safe, found "fsat": did you mean fast?`},
		{name + "mode: [fast]", `2:7: mode: expected a string, found a list`},
		{name + "mode:", `2:7: mode: expected a string, found nothing: remove the key or give a value`},
		{name + "on: yes", `2:5: on: expected true or false, found "yes"`},
		{name + "on: 'true'", `2:5: on: expected true or false, found the string "true": remove the quotes`},
		{name + "count: many", `2:8: count: expected a whole number, found "many"`},
		{name + "count: 1.5", `2:8: count: expected a whole number, found 1.5`},
		{name + "count: '5'", `2:8: count: expected a whole number, found the string "5": remove the quotes`},
		{name + "count: 0", `2:8: count: expected 1 to 10, found 0`},
		{name + "count: 11", `2:8: count: expected 1 to 10, found 11`},
		{name + "count: 010", `2:8: count: expected a whole number, found 010`},
		{name + "count: {a: 1}", `2:9: count: expected a whole number, found a map`},
		{name + "small: 128", `2:8: small: expected a whole number that fits, found 128`},
		{name + "unsigned: -1", `2:11: unsigned: expected a whole number that fits, found -1`},
		{name + "code: 303", `2:7: code: expected one of 301, 302, found 303`},
		{name + "ratio: half", `2:8: ratio: expected a number, found "half"`},
		{name + "ratio: .nan", `2:8: ratio: expected a number, found .nan`},
		{name + "ratio: 1.5", `2:8: ratio: expected 0 to 1, found 1.5`},
		{name + "wait: abc", `2:7: wait: expected a duration like 5s, found "abc"`},
		{name + "wait: 5", `2:7: wait: expected a duration like 5s, found 5: add a unit (ms, s, m, h)`},
		{name + "wait: 2h", `2:7: wait: expected 1s to 1h, found "2h"`},
		{name + "plain: -5s", `2:8: plain: expected a duration of at least 0s, found "-5s"`},
		{name + "shift: -2h", `2:8: shift: expected at least -1h, found "-2h"`},
		{name + "size: 5 apples", `2:7: size: expected a size like 64KiB, 10MB or 1024, found "5 apples"`},
		{name + "size: 100", `2:7: size: expected 1KiB to 1MiB, found 100`},
		{name + "size: 9999999TiB", `2:7: size: expected a size like 64KiB, 10MB or 1024, found "9999999TiB"`},
		{name + "secret: [hunter2]", `2:9: secret: expected a string, found a list`},
		{name + "tags: {a: 1}", `2:8: tags: expected a string, found a map`},
		{name + "list: 3", `2:7: list: expected a list, found a number`},
		{name + "list: [1, 9]", `2:11: list[1]: expected at most 5, found 9`},
		{name + "words: [a, c]", `2:12: words[1]: expected one of a, b, 503, found "c"`},
		{name + "labels: [a]", `2:9: labels: expected a map, found a list`},
		{name + "labels: {a.b: []}", `2:15: labels["a.b"]: expected a string, found a list`},
		{name + "nested: /x", `2:9: nested: expected a map with the keys path, deep, found a string`},
		{name + "nested:", `2:9: nested: expected a map, found nothing: remove the key, or write {} for its defaults`},
		{name + "optional:", `2:11: optional: expected a map, found nothing: remove the key, or write {} for its defaults`},
		{name + "optional: {pahth: /x}", `2:12: optional: unknown key "pahth": did you mean path? Allowed: path, deep`},
		{name + "by_name: {x: {deep: y}}", `2:21: by_name.x.deep: expected a whole number, found "y"`},
		{name + "short: [a, {}]", `2:12: short[1]: expected a string, found a map`},
		{name + "also: [a]", `2:7: also: expected a string, found a list`},
		{name + "prefix: 10.0.0.0", `2:9: prefix: expected an address range like 10.0.0.0/8, found "10.0.0.0"`},
		{name + "addrs: here", `2:8: addrs: expected an IP address like 10.0.0.1, found "here"`},
		{name + "filters: [1]", `2:11: filters[0]: expected a filter, as its name or a map with one key, found a number`},
		{name + "filters:\n- cors: 1\n  x: 2", `3:3: filters[0]: expected a map with one key, the filter's name, found 2 keys: indent the filter's own keys further`},
		{name + "checked: {from: 2, to: 1}", `2:11: checked.from: must not be after to`},
		{name + "Hidden: x", `2:1: unknown key "Hidden": allowed: ` + strings.Join(names(fieldsOf(reflect.TypeFor[sample]())), ", ")},
		{name + "name: y", `2:1: name: this key was already set on line 1`},
		{name + "mode: ${NOT_SET_ANYWHERE}", `2:7: mode: environment variable NOT_SET_ANYWHERE is not set: set it, or write ${NOT_SET_ANYWHERE:-default}`},
		{name + "mode: ${WORD}", `2:7: mode: expected one of fast, safe, found the value of "${WORD}"`},
		{name + "count: ${WORD}", `2:8: count: expected a whole number, found the value of "${WORD}"`},
		{name + "count: ${EMPTY}", `2:8: count: expected a whole number, found the value of "${EMPTY}"`},
		{name + "mode: ${1}", `2:7: mode: expected ${NAME} or ${NAME:-default}, found ${1}: write $${ for a literal ${`},
		{name + "mode: ${A", `2:7: mode: found ${ without }: close it, or write $${ for a literal ${`},
		{name + "mode: !!str fast", `2:7: mode: YAML tags are not supported: remove the tag`},
		{name + "mode: *m", `2:7: mode: no anchor &m stands before the alias *m`},
		{name + "free: &a [*a]", `2:11: free[0][0]: the alias *a contains itself`},
		{name + "nested: {<<: 5}", `2:14: nested: expected a map to merge with <<, found a number`},
		{name + "mode: 'x", `2:7: not valid YAML: could not find end character of single-quoted text`},
		{name + "nested:\n\tpath: x", `3:1: not valid YAML: indented with a tab: use spaces`},
		{name + "---\nname: y\n", `2:1: expected one YAML document, found a second: remove the --- and what follows`},
		{"%YAML 1.2\n---\nname: x", `1:1: YAML directives are not supported: remove the line that starts with %`},
		{"", `1:1: expected a map of settings, found an empty file`},
		{"# nothing\n", `1:1: expected a map of settings, found an empty file`},
		{"- a\n", `1:1: expected a map with ` + keyList(fieldsOf(reflect.TypeFor[sample]())) + `, found a list`},
		{name + "mode: \x01", `2:7: expected UTF-8 text, found the byte 0x01`},
		{name + "mode: \xff", `2:7: expected UTF-8 text, found the byte 0xff`},
		{name + "free: " + strings.Repeat("[", 70), fmt.Sprintf("2:%d: nested more than 64 deep", 7+64)},
		{strings.Repeat("x", maxFileSize+1), `larger than 4 MiB`},
	} {
		_, _, err := parseSample(t, c.in)
		show := c.in
		if len(show) > 60 {
			show = show[:60]
		}
		if err == nil {
			t.Errorf("%q: accepted, want %s", show, c.want)
			continue
		}
		var es Errors
		if !errors.As(err, &es) || len(es) != 1 {
			t.Errorf("%q: want one error, got\n%v", show, err)
			continue
		}
		got := es[0].Error()
		got = got[strings.Index(got, "f.yaml")+len("f.yaml:"):]
		if got = strings.TrimPrefix(got, " "); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", show, got, c.want)
		}
	}
}

func TestAllErrorsAreReportedTogetherInFileOrder(t *testing.T) {
	_, _, err := parseSample(t, "name: x\nwiat: 3s\ncount: 99\nnested:\n  deep: no\n  path: /a\nlist: [7, 8]\nchecked: {from: 2, to: x}\n")
	var es Errors
	if !errors.As(err, &es) {
		t.Fatal(err)
	}
	var got []string
	for _, e := range es {
		got = append(got, fmt.Sprintf("%d %s", e.Line, e.Path))
	}
	// checked.from has no error of its own: its sibling's does not hide it,
	// and to, which is 0, makes it one.
	want := []string{"2 ", "3 count", "5 nested.deep", "7 list[0]", "7 list[1]", "8 checked.from", "8 checked.to"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if strings.Count(err.Error(), "\n") != len(want)-1 {
		t.Errorf("one line per error expected:\n%v", err)
	}
}

func TestErrorsAreCapped(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: x\n")
	for i := range 500 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	_, _, err := parseSample(t, b.String())
	var es Errors
	if !errors.As(err, &es) || len(es) != maxErrors+1 || es[maxErrors].Msg != "and 400 more errors" {
		t.Fatalf("%d errors, last %v", len(es), es[len(es)-1])
	}
}

func TestValuesOfEveryKind(t *testing.T) {
	t.Setenv("PORT", "8")
	t.Setenv("HOST", "h")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("  hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &sample{}
	doc, err := parseInto(filepath.Join(dir, "f.yaml"), []byte(`
name: x
mode: fast
on: false
count: ${PORT}
small: -0x10
ratio: 1e-1
wait: 1m30s
shift: -30m
plain: 0
size: 100 KB
secret: file:s
secrets: [a, "file:`+dir+`/s"]
tags: one
list: []
labels: {v: 1.10, b: true, url: "http://${HOST}:${NONE:-1}/$${x}$1"}
optional: {}
by_name:
  a: {path: /a}
short: [a, b]
also: /y
prefix: 10.0.0.0/8
addrs: ["::1", 10.0.0.1]
free: {a: [1, 1.5, true, ~, x, "5", "${PORT}", "p${PORT}"], n: {z: "1"}}
filters: [cors, {limit: }, {auth: {k: v}}]
inlined: in
`), s)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", what, got, want)
		}
	}
	check("scalars", []any{s.Mode, s.On, s.Count, s.Small, s.Ratio, s.Wait, s.Shift, s.Plain, s.Size, s.Inlined},
		[]any{"fast", false, 8, int8(-16), 0.1, 90 * time.Second, -30 * time.Minute, time.Duration(0), int64(100_000), "in"})
	check("secrets", []any{s.Secret, s.Secrets}, []any{"hunter2", []string{"a", "hunter2"}})
	check("lists", []any{s.Tags, s.List, s.Words}, []any{[]string{"one"}, []int{}, []string{"a", "503"}})
	check("labels", s.Labels, map[string]string{"v": "1.10", "b": "true", "url": "http://h:1/${x}$1"})
	check("structs", []any{s.Nested, *s.Optional, s.ByName, s.Also}, []any{nested{Deep: 7}, nested{Deep: 7}, map[string]nested{"a": {"/a", 7}}, nested{"/y", 7}})
	check("short", s.Short.Hosts, []string{"a", "b"})
	check("text", []string{s.Prefix.String(), s.Addrs[0].String(), s.Addrs[1].String()}, []string{"10.0.0.0/8", "::1", "10.0.0.1"})
	check("free", s.Free, map[string]any{"a": []any{1, 1.5, true, nil, "x", "5", 8, "p8"}, "n": map[string]any{"z": "1"}})
	check("filters", []string{s.Filters[0].Kind, s.Filters[1].Kind, s.Filters[2].Kind}, []string{"cors", "limit", "auth"})
	check("files", doc.files, []string{filepath.Join(dir, "s")})
	if s.Checked != nil {
		t.Error("an absent pointer is not nil")
	}
}

func TestAliasesAndMergeKeys(t *testing.T) {
	s, _, err := parseSample(t, "name: x\nnested: &n {path: /a, deep: 1}\noptional: *n\nby_name:\n  a: {<<: *n, deep: 2}\n")
	if err != nil {
		t.Fatal(err)
	}
	if *s.Optional != (nested{"/a", 1}) || s.ByName["a"] != (nested{"/a", 2}) {
		t.Errorf("got %v and %v", *s.Optional, s.ByName)
	}
}

func TestHostileInputIsBounded(t *testing.T) {
	laughs := "name: x\nfree:\n  - &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		laughs += fmt.Sprintf("  - &a%d [%s]\n", i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10))
	}
	for what, in := range map[string]string{
		"billion laughs": laughs,
		"many keys":      strings.Repeat("a: 1\n", 150_000),
		"many flow keys": "free: {" + strings.Repeat("a: 1,", 100_000) + "}",
		"many items":     "free: [" + strings.Repeat("a,", 1_000_000) + "]",
		"dashes":         "free:\n" + strings.Repeat("- ", 100_000) + "a",
		"brackets":       strings.Repeat("[", 300_000),
		"braces":         strings.Repeat("{a: ", 100_000),
		"questions":      strings.Repeat("? ", 100_000),
		"anchors":        strings.Repeat("&a ", 100_000),
		"tags":           strings.Repeat("!a ", 100_000),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			if _, _, err := parseSample(t, in); err == nil {
				t.Error("accepted")
			}
			if took := time.Since(begin); took > 3*time.Minute { // a minute is ten of them at once on a slow machine; exponential is for ever
				t.Errorf("took %v", took)
			}
		})
	}
}
