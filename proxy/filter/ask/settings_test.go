package ask

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheFingerprintIsOfAllThatCounts(t *testing.T) {
	type section struct{ URL string }
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	print := func(s section, ca string, consumers ...string) string {
		known := map[string]string{}
		for _, c := range consumers {
			known[c] = c
		}
		_, p, err := Settings(s, ca, known)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("a")
	first := print(section{"u"}, file, "x", "y")
	if again := print(section{"u"}, file, "y", "x"); again != first {
		t.Error("the same settings have two fingerprints")
	}
	seen := map[string]bool{first: true}
	for _, other := range []string{print(section{"v"}, file, "x", "y"), print(section{"u"}, "", "x", "y"), print(section{"u"}, file, "x")} {
		if seen[other] {
			t.Error("other settings have the same fingerprint")
		}
		seen[other] = true
	}
	write("b")
	if ca, other, _ := Settings(section{"u"}, file, nil); string(ca) != "b" || seen[other] {
		t.Error("another file has the same fingerprint")
	}
	if _, _, err := Settings(section{}, file+"x", nil); err == nil || !strings.HasPrefix(err.Error(), "ca_file: ") {
		t.Error(err)
	}
}
