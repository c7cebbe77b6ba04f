package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const full = `version: 1
listeners:
  - name: edge
    address: 0.0.0.0:8443
    tls:
      certificates: [{cert: a.pem, key: a.key}]
    trusted_proxies: [10.0.0.0/8]
    limits: {header_bytes: 32KiB}
routes:
  - name: users
    match: {hosts: api.example.com, path: /users/*}
    policies: [public]
    filters:
      - rate_limit: 10
      - signer: {key: "hunter2"}
    service: users.v1
    timeout: 3s
services:
  users.v1:
    static: [127.0.0.1:8080]
    retired: &later {x: 1}
policies:
  public: [rate_limit: {rate: "5"}]
consumers:
  shop: {tags: {tier: gold}}
discovery:
  consul: {token: "${TOKEN}"}
`

func fullText() string { return strings.Replace(full, "    retired: &later {x: 1}\n", "", 1) }

func TestSnapshotDefaultsAreApplied(t *testing.T) {
	s, err := Parse("lintel.yaml", []byte("version: 1\nroutes:\n- {name: a, service: s}\nservices: {s: {static: h:1}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := s.Routes[0]
	if r.Timeout != 30*time.Second || r.Retries.Attempts != 1 || !reflect.DeepEqual(r.Retries.On, []string{"connect", "reset", "503"}) || r.Retries.BufferBody != 64<<10 {
		t.Errorf("route: %+v", r)
	}
	if svc := s.Services["s"]; !svc.Breaker.Enabled || svc.Breaker.Window != 10*time.Second || svc.Static[0].Address != "h:1" {
		t.Errorf("service: %+v", svc)
	}
	if s.Admin.Address != "127.0.0.1:9901" || s.Identity.Txn.Lifetime != 60*time.Second || s.Identity.ServiceID != "spiffe://{trust_domain}/svc/{service}" {
		t.Errorf("sections: %+v %+v", s.Admin, s.Identity)
	}
	if s.Sidecar != nil || s.Discovery.Consul != nil || r.Redirect != nil {
		t.Error("an absent pointer is not nil")
	}
}

// TestEveryDefaultAndExampleOfSnapshotIsValid guards the tags themselves.
func TestEveryDefaultAndExampleOfSnapshotIsValid(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(st reflect.Type) {
		if seen[st] {
			return
		}
		seen[st] = true
		for _, f := range fieldsOf(st) {
			for _, text := range []string{f.def, f.example} {
				if text == "" {
					continue
				}
				in := f
				in.def, in.hasDefault = text, true
				d := &decoder{collector: &collector{doc: &document{name: st.Name() + "." + f.name}}}
				d.defaults(reflect.New(f.typ).Elem(), in, &node{line: 1, col: 1}, "")
				if err := d.err(); err != nil {
					t.Error(err)
				}
			}
			if f.doc == "" {
				t.Errorf("%s.%s has no doc", st.Name(), f.name)
			}
			if in, _, ok := structWithin(f.typ, f.rules); ok {
				walk(in)
			}
		}
	}
	walk(reflect.TypeFor[Snapshot]())
	if len(seen) < 20 {
		t.Errorf("only %d structs walked", len(seen))
	}
}

func TestPositions(t *testing.T) {
	t.Setenv("TOKEN", "x")
	s, err := Parse("lintel.yaml", []byte(fullText()))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                                "lintel.yaml:1",
		"routes":                          "lintel.yaml:9",
		"routes[0]":                       "lintel.yaml:10",
		"routes[0].service":               "lintel.yaml:16",
		"routes[0].match.hosts[0]":        "lintel.yaml:11",
		"routes[0].redirect.path":         "lintel.yaml:10",
		"routes[7].service":               "lintel.yaml:9",
		"services.users.v1.static[0]":     "lintel.yaml:20",
		`services["users.v1"].static`:     "lintel.yaml:20",
		"routes[0].filters[1].signer.key": "lintel.yaml:15",
		"discovery.consul.token":          "lintel.yaml:26",
		"nonsense[":                       "lintel.yaml:1",
	} {
		if got := s.Pos(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if got := (&Snapshot{}).Pos("routes"); got != "(no file)" {
		t.Error(got)
	}
}

func TestSections(t *testing.T) {
	t.Setenv("TOKEN", "x")
	s, err := Parse("lintel.yaml", []byte(fullText()))
	if err != nil {
		t.Fatal(err)
	}
	var rl rateLimit
	if err := s.Routes[0].Filters[0].Section.Decode(&rl); err != nil || rl != (rateLimit{"10", time.Second}) {
		t.Errorf("%v %v", rl, err)
	}
	sec := s.Routes[0].Filters[1].Section
	if err := sec.Decode(&rl); err == nil || !strings.Contains(err.Error(), `lintel.yaml:15:18: routes[0].filters[1].signer: unknown key "key"`) {
		t.Error(err)
	}
	if sec.Pos("") != "lintel.yaml:15" || sec.Pos("key[3].x") != "lintel.yaml:15" {
		t.Error(sec.Pos(""), sec.Pos("key"))
	}
	if err := sec.Decode(rl); err == nil {
		t.Error("a struct that is no pointer was accepted")
	}
	if err := sec.Decode((*rateLimit)(nil)); err == nil {
		t.Error("a nil pointer was accepted")
	}
}

func TestDumpShowsNoSecret(t *testing.T) {
	t.Setenv("TOKEN", "consul-secret")
	s, err := Parse("lintel.yaml", []byte(strings.Replace(fullText(), "tier: gold", `tier: gold, api_key: label-secret, url: "redis://u:url-secret@h"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	show := func() string {
		out, err := json.MarshalIndent(Dump(s), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"consul-secret", "hunter2", "label-secret", "url-secret"} {
			if bytes.Contains(out, []byte(secret)) {
				t.Errorf("%s is shown:\n%s", secret, out)
			}
		}
		return string(out)
	}
	raw := show() // sections not yet decoded
	if !strings.Contains(raw, `"timeout": "3s"`) || !strings.Contains(raw, `"header_bytes": "32KiB"`) || !strings.Contains(raw, `"signer"`) {
		t.Errorf("values are missing:\n%s", raw)
	}
	if err := s.Routes[0].Filters[1].Section.Decode(&signer{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Routes[0].Filters[0].Section.Decode(&rateLimit{}); err != nil {
		t.Fatal(err)
	}
	if out := show(); !strings.Contains(out, `"per": "1s"`) {
		t.Errorf("a decoded section lacks its defaults:\n%s", out)
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	t.Setenv("TOKEN", "hunter2")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "empty"), []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{
		"version: 1\ndiscovery: {consul: {token: [hunter2]}}\n",
		"version: 1\ndiscovery: {consul: {token: \"hunter2${\"}}\n",
		"version: 1\ndiscovery: {consul: {token: \"${hunter2 }\"}}\n",
		"version: 1\ndiscovery: {consul: {token: {hunter2: hunter2}}}\n",
		"version: 1\ndiscovery: {consul: {tokn: hunter2}}\n",
		"version: 1\ndiscovery:\n  consul:\n    token: |\n      hunter2\n     bad: [\n",
		"version: 1\nadmin: {password: hunter2}\n",
		"version: 1\ndiscovery: {consul: {token: 'hunter2}}\n",
		"version: ${TOKEN}\n",
		"version: 1\nshutdown: {drain: \"${TOKEN}\"}\n",
		"version: 1\ntracing: {sample: \"redis://u:hunter2@h\"}\n",
		"version: 1\ndiscovery: {consul: {token: hunter2}, wait: x}\n",
	} {
		_, err := Parse(filepath.Join(dir, "lintel.yaml"), []byte(in))
		var es Errors
		if !errors.As(err, &es) {
			t.Errorf("%q: %v", in, err)
			continue
		}
		// A key is no secret, and one case writes it as one.
		if out := es.Detail(); strings.Contains(strings.ReplaceAll(out, "{hunter2:", ""), "hunter2") {
			t.Errorf("%q:\n%s", in, out)
		}
	}
	for ref, want := range map[string]string{"file:nope": "no such file", "file:empty": "is empty", "file:": "expected a path", "file:.": "not a regular file"} {
		_, err := Parse(filepath.Join(dir, "lintel.yaml"), []byte("version: 1\ndiscovery: {consul: {token: '"+ref+"'}}\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestExcerptMarksThePlace(t *testing.T) {
	_, err := Parse("l.yaml", []byte("version: 1\nadmin:\n  addres: x\n"))
	var es Errors
	if !errors.As(err, &es) {
		t.Fatal(err)
	}
	want := "l.yaml:3:3: admin: unknown key \"addres\": did you mean address? Allowed: address, probes\n" +
		"   3 |   addres: x\n         ^\n"
	if got := es.Detail(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	_, err = Parse("l.yaml", []byte("version: 1\ndiscovery: {consul: {token: file:none}}\n"))
	if !errors.As(err, &es) {
		t.Fatal(err)
	}
	if got := es.Detail(); !strings.HasSuffix(got, "   2 | discovery: (redacted)\n                  ^\n") {
		t.Errorf("a masked place:\n%s", got)
	}
}

func TestLoadReadsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lintel.yaml")
	if _, err := Load(path); err == nil || err.Error() != "config: cannot read "+path+": no such file or directory" {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Load(path); err != nil || s.Version != 1 || s.Pos("version") != path+":1" {
		t.Error(s, err)
	}
}

// TestRoundTrip: what Dump writes is a configuration that means the same.
func TestRoundTrip(t *testing.T) {
	first, err := Parse("l.yaml", []byte("version: 1\nroutes:\n- {name: a, service: s, match: {hosts: [h]}, filters: [cors, {x: {y: 1}}]}\nservices: {s: {static: h:1, breaker: {failures: 2}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	out := prune(Dump(first))
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Parse("l.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if again := prune(Dump(second)); !reflect.DeepEqual(out, again) {
		t.Errorf("first  %v\nsecond %v", out, again)
	}
}

// prune drops empty strings: for an optional enum "" means absent.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == "" {
				delete(v, k)
			} else {
				v[k] = prune(e)
			}
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}

func TestOnlyWhatIsGivenStandsSomewhere(t *testing.T) {
	s, err := Parse("lintel.yaml", []byte(`version: 1
listeners: [{name: edge, address: "127.0.0.1:0"}]
routes:
  - name: a
    service: orders.v2
    retries:
      attempts: 3
services:
  orders.v2:
    static: ["127.0.0.1:1"]
    breaker: {per: both}
`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"routes[0]": "lintel.yaml:4", "routes[0].retries": "lintel.yaml:6", "routes[0].retries.attempts": "lintel.yaml:7", "routes[0].retries.backoff": "",
		"routes[0].timeout": "", "routes[1]": "", "services.orders.v2": "lintel.yaml:9", "services.orders.v2.breaker": "lintel.yaml:11",
		"services.orders.v2.breaker.open": "", "services.orders.v2.balance": "", "services.orders": "", "sidecar.retries": "",
	} {
		if got := s.Given(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := (&Snapshot{}).Given("routes"); got != "" {
		t.Error(got)
	}
}
