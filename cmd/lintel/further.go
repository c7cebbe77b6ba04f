package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
)

// furtherFlags name configuration beside the file.
type furtherFlags struct {
	kv    bool
	files []string
}

func (f *furtherFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.kv, "kv", false, "with what Consul's KV store holds now (discovery.consul.kv)")
	flags.StringArrayVar(&f.files, "snippet", nil, "with this file, as if it stood in a key there; may be repeated")
}

// merge adds what they name to the file's snapshot.
func (f *furtherFlags) merge(ctx context.Context, s *config.Snapshot) (*config.Snapshot, error) {
	var list []config.Snippet
	if f.kv {
		var err error
		if list, err = compose.FetchKV(ctx, s.Discovery, slog.New(slog.DiscardHandler)); err != nil {
			return nil, fmt.Errorf("--kv: %w", err)
		}
	}
	for _, name := range f.files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, usageError{fmt.Errorf("--snippet: %w", err)}
		}
		list = append(list, config.Snippet{Name: name, Text: string(text)})
	}
	if list == nil {
		return s, nil
	}
	return config.Merge(s, list)
}
