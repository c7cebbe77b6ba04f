package discovery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// What the keys under one prefix may take in all: a configuration, not a store.
const (
	kvMostKeys  = 1000
	kvMostBytes = 8 << 20
)

// KV is what stands under a prefix of Consul's key/value store.
type KV struct {
	Prefix string   `json:"prefix"`
	Pairs  []KVPair `json:"pairs"` // sorted by key
	Index  uint64   `json:"index"` // the highest ModifyIndex among them
}

// KVPair is one key and its text.
type KVPair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Digest tells two states apart, the same in every process that sees the same.
func (kv *KV) Digest() string {
	h := sha256.New()
	for _, p := range kv.Pairs {
		_, _ = fmt.Fprintf(h, "%d:%s%d:%s", len(p.Key), p.Key, len(p.Value), p.Value)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// WatchKV calls update with what stands under prefix and again with every
// change, and heard with nil whenever Consul has confirmed that, or with why it
// cannot be asked. Neither is called concurrently with itself.
func (c *Consul) WatchKV(ctx context.Context, prefix string, update func(KV), heard func(error)) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	last := ""
	p := &poll[api.KVPairs]{
		consul: c, ahead: true, about: fmt.Sprintf("keys under %q", prefix), needs: fmt.Sprintf("key_prefix %q read (and list)", prefix),
		ask: func(o *api.QueryOptions) (api.KVPairs, *api.QueryMeta, error) { return c.api.KV().List(prefix, o) },
		answer: func(pairs api.KVPairs, meta *api.QueryMeta) error {
			kv, err := c.plainKV(ctx, prefix, pairs, meta)
			if err != nil {
				return err
			}
			heard(nil)
			if now := fmt.Sprint(kv.Index, kv.Digest()); now != last {
				last = now
				update(kv)
			}
			return nil
		},
		confirm: func() { heard(nil) }, failed: heard,
	}
	return p.run(ctx)
}

// GetKV asks once.
func (c *Consul) GetKV(ctx context.Context, prefix string) (KV, error) {
	if err := checkPrefix(prefix); err != nil {
		return KV{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, shortQuery)
	defer cancel()
	pairs, meta, err := c.api.KV().List(prefix, c.options(ctx))
	if err != nil {
		return KV{}, fmt.Errorf("discovery: keys under %q: %w", prefix, err)
	}
	return c.plainKV(ctx, prefix, pairs, meta)
}

// checkPrefix: without an end, lintel/edge would take lintel/edge-of-others too.
func checkPrefix(prefix string) error {
	if !strings.HasSuffix(prefix, "/") || strings.HasPrefix(prefix, "/") {
		return fmt.Errorf("discovery: found the prefix %q of keys, want one that ends with / and does not begin with it", prefix)
	}
	return nil
}

// plainKV tells nothing from what we may not see: to a token without the
// permission Consul answers as if there were no key.
func (c *Consul) plainKV(ctx context.Context, prefix string, pairs api.KVPairs, meta *api.QueryMeta) (KV, error) {
	kv := KV{Prefix: prefix, Pairs: []KVPair{}}
	if meta.ResultsFilteredByACLs {
		return kv, fmt.Errorf("%w: some keys are hidden from the token", ErrDenied)
	}
	if len(pairs) == 0 && (meta.DefaultACLPolicy == "deny" || c.token.now(c.cfg.Log) != "") {
		allowed, err := c.mayRead(ctx, "key", prefix)
		if err != nil {
			return kv, err
		}
		if !allowed {
			return kv, fmt.Errorf("%w: consul shows no key to a token that may not read the prefix", ErrDenied)
		}
	}
	size := 0
	for _, p := range pairs {
		if len(p.Value) == 0 && strings.HasSuffix(p.Key, "/") {
			continue // a folder, as Consul's UI makes them
		}
		kv.Index = max(kv.Index, p.ModifyIndex)
		kv.Pairs = append(kv.Pairs, KVPair{p.Key, string(p.Value)})
		size += len(p.Key) + len(p.Value)
	}
	if len(kv.Pairs) > kvMostKeys || size > kvMostBytes {
		return kv, errors.New("more than " + fmt.Sprint(kvMostKeys) + " keys, or than 8 MiB: too much for a configuration")
	}
	slices.SortFunc(kv.Pairs, func(a, b KVPair) int { return strings.Compare(a.Key, b.Key) })
	return kv, nil
}
