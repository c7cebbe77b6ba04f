package ingress

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/credential"
	"lintel.dev/lintel/proxy/filter/mirror"
	"lintel.dev/lintel/proxy/filter/split"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
)

// forwarding compiles where a route's exchanges go.
type forwarding struct {
	*compiler
	s     *config.Snapshot
	cfg   *config.Route
	at    string // the route's path in the snapshot
	lease *store.Lease
	fail  failure
	chain []config.Filter
}

func (f *forwarding) compile(r *route.Route) error {
	r.DropAuthorization = f.cfg.Authorization == "drop"
	var meshed bool
	var err error
	if f.cfg.Service != "" {
		r.Cluster, meshed, err = f.service("service", f.cfg.Service, nil, nil)
	} else {
		meshed, err = f.split(r)
	}
	if err != nil {
		return err
	}
	if !meshed && len(f.cfg.Scope) > 0 {
		return f.fail("scope", "the route leads to no mesh service, and only those are sent a Txn-Token")
	}
	if meshed {
		if r.Before, err = f.before(); err != nil {
			return err
		}
	}
	if f.cfg.Mirror != nil {
		return f.mirror(r)
	}
	return nil
}

// before is what adds the internal tokens of this route's exchanges.
func (f *forwarding) before() (func(*exchange.Exchange, *exchange.ConnInfo) error, error) {
	context, err := compose.NewTxnContext(f.s.Identity.Txn.Context, f.cfg.Match.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: identity.txn_token.context: %w", f.s.Pos("identity.txn_token.context"), err)
	}
	return f.sender.Before(compose.Mint{Context: context, Scope: f.cfg.Scope}), nil
}

// service finds a service's cluster, or that of the part of it with these tags
// and metadata.
func (f *forwarding) service(key, name string, tags []string, meta map[string]string) (*cluster.Cluster, bool, error) {
	svc, ok := f.s.Services[name]
	if !ok {
		known := slices.Sorted(maps.Keys(f.s.Services))
		return nil, false, f.fail(key, "service %q does not exist; services are %s", name, strings.Join(known, ", "))
	}
	if svc.Protocol == "tcp" {
		return nil, false, f.fail(key, "%s has protocol tcp, and a route carries HTTP: only a sidecar's upstreams carry opaque streams", name)
	}
	part := name + subset(tags, meta)
	if part != name {
		var err error
		if svc, err = f.part(key, name, svc, tags, meta); err != nil {
			return nil, false, err
		}
	}
	cl, err := f.clusters.Use(f.lease, part, f.failover(svc))
	if err != nil {
		return nil, false, compose.ServiceError(f.s, name, err)
	}
	if svc.Mesh && f.cfg.Authorization == "" && !compose.Authenticates(f.chain) {
		return nil, false, f.fail(key, "%s is a mesh service and no filter consumes the client's Authorization header: "+
			"say authorization: forward or authorization: drop", name)
	}
	return cl, svc.Mesh, nil
}

// part is a service with only those endpoints that have the tags and metadata.
func (f *forwarding) part(key, name string, svc config.Service, tags []string, meta map[string]string) (config.Service, error) {
	switch {
	case len(svc.Static) > 0:
		all := svc.Static
		svc.Static = nil
		for _, e := range all {
			if e.Has(tags, meta) {
				svc.Static = append(svc.Static, e)
			}
		}
		if len(svc.Static) == 0 {
			return svc, f.fail(key, "none of the %d static endpoints of %s is %s: give some those tags and that meta", len(all), name, subset(tags, meta)[1:])
		}
	case svc.DNS != "":
		return svc, f.fail(key, "%s has endpoints from DNS, which have neither tags nor metadata: make it two services", name)
	}
	consul := config.ConsulService{} // of static endpoints it names the identity in the mesh, and what they fail over to
	if svc.Consul != nil {
		consul = *svc.Consul
	}
	if consul.Service == "" {
		consul.Service = name
	}
	consul.Tags = append(slices.Clone(consul.Tags), tags...)
	all := maps.Clone(consul.Meta)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, meta)
	consul.Meta = all
	svc.Consul = &consul
	return svc, nil
}

// failover is a service with what it fails over to.
func (f *forwarding) failover(svc config.Service) config.Service {
	whole, err := compose.WithFailover(f.s.Services, svc)
	if err != nil {
		svc.Failover = nil // CheckServices has said what is wrong
		return svc
	}
	return whole
}

// subset is how a part of a service is called, "" for all of it.
func subset(tags []string, meta map[string]string) string {
	parts := slices.Clone(tags)
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		parts = append(parts, k+"="+meta[k])
	}
	if len(parts) == 0 {
		return ""
	}
	return "@" + strings.Join(parts, "+")
}

