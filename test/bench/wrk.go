package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// wrkGet asks for the scenario's path over connections that stay open.
func wrkGet(ctx context.Context, b *Bench, t Turn) (Load, error) { return runWrk(ctx, b, t, "") }

// wrkScript is the same with a Lua script.
func wrkScript(script func(*Bench) string) func(context.Context, *Bench, Turn) (Load, error) {
	return func(ctx context.Context, b *Bench, t Turn) (Load, error) { return runWrk(ctx, b, t, script(b)) }
}

func runWrk(ctx context.Context, b *Bench, t Turn, script string) (Load, error) {
	threads := min(max(1, len(b.cpus.load)-b.opts.cores), b.opts.connections)
	args := []string{"-t", strconv.Itoa(threads), "-c", strconv.Itoa(b.opts.connections), "-d", strconv.Itoa(t.Seconds) + "s", "--timeout", "10s", "--latency"}
	for name, values := range t.Running.Header {
		args = append(args, "-H", name+": "+values[0])
	}
	if script != "" {
		args = append(args, "-s", script)
	}
	out, err := exec.CommandContext(ctx, b.tools["wrk"].path, append(args, t.Running.URL)...).CombinedOutput()
	if err != nil {
		return Load{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return parseWrk(string(out))
}

var (
	wrkTotal   = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h), `)
	wrkErrors  = regexp.MustCompile(`(?m)^\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)$`)
	wrkStatus  = regexp.MustCompile(`(?m)^\s*Non-2xx or 3xx responses: (\d+)$`)
	wrkPercent = regexp.MustCompile(`(?m)^\s*(50|99)%\s+([\d.]+)(us|ms|s|m|h)\s*$`)
)

// parseWrk reads what wrk --latency prints.
func parseWrk(out string) (Load, error) {
	var l Load
	m := wrkTotal.FindStringSubmatch(out)
	if m == nil {
		return l, fmt.Errorf("wrk: expected a line \"N requests in T\", found %q", out)
	}
	var err error
	if l.Requests, err = strconv.ParseInt(m[1], 10, 64); err != nil {
		return l, fmt.Errorf("wrk: %w", err)
	}
	if l.Elapsed, err = wrkTime(m[2], m[3]); err != nil {
		return l, err
	}
	for _, p := range wrkPercent.FindAllStringSubmatch(out, -1) {
		d, err := wrkTime(p[2], p[3])
		if err != nil {
			return l, err
		}
		if p[1] == "50" {
			l.P50 = d
		} else {
			l.P99 = d
		}
	}
	var why []string
	if m := wrkErrors.FindStringSubmatch(out); m != nil {
		why = append(why, strings.TrimSpace(m[0]))
		for _, n := range m[1:] {
			k, err := strconv.ParseInt(n, 10, 64)
			if err != nil {
				return l, fmt.Errorf("wrk: %w", err)
			}
			l.Failed += k
		}
	}
	if m := wrkStatus.FindStringSubmatch(out); m != nil {
		k, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return l, fmt.Errorf("wrk: %w", err)
		}
		l.Failed += k
		why = append(why, fmt.Sprintf("%d answers were neither 2xx nor 3xx", k))
	}
	l.Why = strings.Join(why, "; ")
	return l, l.unanswered("wrk")
}

func wrkTime(number, unit string) (time.Duration, error) {
	d, err := time.ParseDuration(number + unit)
	if err != nil {
		return 0, fmt.Errorf("wrk: %w", err)
	}
	return d, nil
}
