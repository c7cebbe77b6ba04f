package compose_test

import (
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/ingress"
	"lintel.dev/lintel/sidecar"
)

var apps = []string{"users", "orders", "inventory"}

// configOf loads the configuration a container runs, in its environment.
func configOf(t *testing.T, s types.ServiceConfig) *config.Snapshot {
	t.Helper()
	i := slices.Index(s.Command, "-c")
	if i < 0 || i+1 == len(s.Command) {
		t.Fatalf("%s: its command %q names no -c FILE", s.Name, s.Command)
	}
	for _, v := range s.Volumes {
		if v.Target != s.Command[i+1] {
			continue
		}
		for key, value := range s.Environment {
			t.Setenv(key, *value)
		}
		c, err := config.Load(v.Source)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	t.Fatalf("%s: %s is mounted nowhere", s.Name, s.Command[i+1])
	return nil
}

// flagOf is the value of an app's flag.
func flagOf(t *testing.T, s types.ServiceConfig, name string) string {
	t.Helper()
	i := slices.Index(s.Command, name)
	if i < 0 || i+1 == len(s.Command) {
		t.Fatalf("%s: its command %q has no %s", s.Name, s.Command, name)
	}
	return s.Command[i+1]
}

func split(t *testing.T, what, address string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return host, port
}

func TestEveryMountedConfigurationIsValid(t *testing.T) {
	p := load(t)
	gateway := service(t, p, "ingress")
	if gateway.Command[0] != "ingress" {
		t.Errorf("ingress: runs %q", gateway.Command)
	}
	table, err := ingress.Check(configOf(t, gateway))
	if err != nil {
		t.Fatal(err)
	}
	table.Release()
	for _, name := range apps {
		side := service(t, p, name+"-sidecar")
		if side.Command[0] != "sidecar" {
			t.Errorf("%s: runs %q", side.Name, side.Command)
		}
		if err := sidecar.Check(configOf(t, side)); err != nil {
			t.Error(err)
		}
	}
}

func TestSidecarsStandNextToTheirApps(t *testing.T) {
	p := load(t)
	for _, name := range apps {
		side, app := service(t, p, name+"-sidecar"), service(t, p, name)
		c := configOf(t, side).Sidecar
		if side.NetworkMode != "service:"+name || len(side.Networks) > 0 {
			t.Errorf("%s: network_mode is %q, networks %v: expected loopback to be shared with %s", side.Name, side.NetworkMode, side.Networks, name)
		}
		if c.Service != name || flagOf(t, app, "--service") != name {
			t.Errorf("%s: the sidecar stands for %q, the app is %q", side.Name, c.Service, flagOf(t, app, "--service"))
		}
		listen := flagOf(t, app, "--listen")
		if host, _ := split(t, name, listen); host != "127.0.0.1" || c.App != listen {
			t.Errorf("%s: the app listens on %s and the sidecar calls %s: expected one loopback address, or others reach the app past its sidecar", name, listen, c.App)
		}
		host, port := split(t, side.Name, c.Advertise)
		if _, mesh := split(t, side.Name, c.Mesh); host != name || port != mesh {
			t.Errorf("%s: advertises %s and listens on %s: expected the name of %s and the same port", side.Name, c.Advertise, c.Mesh, name)
		}
	}
	to, err := url.Parse(flagOf(t, service(t, p, "orders"), "--mesh"))
	if err != nil {
		t.Fatal(err)
	}
	if c := configOf(t, service(t, p, "orders-sidecar")).Sidecar; to.Host != c.Outbound {
		t.Errorf("orders calls the mesh at %s, its sidecar listens on %s", to.Host, c.Outbound)
	}
}

func TestCallersAreThoseThatCall(t *testing.T) {
	p := load(t)
	routed := []string{}
	for _, r := range configOf(t, service(t, p, "ingress")).Routes {
		if r.Service != "" {
			routed = append(routed, r.Service)
		}
	}
	calls := map[string][]string{"ingress": routed, "orders": {"inventory"}}
	for _, name := range apps {
		allowed := map[string]bool{}
		for _, a := range configOf(t, service(t, p, name+"-sidecar")).Sidecar.Policy.Allow {
			for _, from := range a.From {
				allowed[from] = true
			}
		}
		for caller, called := range calls {
			if slices.Contains(called, name) != allowed[caller] {
				t.Errorf("%s calls %s: %t, its sidecar allows it: %t", caller, name, slices.Contains(called, name), allowed[caller])
			}
		}
	}
}

func TestAddressesLeadSomewhere(t *testing.T) {
	p := load(t)
	ports := map[string]string{"consul": "8500", "jaeger": "4317"}
	for name, s := range p.Services {
		if s.Build == nil || s.Build.Target != "lintel" {
			continue
		}
		if c := configOf(t, s); c.Discovery.Consul == nil || c.Identity.Source != "consul" || c.Tracing.Exporter != "otlp-grpc" {
			t.Errorf("%s: expected Consul for discovery and identity, and traces to Jaeger", name)
		}
		for key, want := range map[string]string{"CONSUL_HTTP_ADDR": "consul", "OTEL_EXPORTER_OTLP_ENDPOINT": "jaeger"} {
			value := s.Environment[key]
			if value == nil {
				t.Errorf("%s: %s is not set", name, key)
				continue
			}
			host, port := split(t, name+": "+key, strings.TrimPrefix(*value, "http://"))
			if host != want || port != ports[host] {
				t.Errorf("%s: %s is %s, expected %s:%s", name, key, *value, want, ports[want])
			}
			service(t, p, host)
		}
	}
}

func TestIngressIsReachedWhereItListens(t *testing.T) {
	p := load(t)
	gateway := service(t, p, "ingress")
	c := configOf(t, gateway)
	open := map[string]bool{}
	for _, l := range c.Listeners {
		_, port := split(t, l.Name, l.Address)
		open[port] = true
	}
	_, probes := split(t, "probes", c.Admin.Probes)
	open[probes] = true
	for _, port := range gateway.Ports {
		if target := port.Target; !open[itoa(target)] {
			t.Errorf("ingress: port %d is published and nothing listens on it", target)
		}
	}
	source := bindOf(t, gateway)
	jwks := regexp.MustCompile(`http://([a-z]+):([0-9]+)/jwks\.json`).FindStringSubmatch(source)
	if jwks == nil {
		t.Fatal("ingress: its configuration names no JWK set")
	}
	if _, port := split(t, "issuer", flagOf(t, service(t, p, jwks[1]), "--listen")); port != jwks[2] {
		t.Errorf("the keys are looked for at %s, the issuer listens on %s", jwks[0], port)
	}
}

// TestHealthIsAskedWhereItIsAnswered: `lintel health` without flags asks the
// admin API's default address.
func TestHealthIsAskedWhereItIsAnswered(t *testing.T) {
	for name, s := range load(t).Services {
		if s.Build == nil || s.Build.Target != "lintel" {
			continue
		}
		if test := s.HealthCheck.Test; !slices.Equal(test, []string{"CMD", "/lintel", "health"}) {
			t.Errorf("%s: its health check is %q", name, test)
		}
		if c := configOf(t, s); c.Admin.Address != "127.0.0.1:9901" {
			t.Errorf("%s: the admin API is at %s, and lintel health asks 127.0.0.1:9901", name, c.Admin.Address)
		}
	}
}

func bindOf(t *testing.T, s types.ServiceConfig) string {
	t.Helper()
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeBind {
			text, err := os.ReadFile(v.Source)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	t.Fatalf("%s mounts no file", s.Name)
	return ""
}
