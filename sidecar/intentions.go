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
	list         []intention // the first that is about the caller decides
	defaultAllow bool
	requiresJWT  bool
}

// intention is one of Consul's with all that can be known before a call comes.
type intention struct {
	discovery.Intention
	caller      string // the SPIFFE ID it is about; "" for a "*"
	permissions []permission
}

// ruling is what decided about a call, put into words only when somebody asks.
type ruling struct {
	allowed    bool
	by         *intention // nil: none is about the caller
	permission int        // of by, counted from 1; 0: none fits, or there are none
	why        string     // when no intention has been looked at
}

// forbids reports whether an intention that names the caller denies what it does.
// One for "*", and one of whose permissions none fits, leave it to others.
func (r ruling) forbids() bool {
	return !r.allowed && r.by != nil && r.by.caller != "" && (r.permission > 0 || len(r.by.permissions) == 0)
}

func (r ruling) String() string {
	verdict := "denies it"
	if r.allowed {
		verdict = "allows it"
	}
	switch {
	case r.by == nil:
		return r.why
	case r.permission > 0:
		return fmt.Sprintf("permission %d of %d of the intention for %s %s", r.permission, len(r.by.permissions), r.by.Source, verdict)
	case len(r.by.permissions) > 0:
		return fmt.Sprintf("no permission of the intention for %s fits", r.by.Source)
	}
	return fmt.Sprintf("the intention for %s %s", r.by.Source, verdict)
}

func (i *intentions) compile(in discovery.Intentions) *inForce {
	s := &inForce{list: make([]intention, 0, len(in.List)), defaultAllow: in.DefaultAllow, requiresJWT: in.RequiresJWT}
	for _, one := range in.List {
		c := intention{Intention: one}
		if one.Source != "*" {
			// One whose name cannot stand in a SPIFFE ID is about nobody.
			if c.caller, _ = i.id.In(compose.Scope{Namespace: one.Namespace, Partition: one.Partition}, one.Source); c.caller == "" {
				continue
			}
		}
		for _, p := range one.Perms {
			c.permissions = append(c.permissions, compilePermission(p))
		}
		s.list = append(s.list, c)
	}
	return s
}

// follow keeps the state fresh until ctx ends.
func (i *intentions) follow(ctx context.Context, consul *discovery.Consul, service string, log *slog.Logger) {
	err := consul.WatchIntentions(ctx, service, func(in discovery.Intentions) {
		i.state.Store(i.compile(in))
		log.Info("policy: Consul intentions in force", "intentions", len(in.List), "default_allow", in.DefaultAllow)
		for _, trouble := range unsupported(in) {
			log.Error("policy: Consul's intentions ask for what Lintel does not do, so this denies every call it is about", "what", trouble)
		}
	})
	if err != nil && ctx.Err() == nil {
		log.Error("policy: Consul intentions cannot be watched; those known stay in force", "error", err)
	}
}

// unsupported names what of the intentions can only be failed closed on.
func unsupported(in discovery.Intentions) (found []string) {
	if in.RequiresJWT {
		found = append(found, "a JWT provider for every request of the service: remove JWT from its service-intentions entry and let a jwt filter verify")
	}
	for _, one := range in.List {
		for k, p := range one.Perms {
			at := fmt.Sprintf("permission %d of the intention for %s: ", k+1, one.Source)
			if p.RequiresJWT {
				found = append(found, at+"a JWT provider")
			}
			if compilePermission(p).broken {
				found = append(found, at+"an expression that is not RE2")
			}
		}
	}
	return found
}

// decide evaluates the intentions for one exchange. Until Consul has answered,
// wherever it asks for what is not supported, and for whoever is of another
// trust domain than the one it speaks of, the answer is no. byDefault says that
// Consul's own default counts for whom no intention names.
func (i *intentions) decide(x *exchange.Exchange, byDefault bool) ruling {
	s := i.state.Load()
	switch {
	case s == nil:
		return ruling{why: "Consul has not told its intentions yet"}
	case !i.id.Home(x.Peer.ID):
		return ruling{why: "intentions speak of the own trust domain only"}
	case s.requiresJWT:
		return ruling{why: "the intentions require a Consul JWT provider, which is not supported"}
	}
	if in := s.about(x.Peer.ID); in != nil {
		if len(in.permissions) == 0 {
			return ruling{allowed: in.Allow, by: in}
		}
		for k := range in.permissions {
			if p := &in.permissions[k]; p.fits(x) {
				return ruling{allowed: p.Allow, by: in, permission: k + 1}
			}
		}
		return ruling{by: in}
	}
	switch {
	case !byDefault:
		return ruling{why: "no intention names it"}
	case s.defaultAllow:
		return ruling{allowed: true, why: "no intention names it, and Consul's default allows"}
	}
	return ruling{why: "no intention names it, and Consul's default denies"}
}

// about is the first intention that is about a peer, nil when none is.
func (s *inForce) about(peer string) *intention {
	for n := range s.list {
		if s.list[n].names(peer) {
			return &s.list[n]
		}
	}
	return nil
}

// names reports whether the intention is about this peer of the own trust
// domain.
func (in *intention) names(peer string) bool {
	switch {
	case in.Peer != "":
		return false // another cluster's workloads have another trust domain
	case in.caller != "":
		return in.caller == peer || sameService(in.caller, peer)
	}
	partition, namespace := placeOf(peer)
	return within(in.Namespace, namespace) && within(in.Partition, partition)
}

// sameService reports whether two SPIFFE IDs as Consul's CA makes them differ in
// their datacenter at most. Datacenters that are federated share a trust domain
// and intentions, and an intention names no datacenter: one that denies "web"
// must not be missed by the web of another, which a "*" might let in.
func sameService(a, b string) bool {
	placeA, nameA, okA := sansDatacenter(a)
	placeB, nameB, okB := sansDatacenter(b)
	return okA && okB && placeA == placeB && nameA == nameB
}

// sansDatacenter splits …/dc/{datacenter}/svc/{service} around the datacenter.
func sansDatacenter(id string) (place, name string, ok bool) {
	svc := strings.LastIndex(id, "/svc/")
	if svc < 0 {
		return "", "", false
	}
	dc := strings.LastIndexByte(id[:svc], '/')
	if dc < 0 || !strings.HasSuffix(id[:dc], "/dc") {
		return "", "", false
	}
	return id[:dc], id[svc:], true
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
	if !i.id.Home(peer) {
		return false
	}
	for n := range s.list {
		if in := &s.list[n]; in.names(peer) {
			return in.Allow || len(in.permissions) > 0
		}
	}
	return byDefault && s.defaultAllow
}

// bans reports whether an intention that names the peer denies whatever it does.
func (i *intentions) bans(peer string) bool {
	s := i.state.Load()
	if s == nil || !i.id.Home(peer) {
		return false
	}
	in := s.about(peer)
	return in != nil && ruling{allowed: in.Allow, by: in}.forbids()
}

func (i *intentions) describe(byDefault bool) string {
	s := i.state.Load()
	if s == nil {
		return "Consul intentions (not known yet, so deny)"
	}
	d := fmt.Sprintf("%d Consul intentions", len(s.list))
	if s.requiresJWT {
		d += " (which all deny: they require a Consul JWT provider)"
	}
	if byDefault {
		d += fmt.Sprintf(", then Consul's default (allow: %t)", s.defaultAllow)
	}
	return d
}
