//go:build !windows

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPIDFileThatCannotBeWrittenIsRefusedAtStart(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.pid")
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                                     "",
		filepath.Join(dir, "l.pid"):            "",
		link:                                   "",
		dir:                                    "it is a folder",
		filepath.Join(dir, "none", "l.pid"):    "no file can be written there: no such file",
		filepath.Join(victim, "l.pid"):         "no file can be written there: not a directory",
		filepath.Join(dir, "new") + "/":        "",
		"/proc/self/fdinfo/lintel-never-there": "no file can be written there",
	} {
		err := writablePIDFile(path)
		if strings.HasSuffix(path, "/") {
			want = "no file can be written there" // the folder does not exist
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("%v is left", left)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "kept" {
		t.Errorf("a link's target: %q %v", b, err)
	}
	if _, err := newHandover(dir, nil); !errors.As(err, &usageError{}) {
		t.Errorf("%v is no mistake on the command line", err)
	}
}
