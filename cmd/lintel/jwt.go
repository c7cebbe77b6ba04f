package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/admin"
)

func newJWT() *cobra.Command {
	c := &cobra.Command{
		Use:     "jwt",
		Short:   "Withdraw users' tokens before they expire",
		Example: "  lintel jwt deny 4f8a2c --for 1h",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newJWTDeny())
	return c
}

func newJWTDeny() *cobra.Command {
	var addr addressFlag
	var output outputFlag
	var issuer, until string
	var period time.Duration
	var undo bool
	c := &cobra.Command{
		Use:   "deny JTI",
		Short: "Withdraw a token, by its claim jti, for every Lintel that follows the list in Redis",
		Long: "Has a running Lintel put a token on the deny lists in Redis that its jwt filters follow (deny.redis). Every Lintel that follows\n" +
			"them refuses the token within deny.every. Say until when, which is the token's exp, so that the lists do not grow for ever.\n" +
			"Exits 0 when it is listed, 1 when it could not be, 2 when the command line is wrong.",
		Example: "  lintel jwt deny 4f8a2c --for 1h\n  lintel jwt deny 4f8a2c --issuer https://issuer.example --until 2026-03-01T00:00:00Z\n" +
			"  lintel jwt deny 4f8a2c --undo",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usageError{fmt.Errorf("%s: expected one JTI, found %d", c.CommandPath(), len(args))}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := addr.check(); err != nil {
				return err
			}
			d := admin.Denial{JTI: args[0], Issuer: issuer}
			given := 0
			for _, name := range []string{"until", "for", "undo"} {
				if c.Flags().Changed(name) {
					given++
				}
			}
			if given > 1 {
				return usageError{errors.New("--until, --for and --undo exclude each other")}
			}
			switch {
			case undo:
				d.Until = time.Unix(1, 0)
			case period > 0:
				d.Until = time.Now().Add(period)
			case c.Flags().Changed("for"):
				return usageError{fmt.Errorf("--for: expected a duration like 1h, found %s", period)}
			case until != "":
				var err error
				if d.Until, err = time.Parse(time.RFC3339, until); err != nil {
					return usageError{fmt.Errorf("--until: expected a time like 2026-03-01T00:00:00Z, found %q", until)}
				}
			}
			r, err := admin.AskDeny(c.Context(), string(addr), d)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(c.OutOrStdout(), r)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "listed (lists: %d)\n", r.Lists)
			return err
		},
	}
	c.Flags().StringVar(&issuer, "issuer", "", "only the token of this issuer; of any otherwise")
	c.Flags().StringVar(&until, "until", "", "when the entry ends: the token's exp")
	c.Flags().DurationVar(&period, "for", 0, "how long the entry counts")
	c.Flags().BoolVar(&undo, "undo", false, "let the token pass again")
	addr.register(c)
	output.register(c)
	return c
}
