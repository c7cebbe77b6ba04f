// Package docs_test proves that docs/ says what the code does.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
)

var root, _ = filepath.Abs(filepath.Join("..", ".."))

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestConfigReferenceIsCurrent(t *testing.T) {
	registry, err := compose.Registry()
	if err != nil {
		t.Fatal(err)
	}
	configs, docs := compose.Schemas(registry)
	old := read(t, "docs/config.md")
	updated, err := config.UpdateReference(old, configs, docs)
	if err != nil {
		t.Fatal(err)
	}
	if updated != old {
		t.Error("docs/config.md is out of date: run go run ./cmd/lintel schema --update docs/config.md")
	}
}

// documents are the texts for people.
func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) < 6 {
		t.Fatalf("found %d documents (%v)", len(files), err)
	}
	names := []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"}
	for _, f := range files {
		names = append(names, "docs/"+filepath.Base(f))
	}
	return names
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|src="([^"]+)"`)
	for _, name := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			to := m[1] + m[2]
			if strings.Contains(to, "://") || strings.HasPrefix(to, "#") {
				continue
			}
			path, _, _ := strings.Cut(to, "#")
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), path)); err != nil {
				t.Errorf("%s: link to %s: %v", name, to, err)
			}
		}
	}
}

// TestExamplesInDocumentsAreValid loads every block of YAML that begins with
// version: 1.
func TestExamplesInDocumentsAreValid(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(version: 1\n.*?)```")
	found := 0
	for _, name := range documents(t) {
		for _, m := range block.FindAllStringSubmatch(read(t, name), -1) {
			found++
			if _, err := config.Parse(name, []byte(m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if found == 0 {
		t.Error("no document shows a configuration")
	}
}
