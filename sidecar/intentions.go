package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/proxy/exchange"
)

// intentions holds what Consul last said about who may call the service.
type intentions struct {
	id    *compose.Identity
	state atomic.Pointer[inForce]
}

// inForce is what Consul said, compiled.
type inForce struct {
	discovery.Intentions
	permissions [][]permission // per intention
}

func compileIntentions(in discovery.Intentions) *inForce {
	compiled := &inForce{Intentions: in, permissions: make([][]permission, len(in.List))}
	for n, one := range in.List {
		for _, p := range one.Perms {
			compiled.permissions[n] = append(compiled.permissions[n], compilePermission(p))
		}
	}
	return compiled
}

// follow keeps the state fresh until ctx ends.
func (i *intentions) follow(ctx context.Context, consul *discovery.Consul, service string, log *slog.Logger) {
	err := consul.WatchIntentions(ctx, service, func(in discovery.Intentions) {
		i.state.Store(compileIntentions(in))
		log.Info("policy: Consul intentions in force", "intentions", len(in.List), "default_allow", in.DefaultAllow)
	})
	if err != nil && ctx.Err() == nil {
		log.Error("policy: Consul intentions cannot be watched; those known stay in force", "error", err)
	}
}

// decide evaluates the intentions for one exchange. Until Consul has answered,
// and wherever it asks for what is not supported, the answer is no. byDefault
// says that Consul's own default counts for whom no intention names.
func (i *intentions) decide(x *exchange.Exchange, byDefault bool) (bool, string) {
	s := i.state.Load()
	switch {
	case s == nil:
		return false, "Consul has not told its intentions yet"
	case s.RequiresJWT:
		return false, "the intentions require a Consul JWT provider, which is not supported"
	}
	for n, in := range s.List {
		if !i.names(in, x.Peer.ID) {
			continue
		}
		if len(in.Perms) == 0 {
			return in.Allow, fmt.Sprintf("the intention for %s denies it", in.Source)
		}
		for k := range s.permissions[n] {
			if p := &s.permissions[n][k]; p.fits(x) {
				return p.Allow, fmt.Sprintf("a permission of the intention for %s denies it", in.Source)
			}
		}
		return false, fmt.Sprintf("no permission of the intention for %s fits", in.Source)
	}
	if byDefault {
		return s.DefaultAllow, "no intention names it, and Consul's default denies"
	}
	return false, "no intention names it"
}

// names reports whether the intention is about this peer.
func (i *intentions) names(in discovery.Intention, peer string) bool {
	if in.Peer != "" {
		return false // another cluster's workloads have another trust domain
	}
	if in.Source == "*" {
		partition, namespace := placeOf(peer)
		return within(in.Namespace, namespace) && within(in.Partition, partition)
	}
	id, err := i.id.In(compose.Scope{Namespace: in.Namespace, Partition: in.Partition}, in.Source)
	return err == nil && id == peer
}

// within reports whether an intention for all of a namespace or partition,
// named or any, is about this one.
func within(named, is string) bool { return named == "" || named == "*" || named == is }

// placeOf reads partition and namespace off a SPIFFE ID as Consul's CA makes
// them: /ap/{partition}/ns/{namespace}/…, where each that is not named is
// "default".
func placeOf(id string) (partition, namespace string) {
	partition, namespace = "default", "default"
	rest := strings.TrimPrefix(id, "spiffe://")
	_, rest, _ = strings.Cut(rest, "/")
	if after, ok := strings.CutPrefix(rest, "ap/"); ok {
		partition, rest, _ = strings.Cut(after, "/")
	}
	if after, ok := strings.CutPrefix(rest, "ns/"); ok {
		namespace, _, _ = strings.Cut(after, "/")
	}
	return partition, namespace
}

// mentions reports whether some request of this peer might be allowed.
func (i *intentions) mentions(peer string, byDefault bool) bool {
	s := i.state.Load()
	if s == nil {
		return true // not known yet
	}
	for _, in := range s.List {
		if i.names(in, peer) {
			return in.Allow || len(in.Perms) > 0
		}
	}
	return byDefault && s.DefaultAllow
}

func (i *intentions) describe(byDefault bool) string {
	s := i.state.Load()
	if s == nil {
		return "Consul intentions (not known yet, so deny)"
	}
	d := fmt.Sprintf("%d Consul intentions", len(s.List))
	if byDefault {
		d += fmt.Sprintf(", then Consul's default (allow: %t)", s.DefaultAllow)
	}
	return d
}
