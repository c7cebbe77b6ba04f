package sidecar

import (
	"strings"
	"testing"

	"lintel.dev/lintel/config"
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
