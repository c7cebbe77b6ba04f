package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// streams is how many requests share an HTTP/2 connection.
const streams = 8

// h2loadGet sends requests over HTTP/2: as many at once as --connections says,
// eight to a connection.
func h2loadGet(ctx context.Context, b *Bench, t Turn) (Load, error) {
	log := filepath.Join(b.dir, "h2load.log")
	defer func() { _ = os.Remove(log) }()
	out, err := exec.CommandContext(ctx, b.tools["h2load"].path, "-D", strconv.Itoa(t.Seconds), "-t", "1",
		"-c", strconv.Itoa(max(1, b.opts.connections/streams)), "-m", strconv.Itoa(streams), "--log-file", log, t.Running.URL).CombinedOutput()
	if err != nil {
		return Load{}, fmt.Errorf("h2load: %w\n%s", err, out)
	}
	l, err := parseH2load(string(out))
	if err != nil {
		return l, err
	}
	f, err := os.Open(log)
	if err != nil {
		return l, err
	}
	defer func() { _ = f.Close() }()
	l.P50, l.P99, err = parseH2loadLog(f)
	return l, err
}

var (
	h2Finished = regexp.MustCompile(`(?m)^finished in ([\d.]+)(us|ms|s), `)
	h2Requests = regexp.MustCompile(`(?m)^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$`)
	h2Protocol = regexp.MustCompile(`(?m)^Application protocol: (\S+)$`)
)

// parseH2load reads what h2load prints. Only answers with status 2xx and 3xx
// count as succeeded.
func parseH2load(out string) (Load, error) {
	var l Load
	m, n := h2Finished.FindStringSubmatch(out), h2Requests.FindStringSubmatch(out)
	if m == nil || n == nil {
		return l, fmt.Errorf("h2load: expected lines \"finished in …\" and \"requests: …\", found %q", out)
	}
	var err error
	if l.Elapsed, err = time.ParseDuration(m[1] + m[2]); err != nil {
		return l, fmt.Errorf("h2load: %w", err)
	}
	if l.Requests, err = strconv.ParseInt(n[4], 10, 64); err != nil {
		return l, fmt.Errorf("h2load: %w", err)
	}
	if l.Failed, err = strconv.ParseInt(n[5], 10, 64); err != nil {
		return l, fmt.Errorf("h2load: %w", err)
	}
	if l.Failed > 0 {
		l.Why = n[0]
	}
	if p := h2Protocol.FindStringSubmatch(out); p == nil || p[1] != "h2" {
		return l, errors.New("h2load: HTTP/2 was not agreed on")
	}
	return l, l.unanswered("h2load")
}

// parseH2loadLog takes percentiles of the log's third column, microseconds.
func parseH2loadLog(r io.Reader) (p50, p99 time.Duration, err error) {
	var took []time.Duration
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 {
			return 0, 0, fmt.Errorf("h2load: expected start, status and time in its log, found %q", lines.Text())
		}
		us, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("h2load: %w", err)
		}
		took = append(took, time.Duration(us)*time.Microsecond)
	}
	slices.Sort(took)
	return percentile(took, 50), percentile(took, 99), lines.Err()
}
