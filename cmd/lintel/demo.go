package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/cmd/lintel/demo"
)

func newDemo() *cobra.Command {
	var o demo.Options
	var level string
	var output outputFlag
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run an ingress and three services with a sidecar each, with nothing else installed",
		Example: "  lintel demo\n  lintel demo --listen 127.0.0.1:9090\n  lintel demo --output json\n" +
			"  CONSUL_HTTP_ADDR=127.0.0.1:8500 lintel demo --consul",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := newProcess(level, c.ErrOrStderr())
			if err != nil {
				return err
			}
			defer p.stop()
			o.Log, o.Version = p.log, version()
			d, err := demo.Start(p.ctx, o)
			if err != nil {
				return starting(p.ctx, err)
			}
			defer d.Close()
			ready, err := d.Ready()
			if err != nil {
				return err
			}
			if output == "json" {
				err = ready.WriteJSON(c.OutOrStdout())
			} else {
				err = ready.WriteText(c.OutOrStdout())
			}
			if err != nil {
				return err
			}
			select {
			case <-p.ctx.Done():
				if output != "json" {
					_, _ = fmt.Fprintln(c.OutOrStdout(), "\nStopping.")
				}
				return nil
			case err := <-d.Ended():
				return err
			}
		},
	}
	f := c.Flags()
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "where the ingress listens")
	f.StringVar(&o.Admin, "admin", "", "where the ingress's admin API listens (127.0.0.1:9901, or any free port when that is taken)")
	f.BoolVar(&o.Consul, "consul", false, "use the Consul of the CONSUL_* environment, with its CA, instead of the embedded parts")
	output.register(c)
	f.StringVar(&level, "log-level", "warn", "debug, info, warn or error")
	return c
}
