package ingress

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
)

// compiler makes tables out of snapshots.
type compiler struct {
	registry *filter.Registry
	stores   *store.Set
	clusters *compose.Clusters
	sender   *compose.Sender // nil without a mesh
	redis    *compose.Redis
	log      *slog.Logger
}

// compile checks a whole snapshot and reports every error with its place. What
// the table holds is leased from the stores, so what did not change stays as it
// is across a reload.
func (c *compiler) compile(s *config.Snapshot) (*route.Table, error) {
	lease := c.stores.Lease()
	spec := route.Spec{Release: lease.Release}
	var errs []error
	fw, err := compose.Firewall(s.Firewall, s.Pos("firewall"))
	if err != nil {
		errs = append(errs, err)
	}
	spec.Always = []filter.Instance{fw}
	errs = append(errs, check(s)...)
	consumers, err := compose.Consumers(s)
	if err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, compose.CheckRedis(s)...)
	for i := range s.Routes {
		r, err := c.route(s, i, consumers, lease)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		spec.Routes = append(spec.Routes, r)
	}
	if err := compose.Together(errs...); err != nil {
		lease.Release()
		return nil, err
	}
	t, err := route.Compile(spec)
	if err != nil {
		lease.Release()
		return nil, err
	}
	return t, nil
}

// check finds what is wrong between sections.
func check(s *config.Snapshot) []error {
	var errs []error
	seen := map[string]bool{}
	for i, r := range s.Routes {
		if seen[r.Name] {
			errs = append(errs, fmt.Errorf("%s: route %s is defined twice", s.Pos(fmt.Sprintf("routes[%d].name", i)), r.Name))
		}
		seen[r.Name] = true
		for _, l := range r.Listeners {
			if !slices.ContainsFunc(s.Listeners, func(o config.Listener) bool { return o.Name == l }) {
				errs = append(errs, fmt.Errorf("%s: route %s: listener %q does not exist", s.Pos(fmt.Sprintf("routes[%d].listeners", i)), r.Name, l))
			}
		}
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for i, l := range s.Listeners {
		pos := s.Pos(fmt.Sprintf("listeners[%d]", i))
		if names[l.Name] {
			errs = append(errs, fmt.Errorf("%s: listener %s is defined twice", pos, l.Name))
		}
		if addresses[l.Address] {
			errs = append(errs, fmt.Errorf("%s: two listeners have the address %s", pos, l.Address))
		}
		names[l.Name], addresses[l.Address] = true, true
		if err := compose.CheckListen(l.Address); err != nil {
			errs = append(errs, fmt.Errorf("%s: listener %s: address: %w", s.Pos(fmt.Sprintf("listeners[%d].address", i)), l.Name, err))
		}
	}
	plaintext := slices.ContainsFunc(s.Listeners, func(l config.Listener) bool { return l.TLS == nil })
	for i, l := range s.Listeners {
		if l.TLS == nil {
			continue
		}
		if key, err := compose.CheckEdgeTLS(l.TLS, plaintext, s.Redis); err != nil {
			at := strings.TrimSuffix(fmt.Sprintf("listeners[%d].tls.%s", i, key), ".")
			errs = append(errs, fmt.Errorf("%s: listener %s: %w", s.Pos(at), l.Name, err))
		}
	}
	errs = append(errs, compose.CheckKV(s)...)
	if err := compose.CheckAdmin(s.Admin); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", s.Pos("admin.address"), err))
	}
	return append(errs, compose.CheckServices(s)...)
}

