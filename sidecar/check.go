package sidecar

import (
	"errors"
	"fmt"
	"log/slog"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/store"
)

// offline is a compiler without identity, discovery or listeners.
func offline(s *config.Snapshot) (*compiler, error) {
	registry, err := compose.Registry()
	if err != nil {
		return nil, err
	}
	id, err := compose.OfflineIdentity(s.Identity)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.Pos("identity"), err)
	case id == nil:
		return nil, fmt.Errorf("%s: identity.source is none: a sidecar needs workload-api, consul or embedded", s.Pos("identity"))
	}
	return &compiler{registry: registry, stores: store.NewSet(), id: id, log: slog.New(slog.DiscardHandler), offline: true,
		redis:    &compose.Redis{Offline: true},
		clusters: &compose.Clusters{ID: id, Feed: compose.OfflineFeed(s.Discovery)}, sender: &compose.Sender{ID: id}}, nil
}

// Check compiles a snapshot without identity, discovery or listeners.
func Check(s *config.Snapshot) error {
	c, err := offline(s)
	if err != nil {
		return err
	}
	var errs []error
	at := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", s.Pos(key), key, err))
		}
	}
	for i, u := range s.Sidecar.Upstreams {
		at(fmt.Sprintf("sidecar.upstreams[%d].bind", i), onLoopback(u.Bind))
	}
	if s.Sidecar.Outbound != "off" {
		at("sidecar.outbound", onLoopback(s.Sidecar.Outbound))
	}
	at("sidecar.mesh", compose.CheckListen(s.Sidecar.Mesh))
	if err := compose.CheckAdmin(s.Admin); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", s.Pos("admin.address"), err))
	}
	errs = append(errs, compose.CheckRedis(s)...)
	errs = append(errs, compose.CheckKV(s)...)
	errs = append(errs, compose.CheckServices(s)...)
	errs = append(errs, exchangeIsServed(s))
	memory := txntoken.NewMemory(1)
	out, err := c.outbound(s, memory)
	errs = append(errs, err)
	if err == nil {
		out.Release()
	}
	streams, serr := c.opaque(s)
	switch {
	case serr == nil:
		streams.lease.Release()
	case err == nil || serr.Error() != err.Error(): // both look which services are opaque
		errs = append(errs, serr)
	}
	if s.Sidecar.App != "" && s.Sidecar.AppProtocol != "tcp" {
		in, _, err := c.inbound(s, memory)
		errs = append(errs, err)
		if err == nil {
			in.Release()
		}
	}
	return errors.Join(errs...)
}
