package compose

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/filter/apikey"
)

func snapshot(t *testing.T, text string) *config.Snapshot {
	t.Helper()
	s, err := config.Parse("lintel.yaml", []byte("version: 1\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConsumersAreReadInOrder(t *testing.T) {
	one, two := apikey.New(), apikey.New()
	list, err := Consumers(snapshot(t, `consumers:
  zoe: {api_keys: "`+apikey.Hash(one)+`", tags: {a: b}}
  ada:
    groups: gold
    metadata: {plan: big}
    api_keys:
      - {hash: "`+apikey.Hash(two)+`", id: 2026-02, expires: 2027-01-31T00:00:00Z}
    certificates:
      - {uri: "spiffe://p.example/x", issuer: "cn=CA, o=Partner Inc"}
      - {dns: Client.Example., fingerprint: "`+strings.TrimSuffix(strings.Repeat("AB:", 32), ":")+`"}
`))
	if err != nil || len(list) != 2 || list[0].Name != "ada" || list[1].Name != "zoe" {
		t.Fatal(list, err)
	}
	ada := list[0]
	if k := ada.Keys[0]; k.ID != "2026-02" || !k.Expires.Equal(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)) || k.Hash == [32]byte{} {
		t.Errorf("%+v", k)
	}
	if c := ada.Certificates; c[0].Issuer != "CN=CA,O=Partner Inc" || c[0].Pinned || c[1].DNS != "client.example" || !c[1].Pinned || c[1].Fingerprint[31] != 0xab {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(ada.Groups, []string{"gold"}) || ada.Metadata["plan"] != "big" || list[1].Tags["a"] != "b" {
		t.Errorf("%+v", list)
	}
}

func TestWhatConsumersMustNotShareIsNamed(t *testing.T) {
	hash := apikey.Hash("key-000000000000000000000000000")
	for text, want := range map[string]string{
		"consumers:\n  a: {api_keys: \"" + hash + "\"}\n  b:\n    api_keys:\n      - \"" + hash + "\"\n": "lintel.yaml:6: consumers.b.api_keys[0]: is a key of consumer a already",
		"consumers:\n  a:\n    certificates:\n      - {}\n":                                              "lintel.yaml:5: consumers.a.certificates[0]: names no certificate",
		"consumers:\n  a:\n    certificates:\n      - {uri: /x}\n":                                       `lintel.yaml:5: consumers.a.certificates[0].uri: "/x" is no absolute URI`,
		"consumers:\n  a:\n    certificates:\n      - {subject: /CN=x}\n":                                "consumers.a.certificates[0].subject: begins with a slash",
		"consumers:\n  a:\n    certificates:\n      - {issuer: x}\n":                                     "consumers.a.certificates[0].issuer: want parts such as",
		"consumers:\n  a: {certificates: {dns: x}}\n  b: {certificates: {dns: X}}\n":                     "consumers.b.certificates[0]: stands for the same certificates as one of consumer a",
		"consumers:\n  a: {groups: [\"x,y\"]}\n":                                                         `lintel.yaml:3: consumers.a.groups[0]: "x,y" is no group`,
		"consumers:\n  \" a\": {}\n":                                                                     "is no consumer's name",
	} {
		_, err := Consumers(snapshot(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s got %v\nwant %s", text, err, want)
		}
	}
}

// A key that somebody pastes in place of its hash is refused, and shown neither
// by the error nor by the running configuration.
func TestAKeyInPlaceOfItsHashIsNotShown(t *testing.T) {
	key := apikey.New()
	for _, text := range []string{"consumers: {a: {api_keys: [" + key + "]}}\n", "consumers: {a: {api_keys: [{hash: " + key + "}]}}\n", "consumers: {a: {api_keys: {hash: {x: " + key + "}}}}\n"} {
		_, err := config.Parse("lintel.yaml", []byte("version: 1\n"+text))
		if err == nil {
			t.Fatalf("%s is accepted", text)
		}
		detail := err.Error()
		if errs, ok := err.(config.Errors); ok {
			detail += errs.Detail()
		}
		if strings.Contains(detail, key) {
			t.Errorf("the key is in %s", detail)
		}
	}
	s := snapshot(t, "consumers: {a: {api_keys: [\""+apikey.Hash(key)+"\"]}}\n")
	b, err := json.Marshal(config.Dump(s))
	if err != nil || strings.Contains(string(b), strings.TrimPrefix(apikey.Hash(key), "sha256:")) {
		t.Errorf("%s %v", b, err)
	}
}
