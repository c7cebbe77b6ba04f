package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/ingress"
	"lintel.dev/lintel/sidecar"
)

// process is what both modes need of the operating system.
type process struct {
	ctx    context.Context
	stop   context.CancelFunc
	reload chan struct{}
	log    *slog.Logger
}

// readable writes durations with their unit, not as nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// newProcess turns SIGINT and SIGTERM into the end of ctx and SIGHUP into a
// reload. Logs go to standard error, the access log to standard output.
func newProcess(level string, errOut io.Writer) (*process, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level: expected debug, info, warn or error, found %q", level)}
	}
	p := &process{reload: make(chan struct{}, 1),
		log: slog.New(slog.NewJSONHandler(errOut, &slog.HandlerOptions{Level: l, ReplaceAttr: readable}))}
	p.ctx, p.stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			select {
			case p.reload <- struct{}{}:
			default: // one is pending already
			}
		}
	}()
	return p, nil
}

func newIngress() *cobra.Command {
	var file, level string
	c := &cobra.Command{
		Use:     "ingress",
		Short:   "Run the API gateway",
		Example: "  lintel ingress -c /etc/lintel/ingress.yaml",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := newProcess(level, c.ErrOrStderr())
			if err != nil {
				return err
			}
			defer p.stop()
			s, err := load(file)
			if err != nil {
				return err
			}
			g, err := ingress.Start(p.ctx, ingress.Options{Snapshot: s, Path: file, Version: version(),
				Out: c.OutOrStdout(), Log: p.log, Reload: p.reload})
			if err != nil {
				return starting(p.ctx, err)
			}
			return g.Run(p.ctx)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file (required)")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return c
}

func newSidecar() *cobra.Command {
	var file, level string
	var f sidecarFlags
	c := &cobra.Command{
		Use:   "sidecar",
		Short: "Run the sidecar next to one service",
		Example: "  lintel sidecar -c /etc/lintel/orders.yaml\n" +
			"  lintel sidecar --service orders --app 127.0.0.1:8080\n" +
			"  lintel sidecar --service orders --app 127.0.0.1:8080 --allow ingress --upstream inventory=127.0.0.1:9191",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := newProcess(level, c.ErrOrStderr())
			if err != nil {
				return err
			}
			defer p.stop()
			s, err := sidecarSnapshot(file, f)
			if err != nil {
				return err
			}
			m, err := sidecar.Start(p.ctx, sidecar.Options{Snapshot: s, Path: file, Version: version(),
				Out: c.OutOrStdout(), Log: p.log, Reload: p.reload})
			if err != nil {
				return starting(p.ctx, err)
			}
			return m.Run(p.ctx)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file; the flags below make one otherwise")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.register(c.Flags())
	return c
}

// starting keeps a signal during start from looking like a failure.
func starting(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func load(file string) (*config.Snapshot, error) {
	if file == "" {
		return nil, usageError{errors.New("-c FILE is required")}
	}
	s, err := config.Load(file)
	if err != nil {
		return nil, usageError{err}
	}
	return s, nil
}

func sidecarSnapshot(file string, f sidecarFlags) (*config.Snapshot, error) {
	if file != "" {
		if f.service != "" || f.app != "" {
			return nil, usageError{errors.New("-c and --service/--app exclude each other")}
		}
		return load(file)
	}
	return f.snapshot()
}

func version() string { return compose.Version() }
