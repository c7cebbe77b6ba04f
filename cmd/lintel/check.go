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
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/sidecar"
)

func newValidate() *cobra.Command {
	var file string
	var output outputFlag
	c := &cobra.Command{
		Use:     "validate",
		Short:   "Check a configuration without running it",
		Example: "  lintel validate -c lintel.yaml\n  lintel validate -c lintel.yaml --output json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := load(file)
			if err == nil {
				err = checkSnapshot(s)
			}
			if output == "json" {
				list := []string{}
				if err != nil {
					list = strings.Split(err.Error(), "\n")
				}
				if werr := writeJSON(c.OutOrStdout(), map[string]any{"valid": err == nil, "file": file, "errors": list}); werr != nil {
					return werr
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

func newExplain() *cobra.Command {
	var file, method, host, path, listener string
	var output outputFlag
	var headers []string
	c := &cobra.Command{
		Use:   "explain",
		Short: "Say which route a request takes, through which filters, and why not the others",
		Example: "  lintel explain -c lintel.yaml --host api.example.com --path /orders/7\n" +
			"  lintel explain -c lintel.yaml --method POST --path /orders -H 'X-Beta: 1' --output json",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := load(file)
			if err != nil {
				return err
			}
			t, err := ingress.Check(s)
			if err != nil {
				return usageError{err}
			}
			defer t.Release()
			x := &exchange.Exchange{Shadow: true}
			x.Request.Method, x.Request.Authority, x.Request.Scheme = method, host, "http"
			x.Request.Path, x.Request.Query, _ = strings.Cut(path, "?")
			x.Client.Listener = listener
			if listener == "" {
				x.Client.Listener = s.Listeners[0].Name
			}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok {
					return usageError{fmt.Errorf("-H: expected 'Name: value', found %q", h)}
				}
				x.Request.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
			e := t.Explain(x, pathMode(s, x.Client.Listener))
			if output == "json" {
				return writeJSON(c.OutOrStdout(), e)
			}
			return writeExplanation(c.OutOrStdout(), e)
		},
	}
	f := c.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration file (required)")
	f.StringVar(&method, "method", "GET", "request method")
	f.StringVar(&host, "host", "localhost", "Host of the request")
	f.StringVar(&path, "path", "/", "path of the request, with its query if any")
	f.StringVar(&listener, "listener", "", "listener it comes in on; the first otherwise")
	f.StringArrayVarP(&headers, "header", "H", nil, "'Name: value'; repeatable")
	output.register(c)
	return c
}

func pathMode(s *config.Snapshot, listener string) route.Mode {
	for _, l := range s.Listeners {
		if l.Name == listener {
			return compose.PathMode(l.Path)
		}
	}
	return route.Strict
}

func writeExplanation(w io.Writer, e route.Explanation) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s%s\n", e.Method, e.Host, e.Path)
	if e.Problem != "" {
		fmt.Fprintf(&b, "  %d: %s\n", e.Status, e.Problem)
	}
	if e.Route != "" {
		fmt.Fprintf(&b, "  route    %s (%s), matches %s\n", e.Route, e.Pos, e.Match)
	}
	if e.Removed > 0 {
		fmt.Fprintf(&b, "  firewall removes %d header(s)\n", e.Removed)
	}
	for i, f := range e.Filters {
		fmt.Fprintf(&b, "  filter %d %s (%s) %s\n", i+1, f.Kind, f.Pos, shorten(f.Settings))
		if f.Verdict != "" {
			fmt.Fprintf(&b, "           this request, without a user: %s\n", shorten(f.Verdict))
		}
	}
	switch e.Action {
	case "service":
		fmt.Fprintf(&b, "  service  %s, as %s\n", e.Service, e.Forward)
	case "redirect", "respond":
		fmt.Fprintf(&b, "  %s  %d\n", e.Action, e.Status)
	}
	for _, o := range e.Others {
		fmt.Fprintf(&b, "  not %s (%s): %s\n", o.Route, o.Pos, o.Why)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shorten keeps a line readable; --output json has all of it.
func shorten(s string) string {
	const limit = 100
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
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
