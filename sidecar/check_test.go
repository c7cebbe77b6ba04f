package sidecar

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/discovery"
)

func TestASidecarTakesFaultsInBothDirectionsAndNoKeys(t *testing.T) {
	const faults = "[fault_injection: {delay: {time: 1s, share: 0.1}, abort: {share: 0.1}}]"
	for name, c := range map[string]struct{ consul, want string }{
		"faults":      {"{}", ""},
		"also a kv":   {"{kv: lintel/edge/}", "a sidecar takes no configuration from Consul's keys"},
		"a wrong key": {"{kv: 7, vk: x}", "unknown key"},
	} {
		s, err := config.Parse("f.yaml", []byte("version: 1\nidentity: {source: embedded}\ndiscovery: {consul: "+c.consul+"}\n"+
			"sidecar: {service: orders, app: \"127.0.0.1:1\", inbound: "+faults+", outbound_filters: "+faults+"}\n"))
		if err == nil {
			err = Check(s)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestAnUpstreamsHedgeIsForHTTP(t *testing.T) {
	for upstream, want := range map[string]string{
		"{service: stock, bind: \"127.0.0.1:2\", hedge: p90}":              "",
		"{service: redis, bind: \"127.0.0.1:2\", hedge: p90}":              "f.yaml:5: sidecar.upstreams[0].hedge is for HTTP",
		"{service: x, bind: \"127.0.0.1:2\", protocol: tcp, hedge: p90}":   "hedge is for HTTP",
		"{service: redis, bind: \"127.0.0.1:2\", protocol: http}":          "say one of them only",
		"{service: x, bind: \"127.0.0.1:2\", hedge: {after: 1h}}":          "sidecar.upstreams[0].hedge.after",
		"{service: x, bind: \"127.0.0.1:2\", hedge: {methods: [DELETE]}}":  "sidecar.upstreams[0].hedge.methods",
		"{service: x, bind: \"127.0.0.1:2\", hedge: {methods: [OPTIONS]}}": "",
	} {
		s, err := config.Parse("f.yaml", []byte("version: 1\nidentity: {source: embedded}\ndiscovery: {consul: {}}\nservices: {redis: {mesh: true, protocol: tcp, static: [\"127.0.0.1:3\"]}}\n"+
			"sidecar: {service: orders, app: \"127.0.0.1:1\", upstreams: ["+upstream+"]}\n"))
		if err == nil {
			err = Check(s)
		}
		if want == "" && err != nil || want != "" && (err == nil || strings.Count(err.Error(), want) != 1) {
			t.Errorf("%s: %v, want %q", upstream, err, want)
		}
	}
}

// A sidecar says at once, and where, that a TLS file of a service is not there: not
// when the app first calls it.
func TestAMissingTLSFileIsToldAtStart(t *testing.T) {
	s, err := config.Parse("f.yaml", []byte("version: 1\nidentity: {source: embedded}\nadmin: {address: off}\n"+
		"sidecar: {service: orders, app: \"127.0.0.1:1\", mesh: \"127.0.0.1:0\", outbound: \"127.0.0.1:0\"}\n"+
		"services:\n  pay:\n    static: [\"127.0.0.1:2\"]\n    tls:\n      ca: /nowhere/ca.pem\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(t.Context(), Options{Snapshot: s, Version: "test", Out: io.Discard, Log: slog.New(slog.DiscardHandler), Catalog: discovery.NewCatalog()})
	var wrong compose.ConfigError
	if err == nil {
		c.release(t.Context())
	}
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "f.yaml:9: service pay") || !strings.Contains(err.Error(), "/nowhere/ca.pem") {
		t.Errorf("%v", err)
	}
}
