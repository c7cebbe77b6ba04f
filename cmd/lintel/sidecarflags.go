package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"lintel.dev/lintel/config"
)

// sidecarFlags make a whole configuration without a file.
type sidecarFlags struct {
	service, app, mesh, advertise, outbound, admin, identity, caDir, policy string
	upstreams, allow                                                        []string
	check                                                                   string
}

func (f *sidecarFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.service, "service", "", "the service this sidecar stands next to")
	fs.StringVar(&f.app, "app", "", "where the app listens, on loopback; without it the app only calls others")
	fs.StringVar(&f.mesh, "mesh", "0.0.0.0:15443", "where other sidecars reach this one")
	fs.StringVar(&f.advertise, "advertise", "", "host:port others are told; the mesh listener's otherwise")
	fs.StringVar(&f.outbound, "outbound", "127.0.0.1:15001", "where the app reaches other services; off switches it off")
	fs.StringVar(&f.admin, "admin", "127.0.0.1:9901", "loopback admin API; off switches it off")
	fs.StringVar(&f.identity, "identity", "", "workload-api, consul or embedded (workload-api when SPIFFE_ENDPOINT_SOCKET is set, else consul)")
	fs.StringVar(&f.caDir, "embedded-dir", "", "with --identity embedded: the folder that holds the shared development CA")
	fs.StringVar(&f.policy, "policy", "deny", "deny, or consul: what happens to callers that no rule names")
	fs.StringVar(&f.check, "check", "", "path that answers 2xx when the app is healthy; a TCP connect otherwise")
	fs.StringArrayVar(&f.upstreams, "upstream", nil, "service=host:port: a loopback port for one service; repeatable")
	fs.StringSliceVar(&f.allow, "allow", nil, "services or SPIFFE IDs that may call; repeatable")
}

// snapshot writes the configuration the flags stand for and parses it, so that
// flags and files are checked by the same rules.
func (f *sidecarFlags) snapshot() (*config.Snapshot, error) {
	if f.service == "" {
		return nil, usageError{errors.New("-c FILE or --service NAME is required")}
	}
	if f.identity == "" {
		f.identity = "consul"
		if os.Getenv("SPIFFE_ENDPOINT_SOCKET") != "" {
			f.identity = "workload-api"
		}
	}
	side := map[string]any{"service": f.service, "mesh": f.mesh, "outbound": f.outbound,
		"policy": map[string]any{"default": f.policy}}
	for key, value := range map[string]string{"app": f.app, "advertise": f.advertise} {
		if value != "" {
			side[key] = value
		}
	}
	if f.check != "" {
		side["check"] = map[string]any{"http": f.check}
	}
	var ups []any
	for _, u := range f.upstreams {
		name, bind, ok := strings.Cut(u, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--upstream: expected service=host:port, found %q", u)}
		}
		ups = append(ups, map[string]any{"service": name, "bind": bind})
	}
	if ups != nil {
		side["upstreams"] = ups
	}
	if len(f.allow) > 0 {
		side["policy"] = map[string]any{"default": f.policy, "allow": []any{map[string]any{"from": f.allow}}}
	}
	id := map[string]any{"source": f.identity}
	if f.caDir != "" {
		id["embedded"] = map[string]any{"dir": f.caDir}
	}
	// JSON is YAML, so no value of a flag can change the structure.
	text, err := json.MarshalIndent(map[string]any{"version": 1, "sidecar": side, "identity": id,
		"discovery": map[string]any{"consul": map[string]any{}}, "admin": map[string]any{"address": f.admin}}, "", "  ")
	if err != nil {
		return nil, err
	}
	s, err := config.Parse("(flags)", text)
	if err != nil {
		return nil, usageError{err}
	}
	return s, nil
}
