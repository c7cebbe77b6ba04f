package config

import (
	"strings"
	"testing"
)

const base = `version: 1
listeners: [{name: edge, address: ":0"}]
routes:
  - {name: a, match: {path: /a}, service: s}
services:
  s: {static: ["127.0.0.1:1"]}
policies:
  p: [cors]
`

func TestSnippetsAreMergedAndKnowTheirPlace(t *testing.T) {
	s, err := Parse("f.yaml", []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Merge(s, []Snippet{
		{"kv/1", "routes:\n  - name: b\n    respond: {status: 204}\n  - name: c\n    service: s\nconsumers:\n  x.y: {}\n"},
		{"kv/2", "version: 1\n# nothing\nroutes:\n  - name: d\n    service: t\nservices:\n  t:\n    static: [\"127.0.0.1:2\"]\npolicies:\n  q: []\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"": "f.yaml:1", "routes[0].service": "f.yaml:4", "routes[1]": "kv/1:2", "routes[2].service": "kv/1:5", "routes[3].service": "kv/2:5",
		"services.s": "f.yaml:6", "services.t.static": "kv/2:8", "policies.p": "f.yaml:8", "policies.q": "kv/2:10", `consumers["x.y"]`: "kv/1:7", "listeners[0]": "f.yaml:2",
	} {
		if got := m.Pos(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if len(m.Routes) != 4 || len(m.Services) != 2 || len(s.Routes) != 1 || len(s.Services) != 1 {
		t.Errorf("%d routes, %d services; the file's own are now %d and %d", len(m.Routes), len(m.Services), len(s.Routes), len(s.Services))
	}
	if m.Digest() == s.Digest() {
		t.Error("the same digest")
	}
}

func TestWrongSnippetsAreRefused(t *testing.T) {
	t.Setenv("HOME", "/secret/home")
	s, err := Parse("f.yaml", []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		texts []string
		want  string
	}{
		"a route of the file":       {[]string{"routes: [{name: a, service: s}]"}, "kv/0:1: route a is defined at f.yaml:4 too"},
		"a route of another":        {[]string{"routes: [{name: b, service: s}]", "\nroutes: [{name: b, service: s}]"}, "kv/1:2: route b is defined at kv/0:1 too"},
		"a service of the file":     {[]string{"services: {s: {static: [\"h:1\"]}}"}, "kv/0:1: service s is defined at f.yaml:6 too"},
		"a policy of another":       {[]string{"policies: {q: []}", "policies: {q: []}"}, "kv/1:1: policy q is defined at kv/0:1 too"},
		"a listener":                {[]string{"listeners: []"}, "kv/0:1:1: unknown key \"listeners\""},
		"the admin API":             {[]string{"\nadmin: {address: \"0.0.0.0:1\"}"}, "kv/0:2:1: unknown key \"admin\""},
		"no YAML":                   {[]string{"routes: ["}, "kv/0:1"},
		"nothing":                   {[]string{""}, "kv/0:1:1: expected a map"},
		"a typing error":            {[]string{"routes:\n  - {name: b, servce: s}"}, "kv/0:2"},
		"the environment":           {[]string{"routes: [{name: b, respond: {body: \"${HOME}\"}}]"}, "no ${…} is expanded here"},
		"the environment in a name": {[]string{"routes: [{name: \"${HOME:-x}\", service: s}]"}, "no ${…} is expanded here"},
	} {
		var list []Snippet
		for i, text := range c.texts {
			list = append(list, Snippet{"kv/" + string(rune('0'+i)), text})
		}
		m, err := Merge(s, list)
		if err == nil || m != nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "/secret/home") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// What takes a file of this machine, or its credentials, is not for snippets.
func TestASnippetIsLentNothingOfTheMachine(t *testing.T) {
	s, err := Parse("f.yaml", []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	type local struct {
		File string `yaml:"file" local:"*"`
		Sign string `yaml:"sign" default:"aws" local:"aws"`
	}
	for text, want := range map[string]string{
		"{sign: none}":                    "",
		"{sign: none, file: \"\"}":        "",
		"{sign: none, file: /etc/shadow}": "kv:3:39: ",
		"{sign: aws}":                     "sign: \"aws\" is for the configuration file alone",
		"{}":                              "sign: \"aws\" is for the configuration file alone",
	} {
		m, err := Merge(s, []Snippet{{"kv", "policies:\n  q:\n    - maintenance: " + text + "\n"}})
		if err != nil {
			t.Fatal(err)
		}
		var c local
		err = m.Policies["q"][0].Section.Decode(&c)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// A filter's section is decoded later, and still reaches nothing of this machine.
func TestSectionsOfASnippetAreSealedToo(t *testing.T) {
	s, err := Parse("f.yaml", []byte(base))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"key: file:/etc/passwd", `key: "${HOME}"`} {
		m, err := Merge(s, []Snippet{{"kv", "policies:\n  q:\n    - maintenance: {" + text + "}\n"}})
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Key string `yaml:"key" unit:"secret"`
		}
		err = m.Policies["q"][0].Section.Decode(&c)
		if err == nil || c.Key != "" || !strings.HasPrefix(err.Error(), "kv:3:") {
			t.Errorf("%s: %q, %v", text, c.Key, err)
		}
	}
}
