package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/ingress"
	"lintel.dev/lintel/sidecar"
)

// paper is a bench that writes configurations and starts nothing.
func paper(t *testing.T) *Bench {
	b := benchOf(64)
	b.dir = t.TempDir()
	b.cpus = cpus{proxy: []int{0}, load: []int{1}}
	b.tools = tools{}
	b.Backend, b.Bulk = &Backend{Addr: "127.0.0.1:12001", Close: "0.0.0.0:12002"}, "127.0.0.1:12006"
	var err error
	if b.Cert, err = newCertFiles(b.dir); err != nil {
		t.Fatal(err)
	}
	if b.Tokens, err = newTokens(b.dir); err != nil {
		t.Fatal(err)
	}
	return b
}

// hops calls do with the configuration of every process of every scenario.
func hops(t *testing.T, b *Bench, do func(t *testing.T, h Hop, p Place, text string)) {
	for _, s := range scenarios() {
		for _, c := range s.Contenders {
			for i, h := range c.Hops {
				t.Run(fmt.Sprintf("%s/%s/%d", s.Name, c.Name, i), func(t *testing.T) {
					p := Place{Listen: "127.0.0.1:12003", Extra: "127.0.0.1:12004", Admin: "127.0.0.1:12005", Next: b.Backend.Addr, Dir: t.TempDir()}
					do(t, h, p, h.Config(b, p))
				})
			}
		}
	}
}

func TestEveryLintelConfigurationIsValid(t *testing.T) {
	b := paper(t)
	all := manyRoutes
	manyRoutes = 20
	defer func() { manyRoutes = all }()
	for _, matchLog := range []bool{false, true} {
		b.opts.matchLog, b.opts.connections = matchLog, 64
		if matchLog {
			b.opts.connections = 1100
		}
		hops(t, b, func(t *testing.T, h Hop, p Place, text string) {
			if h.Program.Tool != "lintel" {
				return
			}
			s, err := config.Parse(h.Program.File, []byte(text))
			if err != nil {
				t.Fatalf("%v\n%.2000s", err, text)
			}
			if h.Program == lintelSidecar {
				err = sidecar.Check(s)
			} else {
				table, cerr := ingress.Check(s)
				if err = cerr; err == nil {
					table.Release()
				}
			}
			if err != nil {
				t.Errorf("%v\n%.2000s", err, text)
			}
		})
	}
}

// TestPeersAcceptTheirConfigurations asks those that are installed.
func TestPeersAcceptTheirConfigurations(t *testing.T) {
	check := map[string]func(file, dir string) []string{
		"nginx": func(file, dir string) []string {
			return []string{"-t", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file}
		},
		"haproxy": func(file, _ string) []string { return []string{"-c", "-f", file} },
		"caddy":   func(file, _ string) []string { return []string{"validate", "--adapter", "caddyfile", "--config", file} },
	}
	b := paper(t)
	ask := func(t *testing.T, prog *Program, dir, text string) {
		path, err := find(prog.Tool)
		if err != nil {
			t.Logf("%s is not installed", prog.Tool)
			return
		}
		file := filepath.Join(dir, prog.File)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, check[prog.Tool](file, dir)...)
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, out, text)
		}
	}
	hops(t, b, func(t *testing.T, h Hop, p Place, text string) {
		if h.Program.Tool != "lintel" {
			ask(t, h.Program, p.Dir, text)
		}
	})
	dir := t.TempDir()
	ask(t, nginx, dir, b.Backend.config(dir, 1, 20000))
	ask(t, nginx, dir, bulkConfig(dir, b.Bulk, 20000))
}

func TestCPUsAreSharedOutOrRefused(t *testing.T) {
	if c, err := split([]int{0, 1}, 1); err != nil || len(c.proxy) != 1 || c.proxy[0] != 0 || len(c.load) != 1 || c.load[0] != 1 {
		t.Errorf("two CPUs: %v, %v", c, err)
	}
	if c, err := split([]int{2, 3, 5, 7}, 2); err != nil || len(c.proxy) != 2 || len(c.load) != 2 {
		t.Errorf("four CPUs: %v, %v", c, err)
	}
	for _, c := range []struct {
		allowed []int
		n       int
	}{{[]int{0}, 1}, {[]int{0, 1}, 2}, {[]int{0, 1, 2}, 2}} {
		if got, err := split(c.allowed, c.n); err == nil {
			t.Errorf("%v for %d: %v, want a refusal", c.allowed, c.n, got)
		}
	}
}
