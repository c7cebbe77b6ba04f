package config

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func addresses(list []StaticEndpoint) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.Address)
	}
	return out
}

func TestStaticEndpointsAreAddressesOrMaps(t *testing.T) {
	t.Setenv("BIG", "10.0.0.4:80")
	s, err := Parse("t.yaml", []byte(`version: 1
services:
  a:
    static:
      - 10.0.0.1:80
      - "[::1]:80"
      - {address: 10.0.0.2:80, weight: 3, zone: eu-1a}
      - address: 10.0.0.3:80
        weight: 65535
        tags: v2
        meta: {version: v2}
      - {address: "${BIG}", tags: [v1, blue]}
  one: {static: {address: h:1, weight: 2}}
  b: {failover: [{static: [h:1, {address: h:2, weight: 7}]}]}
  c: {static: [h:1, h:1, {address: h:2, weight: 4}, {address: h:2, weight: 4}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []StaticEndpoint{{Address: "10.0.0.1:80", Weight: 1}, {Address: "[::1]:80", Weight: 1}, {Address: "10.0.0.2:80", Weight: 3, Zone: "eu-1a"},
		{Address: "10.0.0.3:80", Weight: 65535, Tags: []string{"v2"}, Meta: map[string]string{"version": "v2"}},
		{Address: "10.0.0.4:80", Weight: 1, Tags: []string{"v1", "blue"}}}
	if got := s.Services["a"].Static; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := s.Services["one"].Static; !reflect.DeepEqual(got, []StaticEndpoint{{Address: "h:1", Weight: 2}}) {
		t.Errorf("a lone map: %+v", got)
	}
	if got := s.Services["b"].Failover[0].Static; !reflect.DeepEqual(got, []StaticEndpoint{{Address: "h:1", Weight: 1}, {Address: "h:2", Weight: 7}}) {
		t.Errorf("failover: %+v", got)
	}
	shown, err := json.Marshal(Dump(s.Services["a"].Static[2]))
	if err != nil || !strings.Contains(string(shown), `"address":"10.0.0.2:80"`) || !strings.Contains(string(shown), `"weight":3,"zone":"eu-1a"`) {
		t.Errorf("%s %v", shown, err)
	}
}

func TestWrongStaticEndpointsAreRefusedAtTheirLine(t *testing.T) {
	for entry, want := range map[string]string{
		"host":                                   `t.yaml:5:9: services.a.static[0]: expected host:port as 10.0.0.1:8080, with a port of 1 to 65535, found "host"`,
		"host:0":                                 `found "host:0"`,
		"host:65536":                             `found "host:65536"`,
		"host:http":                              `found "host:http"`,
		":80":                                    `found ":80"`,
		"::1:80":                                 `found "::1:80"`,
		"8080":                                   `found "8080"`,
		"{address: host}":                        `t.yaml:5:10: services.a.static[0]: expected host:port as 10.0.0.1:8080, with a port of 1 to 65535, found "host"`,
		"{weight: 3}":                            "t.yaml:5:10: services.a.static[0]: address is missing: expected a string",
		"{address: h:1, weight: 0}":              "t.yaml:5:32: services.a.static[0].weight: expected 1 to 65535, found 0",
		"{address: h:1, weight: -1}":             "services.a.static[0].weight: expected 1 to 65535, found -1",
		"{address: h:1, weight: 1e9}":            "services.a.static[0].weight: expected a whole number, found \"1e9\"",
		"{address: h:1, weight: 65536}":          "services.a.static[0].weight: expected 1 to 65535, found 65536",
		"{address: h:1, weight: 2.5}":            "services.a.static[0].weight: expected a whole number, found 2.5",
		"{address: h:1, wieght: 2}":              `t.yaml:5:24: services.a.static[0]: unknown key "wieght": did you mean weight? Allowed: address, weight, zone, tags, meta`,
		"{address: h:1, zone: [a]}":              "services.a.static[0].zone: expected a string, found a list",
		"{address: h:1, meta: v2}":               "services.a.static[0].meta: expected a map, found a string",
		"h:1\n      - {address: h:1, weight: 3}": `t.yaml:6:10: services.a.static[1]: "h:1" stands at static[0] already, with another weight, zone, tags or meta: say it once`,
	} {
		_, err := Parse("t.yaml", []byte("version: 1\nservices:\n  a:\n    static:\n      - "+entry+"\n"))
		var all Errors
		if !errors.As(err, &all) || len(all) != 1 || !strings.Contains(all[0].Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", entry, err, want)
		}
	}
}
