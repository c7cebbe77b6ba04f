package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/test/kit"
)

func TestMain(m *testing.M) {
	code := m.Run()
	kit.Clean()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

func TestBadCommandLinesSayWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		args string
		says string
	}{
		{"--scenario plane", `expected some of plain, jwt, `},
		{"--scenario plain,,jwt", `found ""`},
		{"--output xml", `--output: expected markdown or json, found "xml"`},
		{"--rounds 0", "--rounds: expected 1 to 100, found 0"},
		{"--seconds 0", "--seconds: expected 1 to 600, found 0"},
		{"--seconds 1.5", "--help"},
		{"--cores 3", "--cores: expected 1 to 2, found 3"},
		{"--connections 0", "--connections: expected 1 to 10000, found 0"},
		{"--round 1", "not defined: -round"},
		{"plain", `expected flags only, found "plain"`},
	} {
		var out, progress bytes.Buffer
		if code := run(t.Context(), strings.Fields(c.args), &out, &progress); code != exitUsage {
			t.Errorf("%s: exit code %d, want %d", c.args, code, exitUsage)
		}
		if out.Len() > 0 || !strings.Contains(progress.String(), c.says) || strings.Count(progress.String(), "\n") != 1 {
			t.Errorf("%s: wants one line with %q on standard error, got %q, and %q on standard output", c.args, c.says, progress.String(), out.String())
		}
	}
}

func TestHelpAndListAreWhatWasAskedFor(t *testing.T) {
	var out, progress bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &out, &progress); code != exitOK || progress.Len() > 0 {
		t.Errorf("--help: exit code %d, standard error %q", code, progress.String())
	}
	for _, flag := range []string{"--scenario names", "--rounds int", "--seconds int", "--connections int", "--cores int", "--output form",
		"--svg file", "--lintel binary", "--match-log", "--list"} {
		if !strings.Contains(out.String(), "  "+flag+" ") {
			t.Errorf("--help does not explain %s", flag)
		}
	}
	examples := 0
	for line := range strings.Lines(out.String()) {
		if args, ok := strings.CutPrefix(strings.TrimSpace(line), "go run ./test/bench "); ok {
			examples++
			if _, err := parseOptions(strings.Fields(args)); err != nil {
				t.Errorf("example %q: %v", line, err)
			}
		}
	}
	if examples < 3 {
		t.Errorf("--help has %d examples", examples)
	}
	out.Reset()
	if code := run(t.Context(), []string{"--list"}, &out, &progress); code != exitOK {
		t.Errorf("--list: exit code %d", code)
	}
	for _, s := range scenarios() {
		if !strings.Contains(out.String(), s.Name+" ") || s.Title == "" {
			t.Errorf("--list does not explain %s", s.Name)
		}
	}
}

func TestScenariosAreChosenInTheOrderGivenAndOnce(t *testing.T) {
	o, err := parseOptions([]string{"--scenario", "jwt, plain,jwt"})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.scenarios) != 2 || o.scenarios[0].Name != "jwt" || o.scenarios[1].Name != "plain" {
		t.Errorf("chosen: %v", o.scenarios)
	}
	if o, err = parseOptions(nil); err != nil || len(o.scenarios) != len(scenarios()) {
		t.Errorf("without --scenario: %d of %d scenarios, %v", len(o.scenarios), len(scenarios()), err)
	}
}

func TestScenariosHaveTheirOwnNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if seen[s.Name] {
			t.Errorf("two scenarios are called %s", s.Name)
		}
		seen[s.Name] = true
		if s.Contenders[0].Name != "lintel" {
			t.Errorf("%s: the first contender is %s, not lintel", s.Name, s.Contenders[0].Name)
		}
	}
}
