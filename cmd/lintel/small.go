package main

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/admin"
)

func newHealth() *cobra.Command {
	var addr string
	var timeout time.Duration
	c := &cobra.Command{
		Use:     "health",
		Short:   "Ask a running Lintel whether it is ready: for container health checks",
		Long:    "Ask a running Lintel whether it is ready. Exits 0 when it is, 1 when it is not, 2 when the command line is wrong.",
		Example: "  lintel health\n  lintel health --address 127.0.0.1:9902",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return usageError{fmt.Errorf("--address: expected host:port, found %q", addr)}
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			if err := admin.Health(ctx, addr); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), "ready")
			return err
		},
	}
	c.Flags().StringVar(&addr, "address", "127.0.0.1:9901", "host:port of the admin API or the probes")
	c.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "longest wait")
	return c
}

func newVersion() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  lintel version\n  lintel version --output json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "json" {
				return writeJSON(c.OutOrStdout(), map[string]string{"version": version(), "go": runtime.Version(),
					"platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "lintel %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	output.register(c)
	return c
}
