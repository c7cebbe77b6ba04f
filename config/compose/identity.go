package compose

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/mtls"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
)

// Identity is this process in the mesh.
type Identity struct {
	mtls.Source
	TrustDomain string
	Minter      *txntoken.Minter
	Federated   *mtls.Federated // nil: the own trust domain only
	ids         *mtls.ServiceIDs
	trust       *mtls.Trust // nil: only checking
	scope       Scope
}

// Scope is where in Consul a service lives, for identities named as Consul's
// CA names them.
type Scope struct{ Datacenter, Namespace, Partition string }

// openIdentity opens the source that cfg names and waits, bounded, for the
// first identity; waiting, which may be nil, is told for what. It returns nil
// when the source is "none".
func openIdentity(ctx context.Context, cfg config.Identity, service string, ca mtls.ConnectCA, log *slog.Logger, waiting func(string)) (*Identity, error) {
	if cfg.Source == "none" {
		return nil, nil
	}
	if cfg.Service != "" {
		service = cfg.Service
	}
	id := &Identity{}
	var err error
	if id.ids, err = mtls.ParseServiceIDs(cfg.ServiceID); err != nil {
		return nil, err
	}
	switch cfg.Source {
	case "workload-api":
		id.Source, err = mtls.Workload(ctx, mtls.WorkloadConfig{Address: cfg.Socket, ID: cfg.ID, Hint: cfg.Hint, Wait: cfg.Wait, Waiting: waiting, Log: log})
	case "consul":
		if ca == nil {
			return nil, fmt.Errorf("identity.source is consul, but discovery.consul is not configured")
		}
		id.ids = mtls.ConsulServiceIDs()
		id.Source, err = mtls.Consul(ctx, mtls.ConsulConfig{CA: ca, Service: service, Wait: cfg.Wait, Waiting: waiting, Log: log})
	case "embedded":
		own, idErr := id.ids.ID(cfg.Embedded.TrustDomain, id.scope.service(service))
		if idErr != nil {
			return nil, idErr
		}
		id.Source, err = mtls.Embedded(ctx, mtls.EmbeddedConfig{
			CA: mtls.CAConfig{Dir: cfg.Embedded.Dir, TrustDomain: cfg.Embedded.TrustDomain, TTL: cfg.Embedded.TTL, Log: log},
			ID: own, Wait: cfg.Wait})
	}
	if err == nil {
		err = id.federate(cfg.Federation, log)
	}
	if err != nil {
		return nil, err
	}
	return id, id.finish(cfg, log)
}

// NewIdentity wraps a source that is open already: the demo's.
func NewIdentity(src mtls.Source, cfg config.Identity, log *slog.Logger) (*Identity, error) {
	ids, err := mtls.ParseServiceIDs(cfg.ServiceID)
	if cfg.Source == "consul" {
		ids = mtls.ConsulServiceIDs()
	}
	if err != nil {
		return nil, err
	}
	id := &Identity{Source: src, ids: ids}
	return id, id.finish(cfg, log)
}

func (id *Identity) finish(cfg config.Identity, log *slog.Logger) error {
	own, err := mtls.ID(id.Source)
	if err != nil {
		return fmt.Errorf("compose: identity: %w", err)
	}
	id.TrustDomain = own.TrustDomain().Name()
	if cfg.Source == "consul" {
		id.scope = scopeOf(own.Path())
	}
	var further []string
	if id.Federated != nil {
		further = id.Federated.Names()
	}
	if id.trust, err = mtls.NewTrust(id.Source, further); err != nil {
		return fmt.Errorf("compose: identity: %w", err)
	}
	id.Minter, err = txntoken.NewMinter(id.Source, txntoken.MinterConfig{
		Lifetime: cfg.Txn.Lifetime, Reuse: cfg.Txn.Reuse,
		Oversize: func(subject string, n int) {
			log.Warn("identity: a Txn-Token is larger than 4 KB; every hop pays for it", "bytes", n)
		},
	})
	return err
}

// scopeOf reads where in Consul the own identity stands from its path, which
// Consul's CA has signed: the services around it stand there too.
func scopeOf(path string) Scope {
	var s Scope
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i := 0; i+1 < len(parts); i += 2 {
		switch parts[i] {
		case "ap":
			s.Partition = parts[i+1]
		case "ns":
			s.Namespace = parts[i+1]
		case "dc":
			s.Datacenter = parts[i+1]
		}
	}
	return s
}

// Self returns the own SPIFFE ID.
func (id *Identity) Self() (string, error) {
	own, err := mtls.ID(id.Source)
	return own.String(), err
}

// Trusted returns why the other side of an open connection would be refused by
// the roots and federated trust domains of this moment, nil when it would not.
func (id *Identity) Trusted(peer exchange.Peer, now time.Time) error {
	if id.trust == nil {
		return errors.New("compose: no identity, so nobody is trusted")
	}
	return id.trust.Check(peer, now)
}

// Of returns the SPIFFE ID expected of a service.
func (id *Identity) Of(service string) (string, error) {
	return id.ids.ID(id.TrustDomain, id.scope.service(service))
}

func (s Scope) service(name string) mtls.Service {
	return mtls.Service{Name: name, Namespace: s.Namespace, Partition: s.Partition, Datacenter: s.Datacenter}
}

// Patterns turns a list of service names, SPIFFE IDs and SPIFFE ID prefixes
// into SPIFFE ID patterns.
func (id *Identity) Patterns(list []string) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, p := range list {
		switch {
		case p == "*":
			p = "spiffe://" + id.TrustDomain + "/*"
		case len(p) < 9 || p[:9] != "spiffe://":
			full, err := id.Of(p)
			if err != nil {
				return nil, err
			}
			p = full
		}
		out = append(out, p)
	}
	return out, nil
}

// Transport fills the mesh part of a transport's config: mTLS that accepts
// exactly the service's identity.
func (id *Identity) Transport(service, exact string, t *exchange.TransportConfig) error {
	if exact == "" {
		var err error
		if exact, err = id.Of(service); err != nil {
			return err
		}
	}
	expect, err := mtls.Expect(exact)
	if err != nil {
		return err
	}
	t.TLS = mtls.ClientConfig(id.Source, expect, mtls.Options{})
	t.Retire = mtls.Retire(id.Source)
	t.RetirePeer = mtls.RetirePeer
	t.PeerID = mtls.PeerOf
	if id.trust != nil {
		t.Distrusted = id.trust.Lost
	}
	return nil
}

// In returns the SPIFFE ID of a service in another namespace or partition.
func (id *Identity) In(s Scope, service string) (string, error) {
	s.Datacenter = id.scope.Datacenter
	return id.ids.ID(id.TrustDomain, s.service(service))
}
