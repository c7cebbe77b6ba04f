package ops_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

func TestMain(m *testing.M) {
	if os.Getenv("LINTEL_TEST_CHILD") != "" {
		os.Exit(childApp()) // a sidecar has started this binary as its app
	}
	code := m.Run()
	kit.Clean()
	os.Exit(code)
}

// readiness is what /readyz answers.
type readiness struct {
	Code   int
	Status string `json:"status"`
	Checks []struct {
		Name     string `json:"name"`
		OK       bool   `json:"ok"`
		Required bool   `json:"required"`
		Detail   string `json:"detail"`
	} `json:"checks"`
}

// detail is what the check whose name begins so says, with its state in front.
func (r readiness) detail(name string) string {
	for _, c := range r.Checks {
		if strings.HasPrefix(c.Name, name) {
			return fmt.Sprintf("ok=%t %s", c.OK, c.Detail)
		}
	}
	return "no check " + name
}

func readyz(admin string) (readiness, error) {
	var r readiness
	code, body := fetch(admin, "/readyz?compact")
	if code == 0 {
		return r, fmt.Errorf("readyz: %s", body)
	}
	r.Code = code
	return r, json.Unmarshal([]byte(body), &r)
}

// mustReady is readyz of a process that must be answering.
func mustReady(t testing.TB, admin string) readiness {
	t.Helper()
	r, err := readyz(admin)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fetch asks over a connection of its own; code 0 is an error, told in the body.
func fetch(addr, path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Close = true
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// metric is the value of a series at admin, whose name and labels begin so.
func metric(t testing.TB, admin, series string) float64 {
	t.Helper()
	code, body := fetch(admin, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("metrics: %d %s", code, body)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + `[^ ]* ([^ \n]+)`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no metric %s in\n%s", series, body)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// endpoints are the addresses that a process has for a service.
func endpoints(admin, service string) ([]string, error) {
	code, body := fetch(admin, "/services?compact")
	if code != http.StatusOK {
		return nil, fmt.Errorf("services: %d %s", code, body)
	}
	var all []struct {
		Service   string `json:"service"`
		Endpoints []struct {
			Address string `json:"address"`
		} `json:"endpoints"`
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		return nil, err
	}
	var out []string
	for _, s := range all {
		if s.Service == service {
			for _, e := range s.Endpoints {
				out = append(out, e.Address)
			}
		}
	}
	return out, nil
}

// awaitEndpoints waits until a process has exactly n endpoints for a service.
func awaitEndpoints(t testing.TB, admin, service string, n int) {
	t.Helper()
	kit.Eventually(t, time.Minute, fmt.Sprintf("%d endpoints of %s", n, service), func() error {
		got, err := endpoints(admin, service)
		if err == nil && len(got) != n {
			err = fmt.Errorf("found %v", got)
		}
		return err
	})
}

// run runs lintel to its end.
func run(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, kit.Binary(t), args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// awaitText waits until an output holds text.
func awaitText(t testing.TB, o *kit.Output, text string) {
	t.Helper()
	kit.Eventually(t, time.Minute, "the output says "+text, func() error {
		if !strings.Contains(o.String(), text) {
			return fmt.Errorf("not in %d bytes of output", len(o.String()))
		}
		return nil
	})
}
