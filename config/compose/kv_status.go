package compose

import (
	"errors"
	"fmt"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/tracing"
)

// KVStatus is what the admin API shows.
type KVStatus struct {
	Prefix   string `json:"prefix"`
	Snippets int    `json:"snippets"`
	Index    uint64 `json:"index"`
	Digest   string `json:"digest"` // the same in all processes that run the same
	Newest   string `json:"newest,omitempty"`
	FromDisk bool   `json:"from_disk,omitempty"`
	Stale    string `json:"stale,omitempty"`
}

// Status is what is in force; Newest is the digest of what is not, because it is
// not valid.
func (k *KV) Status() *KVStatus {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s := &KVStatus{Prefix: k.prefix}
	if kv := k.inForce; kv != nil {
		s.Snippets, s.Index, s.Digest = len(kv.Pairs), kv.Index, kv.Digest()
		s.FromDisk = kv == k.kept
		if k.newest != nil && k.newest.Digest() == k.tried && k.tried != s.Digest {
			s.Newest = k.tried
		}
	}
	if k.asked != nil {
		s.Stale = k.asked.Error()
	}
	return s
}

func (k *KV) checks() []admin.Check {
	s := k.Status()
	if s == nil {
		return nil
	}
	c := admin.Check{Name: "config " + s.Prefix, OK: s.Stale == "" && s.Newest == "",
		Detail: fmt.Sprintf("%d keys, index %d, digest %s", s.Snippets, s.Index, s.Digest)}
	if s.FromDisk {
		c.Detail += ", from disk"
	}
	if s.Newest != "" {
		c.Detail += ", the newest (" + s.Newest + ") is not valid"
	}
	if s.Stale != "" {
		c.Detail += ", Consul cannot be asked: " + s.Stale
	}
	return []admin.Check{c}
}

func (k *KV) gauges(m *tracing.Metrics) error {
	if k == nil {
		return nil
	}
	number := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	return errors.Join(
		m.RegisterGauge("lintel_config_kv_index", "The highest ModifyIndex of the keys in force.", nil, func(emit tracing.Emit) { emit(float64(k.Status().Index)) }),
		m.RegisterGauge("lintel_config_kv_stale", "1 while Consul cannot be asked for the keys that hold configuration.", nil, func(emit tracing.Emit) { emit(number(k.Status().Stale != "")) }),
		m.RegisterGauge("lintel_config_kv_refused", "1 while the newest keys are not valid and the ones before are in force.", nil, func(emit tracing.Emit) { emit(number(k.Status().Newest != "")) }),
	)
}
