package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/admin"
)

func newDrain() *cobra.Command {
	var addr string
	var timeout time.Duration
	var leave bool
	c := &cobra.Command{
		Use:   "drain",
		Short: "Have a running Lintel drain and end, or only leave the catalog",
		Long: "Has a running Lintel drain and end, as SIGTERM does, and returns at once. With --leave it turns unready and leaves\n" +
			"the catalog, goes on serving whoever still comes, and the command returns once nobody is sent there any more: for\n" +
			"hooks that run before a stop. Exits 0 when done, 1 when it could not be, 2 when the command line is wrong.",
		Example: "  lintel drain\n  lintel drain --leave --address 127.0.0.1:9901",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return usageError{fmt.Errorf("--address: expected host:port, found %q", addr)}
			}
			ctx, cancel := context.WithTimeout(c.Context(), timeout)
			defer cancel()
			what, says := admin.Drain, "draining"
			if leave {
				what, says = admin.Leave, "left"
			}
			if err := what(ctx, addr); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), says)
			return err
		},
	}
	c.Flags().StringVar(&addr, "address", "127.0.0.1:9901", "host:port of the admin API")
	c.Flags().BoolVar(&leave, "leave", false, "leave the catalog and go on serving")
	c.Flags().DurationVar(&timeout, "timeout", 15*time.Second, "longest wait")
	return c
}
