//go:build testssl

package ops_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTestssl has testssl.sh look at an edge with nothing set: make testssl.
func TestTestssl(t *testing.T) {
	addr, _, caFile := startSite(t)
	report := filepath.Join(t.TempDir(), "report.json")
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	// Protocols, cipher categories, forward secrecy, preferences, vulnerabilities.
	cmd := exec.Command("testssl", "--quiet", "--warnings", "off", "--color", "0", "--ip", "127.0.0.1", "--add-ca", caFile,
		"--jsonfile", report, "-p", "-s", "-f", "-P", "-U", "https://localhost:"+port)
	out, err := cmd.CombinedOutput() // its exit code counts findings, good ones too
	b, rerr := os.ReadFile(report)
	if rerr != nil {
		t.Fatalf("testssl: %v, %v\n%s", err, rerr, out)
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(b, &findings); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := 0
	for _, f := range findings {
		switch f.Severity {
		case "OK":
			seen++
		case "INFO":
		case "WARN":
			t.Logf("%s: %s", f.ID, f.Finding) // what testssl itself could not do
		default:
			t.Errorf("%s (%s): %s", f.ID, f.Severity, f.Finding)
		}
	}
	if seen < 25 {
		t.Errorf("testssl found only %d things good:\n%s", seen, out)
	}
}