func (c *compiler) route(s *config.Snapshot, i int, consumers []filter.Consumer, lease *store.Lease) (route.Route, error) {
	cfg := &s.Routes[i]
	at := fmt.Sprintf("routes[%d]", i)
	fail := func(key, format string, args ...any) error {
		return fmt.Errorf("%s: route %s: %s", s.Pos(at+"."+key), cfg.Name, fmt.Sprintf(format, args...))
	}
	r := route.Route{Name: cfg.Name, Pos: s.Pos(at), Listeners: cfg.Listeners, Match: matchOf(cfg.Match),
		Forward: compose.Forwarding(cfg.Timeout, cfg.Retries, s.Deadline), StreamIdle: int64(cfg.StreamIdle), TunnelIdle: int64(cfg.TunnelIdle),
		Priority: compose.Priority(cfg.Priority), Place: compose.Places(s, func(key string) string { return at + "." + key })}
	r.Forward.Hedge = compose.Hedge(cfg.Hedge)
	if err := paths(cfg, &r, fail); err != nil {
		return r, err
	}
	chain, from, err := c.chain(s, cfg, fail)
	if err != nil {
		return r, err
	}
	if slices.ContainsFunc(chain, func(f config.Filter) bool { return f.Kind == "client_cert" }) && !certified(s, cfg) {
		return r, fail("filters", "client_cert: none of its listeners asks clients for certificates: give one tls.client_ca and client_auth: request or require")
	}
	env := compose.Env(lease, c.log, cfg.Name, consumers)
	env.Redis = c.redis.For(lease, s)
	if r.Filters, err = compose.Filters(c.registry, chain, env); err != nil {
		return r, err
	}
	for i := range r.Filters {
		r.Filters[i].Policy = from[i]
	}
	if err := actions(cfg, &r, fail); err != nil || cfg.Service == "" && len(cfg.Split) == 0 {
		return r, err
	}
	f := forwarding{compiler: c, s: s, cfg: cfg, at: at, lease: lease, fail: fail, chain: chain}
	return r, f.compile(&r)
}

// certified reports whether a listener of the route asks for certificates.
func certified(s *config.Snapshot, cfg *config.Route) bool {
	return slices.ContainsFunc(s.Listeners, func(l config.Listener) bool {
		return l.TLS != nil && l.TLS.ClientAuth != "none" && (len(cfg.Listeners) == 0 || slices.Contains(cfg.Listeners, l.Name))
	})
}

type failure func(key, format string, args ...any) error

// chain joins the route's policies and its own filters; from names the policy
// each comes from.
func (c *compiler) chain(s *config.Snapshot, cfg *config.Route, fail failure) (chain []config.Filter, from []string, err error) {
	for _, name := range cfg.Policies {
		p, ok := s.Policies[name]
		if !ok {
			return nil, nil, fail("policies", "policy %q does not exist", name)
		}
		chain = append(chain, p...)
		from = append(from, slices.Repeat([]string{name}, len(p))...)
	}
	return append(chain, cfg.Filters...), append(from, make([]string, len(cfg.Filters))...), nil
}

func actions(cfg *config.Route, r *route.Route, fail failure) error {
	given := 0
	for _, has := range []bool{cfg.Service != "", len(cfg.Split) > 0, cfg.Redirect != nil, cfg.Respond != nil} {
		if has {
			given++
		}
	}
	if given != 1 {
		return fail("name", "exactly one of service, split, redirect and respond must be given, found %d", given)
	}
	if err := shaped(cfg, fail); err != nil {
		return err
	}
	if d := cfg.Redirect; d != nil {
		r.Redirect = &route.Redirect{Status: d.Status, Scheme: d.Scheme, Host: d.Host, Path: d.Path}
	}
	if d := cfg.Respond; d != nil {
		r.Respond = &route.Respond{Status: d.Status, Body: []byte(d.Body)}
		for name, value := range d.Headers {
			r.Respond.Header = append(r.Respond.Header, exchange.Field{Name: name, Value: value})
		}
	}
	return nil
}

func paths(cfg *config.Route, r *route.Route, fail failure) error {
	if _, err := route.ParsePattern(cfg.Match.Path); err != nil {
		return fail("match.path", "%v", err)
	}
	if cfg.StripPrefix != "" {
		p, err := route.NormalizePath(cfg.StripPrefix, route.KeepEncoded)
		if err != nil {
			return fail("strip_prefix", "%v", err)
		}
		r.StripPrefix = strings.TrimSuffix(p, "/")
	}
	if w := cfg.Rewrite; w != nil {
		if cfg.StripPrefix != "" && w.Path != "" {
			return fail("rewrite", "strip_prefix and rewrite.path exclude each other")
		}
		r.RewritePath, r.RewriteHost = w.Path, w.Host
	}
	return nil
}

func matchOf(m config.Match) route.Match {
	out := route.Match{Hosts: m.Hosts, Path: m.Path, Methods: m.Methods}
	for name, value := range m.Headers {
		out.Headers = append(out.Headers, route.Field{Name: name, Value: value})
	}
	for name, value := range m.Query {
		out.Query = append(out.Query, route.Field{Name: name, Value: value})
	}
	return out
}
