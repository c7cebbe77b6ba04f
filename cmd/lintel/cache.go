package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/admin"
)

func newCache() *cobra.Command {
	c := &cobra.Command{
		Use:     "cache",
		Short:   "Purge the caches of a running Lintel, or see how they are doing",
		Example: "  lintel cache purge --tag product-7\n  lintel cache stats --output json",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCachePurge(), newCacheStats())
	return c
}

// addressFlag is where the admin API is.
type addressFlag string

func (a *addressFlag) register(c *cobra.Command) {
	c.Flags().StringVar((*string)(a), "address", "127.0.0.1:9901", "host:port of the admin API")
}

func (a addressFlag) check() error {
	if _, _, err := net.SplitHostPort(string(a)); err != nil {
		return usageError{fmt.Errorf("--address: expected host:port, found %q", string(a))}
	}
	return nil
}

func newCachePurge() *cobra.Command {
	var p admin.PurgeRequest
	var addr addressFlag
	var output outputFlag
	c := &cobra.Command{
		Use:   "purge",
		Short: "Have a running Lintel forget cached answers",
		Long: "Have a running Lintel forget cached answers, by their URL, by the beginning of it, or by a tag that the service gave them in " +
			"Surrogate-Key or Cache-Tag. Answers on their way from a service are not kept either. Exits 0 also when nothing was there to forget, " +
			"1 when it could not be asked or has no such cache, 2 when the command line is wrong.",
		Example: "  lintel cache purge --url https://api.example.com/orders/7\n  lintel cache purge --prefix /orders/\n" +
			"  lintel cache purge --tag product-7 --output json",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			given := 0
			for _, name := range []string{"url", "prefix", "tag", "all"} {
				if c.Flags().Changed(name) {
					given++
				}
			}
			if given != 1 || p.URL+p.Prefix+p.Tag == "" && !p.All {
				return usageError{errors.New("expected one of --url, --prefix, --tag and --all")}
			}
			if err := checkTarget(p.URL + p.Prefix); err != nil {
				return usageError{err}
			}
			if err := addr.check(); err != nil {
				return err
			}
			result, err := admin.AskPurge(c.Context(), string(addr), p)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(c.OutOrStdout(), result)
			}
			told := ""
			if result.Untold {
				told = "; instances that share the cache are told once Redis answers"
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d purged%s\n", result.Purged, told)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&p.URL, "url", "", "https://host/path?query, or /path?query on any host")
	f.StringVar(&p.Prefix, "prefix", "", "the beginning of such a URL")
	f.StringVar(&p.Tag, "tag", "", "a tag of answers")
	f.BoolVar(&p.All, "all", false, "everything")
	f.StringVar(&p.Cache, "cache", "", "only in this cache, as lintel cache stats names it")
	addr.register(c)
	output.register(c)
	return c
}

// checkTarget finds what no Lintel would take for a URL to purge.
func checkTarget(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL", s)
	case u.Fragment != "":
		return fmt.Errorf("found %q: a URL to purge has no fragment", s)
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(s, "/"):
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil:
	default:
		return fmt.Errorf("expected https://host/path, or /path for any host, found %q", s)
	}
	return nil
}

// cacheStats are those of an answer of GET /cache that a table shows.
type cacheStats struct {
	Name     string `json:"name"`
	Entries  int    `json:"entries"`
	Bytes    int64  `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	Hits     int64  `json:"hits"`
	Misses   int64  `json:"misses"`
	Shared   []struct {
		Redis                string
		Ready                bool
		Hits, Misses, Stored int64
	} `json:"shared"`
}

func newCacheStats() *cobra.Command {
	var addr addressFlag
	var output outputFlag
	c := &cobra.Command{
		Use:   "stats",
		Short: "Say what the caches of a running Lintel hold, and how often that was of use",
		Long: "Say what the caches of a running Lintel hold, and how often that was of use. Exits 0, 1 when it could not be asked, 2 when the\n" +
			"command line is wrong.",
		Example: "  lintel cache stats\n  lintel cache stats --address 127.0.0.1:9902 --output json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := addr.check(); err != nil {
				return err
			}
			if output == "json" {
				var all []map[string]any
				if err := admin.AskCaches(c.Context(), string(addr), &all); err != nil {
					return err
				}
				return writeJSON(c.OutOrStdout(), all)
			}
			var all []cacheStats
			if err := admin.AskCaches(c.Context(), string(addr), &all); err != nil {
				return err
			}
			for _, s := range all {
				shared := ""
				for _, t := range s.Shared {
					state := "asked"
					if !t.Ready {
						state = "not asked at the moment"
					}
					shared += fmt.Sprintf("; redis %s, %s: %d hits, %d misses, %d stored", t.Redis, state, t.Hits, t.Misses, t.Stored)
				}
				if _, err := fmt.Fprintf(c.OutOrStdout(), "%s: %d entries, %d of %d bytes, %d hits, %d misses%s\n",
					s.Name, s.Entries, s.Bytes, s.MaxBytes, s.Hits, s.Misses, shared); err != nil {
					return err
				}
			}
			return nil
		},
	}
	addr.register(c)
	output.register(c)
	return c
}
