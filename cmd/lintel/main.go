// Command lintel is an API gateway at the edge (lintel ingress) and a
// service-mesh sidecar next to each service (lintel sidecar).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/sidecar/child"
)

// Exit codes: 0 all is well; 1 it ran and failed; 2 the command line or the
// configuration is wrong. A sidecar that started an app ends with the app's.
const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError is the user's to correct.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	root := newRoot()
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return
	}
	var app *child.Exit
	if errors.As(err, &app) {
		if app.Err != nil {
			fmt.Fprintln(os.Stderr, "lintel:", err)
		}
		os.Exit(app.Code)
	}
	var errs config.Errors
	if errors.As(err, &errs) {
		fmt.Fprintln(os.Stderr, errs.Detail())
		os.Exit(exitUsage)
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(os.Stderr, "lintel:", line)
	}
	// cobra has no type for a command it does not know.
	if errors.As(err, &usageError{}) || errors.As(err, &compose.ConfigError{}) || strings.HasPrefix(err.Error(), "unknown command") {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "lintel",
		Short:         "API gateway and service-mesh sidecar in one binary",
		SilenceErrors: true,
		SilenceUsage:  true,
		Example:       "  lintel demo\n  lintel ingress -c lintel.yaml\n  lintel sidecar --service orders --app 127.0.0.1:8080",
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
	})
	root.AddCommand(newIngress(), newSidecar(), newDemo(), newValidate(), newExplain(), newSchema(), newCache(), newHealth(), newDrain(), newKey(), newJWT(), newVersion())
	return root
}

// noArgs refuses stray words as the user's mistake.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, found %q", c.CommandPath(), args[0])}
	}
	return nil
}

// outputFlag is --output: text or json, and nothing else.
type outputFlag string

func (o *outputFlag) String() string { return string(*o) }
func (o *outputFlag) Type() string   { return "text|json" }

func (o *outputFlag) Set(v string) error {
	if v != "text" && v != "json" {
		return fmt.Errorf("expected text or json, found %q", v)
	}
	*o = outputFlag(v)
	return nil
}

func (o *outputFlag) register(c *cobra.Command) {
	*o = "text"
	c.Flags().Var(o, "output", "text or json")
}
