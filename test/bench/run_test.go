package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lintel.dev/lintel/test/kit"
)

func TestWhatNeedsAMissingToolIsNotMeasured(t *testing.T) {
	var progress bytes.Buffer
	b := benchOf(1)
	b.progress, b.tools = &progress, tools{}
	r := b.measure(plain())
	if r.reason() != "wrk is not installed" || r.best() != nil || !strings.Contains(progress.String(), "not measured: wrk is not installed") {
		t.Errorf("reason %q, progress %q", r.reason(), progress.String())
	}
}

// TestARealRunFailsNoRequest measures for a second, and says nothing of how fast
// anything is: machines that run tests are busy.
func TestARealRunFailsNoRequest(t *testing.T) {
	binary := kit.Binary(t)
	t.Setenv("TMPDIR", t.TempDir())
	name := "plain"
	if _, err := find("wrk"); err != nil {
		name = "conn_plain" // this one makes its own load
	}
	picture := filepath.Join(t.TempDir(), "ratios.svg")
	var out, progress bytes.Buffer
	code := run(t.Context(), []string{"--scenario", name, "--rounds", "1", "--seconds", "1", "--connections", "8", "--output", "json",
		"--svg", picture, "--lintel", binary}, &out, &progress)
	if cpus, err := allowedCPUs(); err != nil || len(cpus) < 2 {
		if code != exitFailed || out.Len() > 0 || !strings.Contains(progress.String(), "not measured: ") {
			t.Errorf("on one CPU, or off Linux: exit code %d, %q, %q", code, out.String(), progress.String())
		}
		return
	}
	if code != exitOK {
		t.Fatalf("exit code %d\n%s\n%s", code, progress.String(), out.String())
	}
	dec := json.NewDecoder(&out)
	var got struct {
		Scenarios []struct {
			Name, Reason string
			Measured     bool
			LintelCPU    float64 `json:"lintel_cpu_us"`
			RPS, Failed  float64
			Contenders   []struct {
				Name, Reason string
				Rounds       int
			}
		}
	}
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Errorf("there is more than one JSON value on standard output: %v", err)
	}
	if len(got.Scenarios) != 1 || got.Scenarios[0].Name != name {
		t.Fatalf("got %+v", got)
	}
	s := got.Scenarios[0]
	if !s.Measured || s.Failed != 0 || s.LintelCPU <= 0 || s.RPS <= 0 {
		t.Errorf("got %+v\n%s", s, progress.String())
	}
	for _, c := range s.Contenders {
		_, err := find(c.Name)
		if there := c.Name == "lintel" || err == nil; there && c.Rounds != 1 || !there && c.Reason != "not installed" {
			t.Errorf("%s (installed: %v) has %d rounds and reason %q\n%s", c.Name, there, c.Rounds, c.Reason, progress.String())
		}
	}
	if text, err := os.ReadFile(picture); err != nil || !bytes.Contains(text, []byte("</svg>")) {
		t.Errorf("the picture: %v, %d bytes", err, len(text))
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestATurnWithoutAnswersIsLongerNextTime(t *testing.T) {
	var seconds []int
	err := patiently(Turn{Seconds: 2}, func(t Turn) error {
		seconds = append(seconds, t.Seconds)
		if len(seconds) < 3 {
			return fmt.Errorf("wrk: %w", errNoAnswers)
		}
		return nil
	})
	if err != nil || fmt.Sprint(seconds) != "[2 6 18]" {
		t.Errorf("turns of %v s, %v", seconds, err)
	}
	seconds = nil
	err = patiently(Turn{Seconds: 1}, func(t Turn) error {
		seconds = append(seconds, t.Seconds)
		return errors.New("refused")
	})
	if err == nil || len(seconds) != 1 {
		t.Errorf("after another error: turns of %v s, %v", seconds, err)
	}
}
