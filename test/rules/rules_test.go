// Package rules_test keeps the import rules of ARCHITECTURE.md.
package rules_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "lintel.dev/lintel/"

var root, _ = filepath.Abs(filepath.Join("..", ".."))

// pkg is one of our packages as go list sees it, tests aside.
type pkg struct {
	name, doc string
	imports   []string // of ours without the module's path
	deps      []string // the same, transitively
}

var list = sync.OnceValues(func() (map[string]pkg, error) {
	cmd := exec.Command("go", "list", "-e", "-f", "{{.ImportPath}}\t{{.Doc}}\t{{join .Imports \" \"}}\t{{join .Deps \" \"}}", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	pkgs := map[string]pkg{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		p := pkg{name: strings.TrimPrefix(f[0], module), doc: f[1]}
		for _, i := range strings.Fields(f[2]) {
			p.imports = append(p.imports, strings.TrimPrefix(i, module))
		}
		for _, i := range strings.Fields(f[3]) {
			if name, ours := strings.CutPrefix(i, module); ours {
				p.deps = append(p.deps, name)
			}
		}
		pkgs[p.name] = p
	}
	return pkgs, nil
})

func packages(t *testing.T) map[string]pkg {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 20 {
		t.Fatalf("go list names %d packages, expected the whole of Lintel", len(all))
	}
	return all
}

// among reports whether name is on the list, where "a/..." is all below a.
func among(name string, list []string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		below, all := strings.CutSuffix(p, "/...")
		return p == name || all && strings.HasPrefix(name, below+"/")
	})
}

func TestEveryPackageImportsOnlyWhatTheTableAllows(t *testing.T) {
	all := packages(t)
	for name, p := range all {
		if isKit(name) {
			continue
		}
		allowed, known := rooms[name]
		if !known {
			t.Errorf("%s is not in the table: say in ARCHITECTURE.md what it is for, and in test/rules what it may import", name)
			continue
		}
		for _, i := range p.imports {
			if _, ours := all[i]; !ours {
				continue
			}
			switch {
			case isKit(i):
				t.Errorf("%s imports %s, which is for tests only", name, i)
			case !among(i, allowed):
				t.Errorf("%s imports %s: it may import %v only", name, i, allowed)
			}
		}
	}
	for name := range rooms {
		if _, there := all[name]; !there {
			t.Errorf("%s is in the table, but there is no such package", name)
		}
	}
}

func TestDataPlaneNeverReachesTheControlPlane(t *testing.T) {
	control := []string{"config", "config/...", "discovery", "mtls", "mtls/...", "tracing", "admin", "ingress", "sidecar", "cmd/..."}
	for name, p := range packages(t) {
		if !strings.HasPrefix(name, "proxy/") {
			continue
		}
		for _, d := range p.deps {
			if among(d, control) {
				t.Errorf("%s depends on %s: the data plane must be usable, and readable, without the control plane", name, d)
			}
		}
	}
}

func TestModesNeverReachEachOther(t *testing.T) {
	all := packages(t)
	for a, b := range map[string]string{"ingress": "sidecar", "sidecar": "ingress"} {
		if slices.Contains(all[a].deps, b) {
			t.Errorf("%s depends on %s: what both need belongs into config/compose", a, b)
		}
	}
}

func TestEveryDependencyHasOneDoor(t *testing.T) {
	all := packages(t)
	for name, p := range all {
		if isKit(name) {
			continue
		}
		for _, i := range p.imports {
			first, _, _ := strings.Cut(i, "/")
			if _, ours := all[i]; ours || !strings.Contains(first, ".") {
				continue
			}
			k := slices.IndexFunc(doors, func(d struct {
				module string
				rooms  []string
				why    string
			}) bool {
				return i == d.module || strings.HasPrefix(i, d.module+"/")
			})
			switch {
			case k < 0:
				t.Errorf("%s imports %s, a dependency that has no door: give its reason in ARCHITECTURE.md and add it to test/rules", name, i)
			case !slices.Contains(doors[k].rooms, name):
				t.Errorf("%s imports %s: only %v may, because %s", name, i, doors[k].rooms, doors[k].why)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for name, p := range packages(t) {
		if !strings.HasPrefix(p.doc, "Package ") && !strings.HasPrefix(p.doc, "Command ") && !strings.HasPrefix(name, "test/") {
			t.Errorf("%s has no doc.go with its charter", name)
		}
	}
}
