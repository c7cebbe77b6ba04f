package compose_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// stage is one FROM … AS … with its instructions.
type stage struct {
	name, from string
	lines      [][2]string // instruction, rest
}

type stages []stage

func (s stages) stage(name string) *stage {
	for i := range s {
		if s[i].name == name {
			return &s[i]
		}
	}
	return nil
}

// last is what the last such instruction of a stage says.
func (s stages) last(name, instruction string) string {
	found := ""
	if st := s.stage(name); st != nil {
		for _, l := range st.lines {
			if l[0] == instruction {
				found = l[1]
			}
		}
	}
	return found
}

func dockerfile(t *testing.T) stages {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var out stages
	from := regexp.MustCompile(`^(?:--platform=\S+ )?(\S+) AS (\S+)$`)
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", " "), "\n") {
		instruction, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if instruction == "FROM" {
			m := from.FindStringSubmatch(rest)
			if m == nil {
				t.Fatalf("deploy/Dockerfile: FROM %s: expected a named stage", rest)
			}
			out = append(out, stage{name: m[2], from: m[1]})
			continue
		}
		if len(out) > 0 {
			last := &out[len(out)-1]
			last.lines = append(last.lines, [2]string{instruction, strings.TrimSpace(rest)})
		}
	}
	return out
}

func TestImagesHoldOneBinaryAndRunItWithoutRoot(t *testing.T) {
	all := dockerfile(t)
	if all[len(all)-1].name != "lintel" {
		t.Errorf("the last stage, which is built by default, is %s, expected lintel", all[len(all)-1].name)
	}
	for _, name := range []string{"lintel", "apps"} {
		s := all.stage(name)
		if s == nil {
			t.Fatalf("deploy/Dockerfile has no stage %s", name)
		}
		if s.from != "scratch" {
			t.Errorf("%s is made from %s, expected scratch", name, s.from)
		}
		if user := all.last(name, "USER"); !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(user) {
			t.Errorf("%s runs as %q, expected numbers other than 0: runAsNonRoot cannot see through a name", name, user)
		}
		if entry := all.last(name, "ENTRYPOINT"); entry != `["/`+name+`"]` {
			t.Errorf("%s: its entry point is %s", name, entry)
		}
		for _, l := range s.lines {
			if m := regexp.MustCompile(`--from=(\S+)`).FindStringSubmatch(l[1]); m != nil && all.stage(m[1]) == nil {
				t.Errorf("%s copies from %s, which is no stage", name, m[1])
			}
		}
	}
	if health := all.last("lintel", "HEALTHCHECK"); !strings.HasSuffix(health, `CMD ["/lintel", "health"]`) {
		t.Errorf("the health check is %q", health)
	}
}

// TestBuilderSeesAllItBuilds runs the builder's own go build in a folder that
// holds only what .dockerignore lets through.
func TestBuilderSeesAllItBuilds(t *testing.T) {
	build := ""
	for _, l := range dockerfile(t).stage("build").lines {
		if i := strings.Index(l[1], "go build"); l[0] == "RUN" && i >= 0 {
			build = l[1][i:]
		}
	}
	dirs := regexp.MustCompile(`\./\S+`).FindAllString(build, -1)
	if len(dirs) != 2 || !strings.Contains(build, "-trimpath") {
		t.Fatalf("the builder runs %q, expected a reproducible build of two commands", build)
	}
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			passed = append(passed, name)
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf(".dockerignore: %v", err)
			}
		}
	}
	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}} {{.EmbedFiles}}{{end}}"}, dirs...)...)
	list.Dir = root
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		pkg, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		dir, ours := strings.CutPrefix(pkg, "lintel.dev/lintel/")
		if !ours {
			continue
		}
		seen++
		ok := false
		for _, p := range passed {
			ok = ok || dir == p || strings.HasPrefix(dir, p+"/")
		}
		if !ok {
			t.Errorf(".dockerignore keeps %s from the builder, which needs it", dir)
		}
	}
	if seen < 15 {
		t.Errorf("go list names %d packages of ours, expected the whole of Lintel:\n%s", seen, out)
	}
}
