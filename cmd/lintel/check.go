package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/ingress"
	"lintel.dev/lintel/sidecar"
)

func newValidate() *cobra.Command {
	var file string
	var further furtherFlags
	var output outputFlag
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check a configuration without running it",
		Long: "Check a configuration, with the files that it names, without running it or asking anybody. Exits 0 when it is valid, 2 when it\n" +
			"is not, with every error at its line.",
		Example: "  lintel validate -c lintel.yaml\n  lintel validate -c lintel.yaml --output json\n" +
			"  lintel validate -c lintel.yaml --kv\n  lintel validate -c lintel.yaml --snippet orders.yaml",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := load(file)
			warnings := []string{}
			if err == nil {
				s, err = further.merge(c.Context(), s)
			}
			if err == nil {
				wrong, soon := compose.CheckFiles(s)
				warnings = append(warnings, soon...)
				err = compose.Together(append(wrong, checkSnapshot(s))...)
			}
			if output == "json" {
				list := []string{}
				if err != nil {
					list = strings.Split(err.Error(), "\n")
				}
				if werr := writeJSON(c.OutOrStdout(), map[string]any{"valid": err == nil, "file": file, "errors": list, "warnings": warnings}); werr != nil {
					return werr
				}
			}
			if output != "json" {
				for _, w := range warnings {
					fmt.Fprintln(c.ErrOrStderr(), "lintel: warning:", w)
				}
			}
			if err != nil {
				return usageError{err}
			}
			if output != "json" {
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s: valid\n", file)
			}
			return err
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file (required)")
	further.register(c.Flags())
	output.register(c)
	return c
}

// checkSnapshot compiles a snapshot for the mode it is written for, without
// asking anyone for identities or endpoints.
func checkSnapshot(s *config.Snapshot) error {
	if s.Sidecar == nil && len(s.Listeners) == 0 {
		return fmt.Errorf("%s: neither listeners (for an ingress) nor sidecar: nothing to run", s.Pos(""))
	}
	if s.Sidecar != nil {
		if err := sidecar.Check(s); err != nil {
			return err
		}
	}
	if len(s.Listeners) == 0 {
		return nil
	}
	t, err := ingress.Check(s)
	if err == nil {
		t.Release()
	}
	return err
}

func newSchema() *cobra.Command {
	var markdown string
	c := &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the configuration",
		Example: "  lintel schema > lintel.schema.json\n  lintel schema --update docs/config.md",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			reg, err := compose.Registry()
			if err != nil {
				return err
			}
			configs, docs := compose.Schemas(reg)
			if markdown != "" {
				text, err := os.ReadFile(markdown)
				if err != nil {
					return err
				}
				updated, err := config.UpdateReference(string(text), configs, docs)
				if err != nil {
					return err
				}
				return os.WriteFile(markdown, []byte(updated), 0o644)
			}
			schema, err := config.Schema(configs, docs)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(append(schema, '\n'))
			return err
		},
	}
	c.Flags().StringVar(&markdown, "update", "", "write the reference into this Markdown file instead")
	return c
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
