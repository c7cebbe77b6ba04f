// Package compose_test checks docker-compose.yml and deploy/Dockerfile with
// every means there is without a Docker engine: the compose schema, the files
// they name, the configurations they mount, and the wiring between them.
package compose_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

var root, _ = filepath.Abs(filepath.Join("..", ".."))

// load parses docker-compose.yml as `docker compose` does, schema included.
func load(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithWorkingDirectory(root))
	if err != nil {
		t.Fatal(err)
	}
	p, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatalf("docker-compose.yml is not valid: %v", err)
	}
	return p
}

func service(t *testing.T, p *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := p.GetService(name)
	if err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return s
}

func TestEveryPartIsThere(t *testing.T) {
	p := load(t)
	for _, name := range []string{"ingress", "users", "users-sidecar", "orders", "orders-sidecar", "inventory", "inventory-sidecar",
		"issuer", "consul", "redis", "jaeger"} {
		service(t, p, name)
	}
}

func TestNothingRunsWithMoreRightsThanItNeeds(t *testing.T) {
	stages := dockerfile(t)
	for name, s := range load(t).Services {
		if !s.ReadOnly {
			t.Errorf("%s: its root file system can be written", name)
		}
		if !slices.Contains(s.CapDrop, "ALL") || len(s.CapAdd) > 0 || s.Privileged {
			t.Errorf("%s: cap_drop is %v, cap_add %v, privileged %t: expected no capability at all", name, s.CapDrop, s.CapAdd, s.Privileged)
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: it may gain privileges", name)
		}
		user := s.User
		if user == "" && s.Build != nil {
			user = stages.last(s.Build.Target, "USER")
		}
		if name, _, _ := strings.Cut(user, ":"); name == "" || name == "root" || strings.Trim(name, "0") == "" {
			t.Errorf("%s: it runs as %q, expected a user other than root", s.Name, user)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is published on %q, expected 127.0.0.1: Docker opens it past the firewall", name, port.Published, port.HostIP)
			}
		}
	}
}

func TestEveryFileItNamesExists(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeBind:
				if info, err := os.Stat(v.Source); err != nil || !info.Mode().IsRegular() {
					t.Errorf("%s: mounts %s, which is no file: %v", name, v.Source, err)
				}
				if !v.ReadOnly {
					t.Errorf("%s: %s can be written from the container", name, v.Source)
				}
			case types.VolumeTypeVolume:
				if _, ok := p.Volumes[v.Source]; !ok {
					t.Errorf("%s: volume %s is not declared", name, v.Source)
				}
			}
		}
		if s.Build == nil {
			if s.Image == "" || !strings.Contains(s.Image, ":") || strings.HasSuffix(s.Image, ":latest") {
				t.Errorf("%s: image is %q, expected one with a version", name, s.Image)
			}
			continue
		}
		if s.Build.Context != root {
			t.Errorf("%s: is built from %s, expected %s", name, s.Build.Context, root)
		}
		if s.Build.Dockerfile != "deploy/Dockerfile" {
			t.Errorf("%s: is built by %s, expected deploy/Dockerfile", name, s.Build.Dockerfile)
		}
		if dockerfile(t).stage(s.Build.Target) == nil {
			t.Errorf("%s: deploy/Dockerfile has no stage %q", name, s.Build.Target)
		}
	}
}

func TestNothingWaitsForWhatNeverComes(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		for other, d := range s.DependsOn {
			o, err := p.GetService(other)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if d.Condition == types.ServiceConditionHealthy && o.HealthCheck == nil && !(o.Build != nil && dockerfile(t).last(o.Build.Target, "HEALTHCHECK") != "") {
				t.Errorf("%s waits for %s to be healthy, which has no health check", name, other)
			}
		}
	}
	for _, name := range []string{"users", "orders", "inventory"} {
		side, ingress := service(t, p, name+"-sidecar"), service(t, p, "ingress")
		if side.DependsOn["consul"].Condition != types.ServiceConditionHealthy || !side.DependsOn[name].Restart {
			t.Errorf("%s: expected it to wait for a healthy consul and to be restarted with %s, whose network it shares", side.Name, name)
		}
		if ingress.DependsOn[side.Name].Condition != types.ServiceConditionHealthy {
			t.Errorf("ingress: expected it to wait for a healthy %s", side.Name)
		}
	}
}