// split builds the sides, the filter that chooses among them, and puts it where
// what depends on the choice comes after it: before the first cache, else last.
func (f *forwarding) split(r *route.Route) (meshed bool, err error) {
	conf := split.Config{Route: f.cfg.Name, Log: f.log}
	clusters := map[string]*cluster.Cluster{}
	used := map[string]config.Service{}
	for i, s := range f.cfg.Split {
		cl, mesh, err := f.service(fmt.Sprintf("split[%d].service", i), s.Service, s.Tags, s.Meta)
		if err != nil {
			return false, err
		}
		meshed = meshed || mesh
		name := s.Name
		if name == "" {
			name = s.Service + subset(s.Tags, s.Meta)
		}
		side := split.Side{Name: name, Weight: s.Weight}
		for _, w := range s.When {
			side.When = append(side.When, split.When(w))
		}
		conf.Sides = append(conf.Sides, side)
		clusters[name], used[s.Service] = cl, f.s.Services[s.Service]
	}
	if st := f.cfg.Sticky; st != nil {
		conf.Sticky = split.Sticky(*st)
	}
	if conf.Counts, err = store.Use(f.lease, "split counts/"+f.cfg.Name, "", func() (*split.Counts, error) {
		return split.NewCounts(f.cfg.Name), nil
	}); err != nil {
		return false, err
	}
	if rb := f.cfg.Rollback; rb != nil {
		// What was learnt holds for as long as nobody has changed anything.
		print, err := json.Marshal([]any{f.cfg.Split, rb, used})
		if err != nil {
			return false, err
		}
		conf.Rollback = (*split.Rollback)(rb)
		if conf.State, err = store.Use(f.lease, "split/"+f.cfg.Name, string(print), func() (*split.State, error) {
			return split.NewState(*conf.Rollback, f.cfg.Name, conf.Sides, f.log), nil
		}); err != nil {
			return false, err
		}
	}
	chooser, err := split.New(conf)
	if err != nil {
		return false, f.placed("split", err)
	}
	in, err := filter.Bind("split", f.s.Pos(f.at+".split"), chooser)
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(r.Filters, func(in filter.Instance) bool { return in.Kind == "cache" })
	if at < 0 {
		at = len(r.Filters)
	}
	r.Filters = slices.Insert(r.Filters, at, in)
	r.Find = func(x *exchange.Exchange) (*cluster.Cluster, *exchange.Fault) { return clusters[x.Side], nil }
	return meshed, nil
}

func (f *forwarding) mirror(r *route.Route) error {
	m := f.cfg.Mirror
	svc, ok := f.s.Services[m.Service]
	if !ok {
		return f.fail("mirror.service", "service %q does not exist; services are %s", m.Service, strings.Join(slices.Sorted(maps.Keys(f.s.Services)), ", "))
	}
	if svc.Protocol == "tcp" {
		return f.fail("mirror.service", "%s has protocol tcp, and what is copied is HTTP", m.Service)
	}
	cl, err := f.clusters.Use(f.lease, m.Service, f.failover(svc))
	if err != nil {
		return compose.ServiceError(f.s, m.Service, err)
	}
	r.Shadow = &route.Shadow{Cluster: cl, Forward: cluster.Options{Timeout: m.Timeout}}
	if svc.Mesh {
		if m.Authorization == "route" && f.cfg.Authorization == "" && !compose.Authenticates(f.chain) {
			return f.fail("mirror.authorization", "%s is a mesh service and no filter consumes the client's Authorization header: "+
				"say authorization: drop here, or authorization of the route", m.Service)
		}
		if r.Shadow.Before, err = f.before(); err != nil {
			return err
		}
	}
	counts, err := store.Use(f.lease, "mirror/"+f.cfg.Name, m.Service, func() (*mirror.Counts, error) {
		return &mirror.Counts{Route: f.cfg.Name, Service: m.Service}, nil
	})
	if err != nil {
		return err
	}
	var strip []func(*exchange.Exchange)
	for _, in := range r.Filters {
		if off := credential.Strips(in.Filter); off != nil {
			strip = append(strip, off)
		}
	}
	begin, err := mirror.New(mirror.Config{Service: m.Service, Share: m.Share, Methods: m.Methods, MaxInFlight: m.MaxInFlight,
		MaxBody: m.MaxBody, Bare: m.Authorization == "drop", Strip: strip, Counts: counts})
	if err != nil {
		return f.placed("mirror", err)
	}
	for _, step := range []struct {
		kind string
		of   any
	}{{"mirror", begin}, {"mirror_body", mirror.Hold{}}} {
		in, err := filter.Bind(step.kind, f.s.Pos(f.at+".mirror"), step.of)
		if err != nil {
			return err
		}
		r.Filters = append(r.Filters, in)
	}
	return nil
}

// placed says where the key stands that an error is about.
func (f *forwarding) placed(key string, err error) error {
	var ce *filter.ConfigError
	if errors.As(err, &ce) && ce.Path != "" {
		return f.fail(ce.Path, "%s: %s", ce.Path, ce.Msg)
	}
	return f.fail(key, "%v", err)
}

// shaped finds keys that say something about forwarding on a route that has
// nothing to forward to, or only one side.
func shaped(cfg *config.Route, fail failure) error {
	switch {
	case len(cfg.Split) == 0 && cfg.Sticky != nil:
		return fail("sticky", "sticky is for a split, and there is none")
	case len(cfg.Split) == 0 && cfg.Rollback != nil:
		return fail("rollback", "rollback is for a split, and there is none")
	case cfg.Hedge != nil && cfg.Service == "" && len(cfg.Split) == 0:
		return fail("hedge", "nothing is forwarded, so nothing can be hedged: want service or split")
	case cfg.Mirror != nil && cfg.Service == "" && len(cfg.Split) == 0:
		return fail("mirror", "nothing is forwarded, so nothing can be mirrored: want service or split")
	}
	return nil
}
