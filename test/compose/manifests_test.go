package compose_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"lintel.dev/lintel/test/kit"
)

// validate runs lintel validate on a configuration that a manifest holds.
func validate(t *testing.T, where, text string) {
	t.Helper()
	file := kit.File(t, "manifest.yaml", text)
	cmd := exec.Command(kit.Binary(t), "validate", "-c", file)
	cmd.Env = append(os.Environ(), "HOST_IP=192.0.2.1", "POD_IP=192.0.2.2")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", where, err, out)
	}
}

// The types of Kubernetes' and Nomad's objects are checked in test/tools/manifests.
func TestConfigurationsInManifestsAreValid(t *testing.T) {
	found := 0
	manifests, err := filepath.Glob("../../deploy/kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range manifests {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(b), "\n---\n") {
			var object struct {
				Kind string            `yaml:"kind"`
				Data map[string]string `yaml:"data"`
			}
			if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if object.Kind != "ConfigMap" {
				continue
			}
			for name, text := range object.Data {
				found++
				validate(t, file+": "+name, text)
			}
		}
	}
	b, err := os.ReadFile("../../deploy/nomad/orders.nomad.hcl")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)<<EOF\n(.*?)\nEOF\n`).FindSubmatch(b)
	if m == nil {
		t.Fatal("deploy/nomad/orders.nomad.hcl holds no template")
	}
	rendered := strings.NewReplacer(`{{ env "NOMAD_ALLOC_ID" }}`, "5f1c", `{{ env "NOMAD_PORT_mesh" }}`, "15443", `{{ env "NOMAD_IP_mesh" }}`, "192.0.2.2",
		`{{ env "NOMAD_PORT_probes" }}`, "9902").Replace(string(m[1]))
	validate(t, "orders.nomad.hcl", rendered)
	if found != 3 {
		t.Errorf("found %d configurations in deploy/kubernetes, want 3", found)
	}
}

func TestSystemdUnitsAreValid(t *testing.T) {
	units, err := filepath.Glob("../../deploy/systemd/*.service")
	if err != nil || len(units) == 0 {
		t.Fatalf("%v, %v", units, err)
	}
	verify := func(name, text string) (string, error) {
		file := filepath.Join(t.TempDir(), name)
		text = strings.NewReplacer("/usr/bin/lintel", kit.Binary(t), "/usr/bin/orders", kit.Binary(t)).Replace(text)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
		return string(out), err
	}
	for _, unit := range units {
		b, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := verify(filepath.Base(unit), string(b)); err != nil || strings.Contains(out, filepath.Base(unit)) {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
		if out, _ := verify(filepath.Base(unit), strings.Replace(string(b), "WatchdogSec", "WatchDogSeconds", 1)); !strings.Contains(out, "WatchDogSeconds") {
			t.Errorf("a misspelt key was taken for valid:\n%s", out)
		}
	}
}
