package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/ingress"
	"lintel.dev/lintel/sidecar"
	"lintel.dev/lintel/sidecar/child"
)

// process is what both modes need of the operating system.
type process struct {
	ctx      context.Context
	stop     context.CancelFunc
	reload   chan struct{}
	signals  chan os.Signal // for the app; nil when there is none
	handover *handover      // nil when there is none
	log      *slog.Logger
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

// mode is a running ingress or sidecar.
type mode interface {
	Ready() error
	Run(context.Context) error
}

// serve runs m to its end and tells whoever started this process how it goes.
func (p *process) serve(m mode) error {
	ctx, end := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	telling.Go(func() { p.announce(ctx, m) })
	err := m.Run(p.ctx)
	end()
	telling.Wait()
	p.handover.stop()
	return err
}

func newIngress() *cobra.Command {
	var file, level, pidFile string
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
			if p.handover, err = newHandover(pidFile, p.log); err != nil {
				return err
			}
			s, err := load(file)
			if err != nil {
				return err
			}
			g, err := ingress.Start(p.ctx, ingress.Options{Snapshot: s, Path: file, Version: version(),
				Out: c.OutOrStdout(), Log: p.log, Reload: p.reload, Listen: p.handover.opener(),
				HandedOver: p.handover.done(), Draining: p.handover.stop})
			if err != nil {
				return starting(p.ctx, err)
			}
			return p.serve(g)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file (required)")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	c.Flags().StringVar(&pidFile, "pid-file", "", "holds the process id of whichever process serves, also after SIGUSR2")
	return c
}

func newSidecar() *cobra.Command {
	var file, level, pidFile string
	var f sidecarFlags
	c := &cobra.Command{
		Use:   "sidecar [flags] [-- PROGRAM [ARGUMENT…]]",
		Short: "Run the sidecar next to one service, and the service too if its command is given",
		Long: "Runs the sidecar next to one service. With a command after --, it starts the app once identity, discovery and\n" +
			"listeners are there, passes signals on (SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH), ends it in order on SIGTERM\n" +
			"or SIGINT (out of the catalog, calls finish, the app gets SIGTERM, its own calls finish), ends when it ends, and\n" +
			"exits with its exit code: 128 and the number of the signal that killed it, 127 when there is no such program, 126\n" +
			"when it cannot be run. The app is told LINTEL_OUTBOUND, LINTEL_UPSTREAM_<SERVICE> and LINTEL_JWKS_URL.",
		Example: "  lintel sidecar -c /etc/lintel/orders.yaml\n" +
			"  lintel sidecar --service orders --app 127.0.0.1:8080\n" +
			"  lintel sidecar --service orders --app 127.0.0.1:8080 --allow ingress --upstream inventory=127.0.0.1:9191\n" +
			"  lintel sidecar --service orders --app 127.0.0.1:8080 -- ./orders --port 8080\n" +
			"  lintel sidecar --service nightly --admin off -- ./nightly-job",
		Args: onlyAfterDash,
		RunE: func(c *cobra.Command, program []string) error {
			p, err := newProcess(level, c.ErrOrStderr())
			if err != nil {
				return err
			}
			defer p.stop()
			if len(program) > 0 {
				p.signals = make(chan os.Signal, 16)
				signal.Notify(p.signals, forApp...)
			} else if p.handover, err = newHandover(pidFile, p.log); err != nil {
				return err
			}
			s, err := sidecarSnapshot(file, f)
			if err != nil {
				return err
			}
			o := sidecar.Options{Snapshot: s, Path: file, Version: version(), Out: c.OutOrStdout(), Log: p.log, Reload: p.reload,
				Signals: p.signals, Listen: p.handover.opener(), HandedOver: p.handover.done(), Draining: p.handover.stop}
			if len(program) > 0 {
				o.App = &child.Command{Args: program, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
			}
			m, err := sidecar.Start(p.ctx, o)
			if err != nil {
				return starting(p.ctx, err)
			}
			return p.serve(m)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file; the flags below make one otherwise")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	c.Flags().StringVar(&pidFile, "pid-file", "", "holds the process id of whichever process serves, also after SIGUSR2")
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

// onlyAfterDash refuses words that are not the app's command.
func onlyAfterDash(c *cobra.Command, args []string) error {
	switch dash := c.ArgsLenAtDash(); {
	case dash < 0:
		return noArgs(c, args)
	case dash > 0:
		return usageError{fmt.Errorf("%s takes only the app's command, after --; found %q before it", c.CommandPath(), args[0])}
	case len(args) == 0:
		return usageError{fmt.Errorf("%s: expected the app's command after --", c.CommandPath())}
	}
	return nil
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
