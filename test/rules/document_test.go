package rules_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestArchitectureShowsTheTable: the document and the rule are one.
func TestArchitectureShowsTheTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\| (.+) \\| (nothing|`.*`) \\|$")
	quoted := regexp.MustCompile("`([^`]+)`")
	shown := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		shown[m[1]] = []string{}
		for _, i := range quoted.FindAllStringSubmatch(m[3], -1) {
			shown[m[1]] = append(shown[m[1]], i[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		if imports, ok := shown[name]; !ok || !slices.Equal(imports, rooms[name]) {
			t.Errorf("ARCHITECTURE.md: %s may import %v there, and %v in test/rules", name, imports, rooms[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		if _, ok := rooms[name]; !ok {
			t.Errorf("ARCHITECTURE.md: room %s is not in test/rules", name)
		}
	}
}
