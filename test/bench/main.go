package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes, as lintel's own: 0 all is well; 1 something could not be
// measured, or Lintel failed a request; 2 the command line is wrong.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == greedCommand {
		_, _ = fmt.Fprintln(os.Stderr, beGreedy(os.Args[2], os.Args[3], os.Stdout))
		os.Exit(exitFailed)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, progress io.Writer) int {
	o, err := parseOptions(args)
	if errors.Is(err, errHelp) {
		_, _ = io.WriteString(out, help())
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintf(progress, "bench: %v\n", err)
		return exitUsage
	}
	if o.list {
		writeList(out)
		return exitOK
	}
	r, err := measureAll(ctx, o, progress)
	if err != nil {
		_, _ = fmt.Fprintf(progress, "bench: %v\n", err)
		return exitFailed
	}
	if err := write(r, o, out); err != nil {
		_, _ = fmt.Fprintf(progress, "bench: %v\n", err)
		return exitFailed
	}
	if bad := r.shortcomings(); bad != "" {
		_, _ = fmt.Fprintf(progress, "bench: %s\n", bad)
		return exitFailed
	}
	return exitOK
}

// write gives the report in the form that was asked for, and the picture.
func write(r *Report, o options, out io.Writer) error {
	text := r.markdown()
	if o.output == "json" {
		b, err := r.json()
		if err != nil {
			return err
		}
		text = string(b)
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, []byte(r.svg()), 0o644); err != nil {
			return err
		}
	}
	_, err := io.WriteString(out, text)
	return err
}

// measureAll runs the chosen scenarios one after the other.
func measureAll(ctx context.Context, o options, progress io.Writer) (*Report, error) {
	b, err := newBench(ctx, o, progress)
	if err != nil {
		return nil, err
	}
	defer b.close()
	r := &Report{Machine: b.machine(), Command: o.command()}
	for _, s := range o.scenarios {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted: nothing is reported of a run that did not end")
		}
		r.Scenarios = append(r.Scenarios, b.measure(s))
	}
	if ctx.Err() != nil {
		return nil, errors.New("interrupted: nothing is reported of a run that did not end")
	}
	return r, nil
}
