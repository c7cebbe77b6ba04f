package system

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lintel.dev/lintel/test/kit"
)

type demoReady struct {
	Ingress, Admin, Token, Config string
	Commands                      []struct{ Name, Command, Expect string }
}

func startDemo(t *testing.T, args ...string) (p *kit.Process, tmp string) {
	t.Helper()
	tmp = t.TempDir()
	args = append([]string{"demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)
	return kit.Start(t, []string{"TMPDIR=" + tmp}, args...), tmp
}

// interrupt sends SIGINT and checks that the demo ends well and cleans up.
func interrupt(t *testing.T, p *kit.Process, tmp string) {
	t.Helper()
	p.Signal(syscall.SIGINT)
	if code := p.Wait(limit); code != 0 {
		t.Errorf("exit code %d after SIGINT, want 0", code)
	}
	left, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files left behind: %v %v", left, err)
	}
}

func TestDemoPrintsCommandsThatShowWhatTheySay(t *testing.T) {
	t.Parallel()
	p, tmp := startDemo(t, "--output", "json")
	var ready demoReady
	kit.Eventually(t, limit, "the demo says it is ready", func() error {
		line, _, whole := strings.Cut(p.Stdout.String(), "\n")
		if !whole {
			if !p.Running() {
				t.Fatalf("the demo ended: %s", p.Stderr)
			}
			return errors.New("no line yet")
		}
		return json.Unmarshal([]byte(line), &ready)
	})
	if len(ready.Commands) != 5 {
		t.Errorf("%d commands, want 5", len(ready.Commands))
	}
	if ready.Token == "" || !strings.HasPrefix(ready.Ingress, "http://127.0.0.1:") {
		t.Errorf("token %q, ingress %q", ready.Token, ready.Ingress)
	}
	for _, c := range ready.Commands {
		t.Run(c.Name, func(t *testing.T) {
			out, err := exec.CommandContext(bounded(t), "sh", "-c", c.Command).CombinedOutput()
			if err != nil || c.Expect == "" || !strings.Contains(string(out), c.Expect) {
				t.Errorf("%s\nwant %q (%v), got:\n%s", c.Command, c.Expect, err, out)
			}
		})
	}
	if res, err := http.Get(ready.Admin + "/readyz"); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("admin: %v %v", res, err)
	}
	if _, err := os.Stat(ready.Config); err != nil {
		t.Errorf("the configuration it names: %v", err)
	}
	interrupt(t, p, tmp)
	if n := strings.Count(p.Stdout.String(), "\n"); n != 1 {
		t.Errorf("%d lines on standard output, want the one of JSON: %s", n, p.Stdout)
	}
}

func TestDemoTellsAPersonWhatToTry(t *testing.T) {
	t.Parallel()
	p, tmp := startDemo(t)
	kit.Eventually(t, limit, "the demo says it is ready", func() error {
		if !strings.Contains(p.Stdout.String(), "Ctrl-C stops everything.") {
			return errors.New("not yet")
		}
		return nil
	})
	for _, want := range []string{"ingress    http://127.0.0.1:", "token", "an authorized call", "401", "429", "a cache hit", "hop chain", "5. ", "curl -s"} {
		if !strings.Contains(p.Stdout.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, p.Stdout)
		}
	}
	interrupt(t, p, tmp)
}
