package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/proxy/filter/apikey"
)

func newKey() *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make API keys and their hashes",
		Example: "  lintel key new --consumer partner --id 2026-02\n" +
			"  lintel key hash < key.txt",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newKeyNew(), newKeyHash())
	return c
}

func newKeyNew() *cobra.Command {
	var consumer, id string
	var output outputFlag
	c := &cobra.Command{
		Use:   "new",
		Short: "Make a random API key, and the lines for the configuration that know only its hash",
		Long: "Make a random API key, and the lines for the configuration that know only its hash.\n" +
			"The key is shown this once: give it to the client by a way that others do not read.",
		Example: "  lintel key new --consumer partner --id 2026-02\n  lintel key new --output json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			key := apikey.New()
			hash := apikey.Hash(key)
			if output == "json" {
				out := map[string]string{"key": key, "hash": hash}
				if consumer != "" {
					out["consumer"] = consumer
				}
				if id != "" {
					out["id"] = id
				}
				return writeJSON(c.OutOrStdout(), out)
			}
			entry := hash
			if id != "" {
				entry = fmt.Sprintf("{hash: %q, id: %q}", hash, id)
			}
			name := consumer
			if name == "" {
				name = "NAME"
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s\n\n# For the configuration; the key itself is shown this once.\nconsumers:\n  %s:\n    api_keys:\n      - %s\n",
				key, yamlName(name), entry)
			return err
		},
	}
	c.Flags().StringVar(&consumer, "consumer", "", "whose key it is")
	c.Flags().StringVar(&id, "id", "", "tells the key from others of the consumer")
	output.register(c)
	return c
}

// yamlName quotes a name that YAML might read as something else.
func yamlName(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	})
	if plain && s[0] != '-' {
		return s
	}
	return fmt.Sprintf("%q", s)
}

func newKeyHash() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use:     "hash",
		Short:   "Read an API key from standard input and print its hash",
		Long:    "Read an API key from standard input and print its hash. It is never taken from the command line, which other users of the machine can see.",
		Example: "  lintel key hash < key.txt\n  pass show api/partner | lintel key hash",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{errors.New("lintel key hash reads the key from standard input: on the command line others could see it")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := io.ReadAll(io.LimitReader(c.InOrStdin(), 4096))
			if err != nil {
				return err
			}
			key := strings.TrimSpace(string(text))
			if key == "" {
				return usageError{errors.New("standard input is empty: expected an API key")}
			}
			if err := apikey.Check(key); err != nil {
				return usageError{err}
			}
			if output == "json" {
				return writeJSON(c.OutOrStdout(), map[string]string{"hash": apikey.Hash(key)})
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), apikey.Hash(key))
			return err
		},
	}
	output.register(c)
	return c
}
