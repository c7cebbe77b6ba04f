package compose

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/acl"
	"lintel.dev/lintel/proxy/filter/apikey"
	"lintel.dev/lintel/proxy/filter/authorize"
	"lintel.dev/lintel/proxy/filter/cache"
	"lintel.dev/lintel/proxy/filter/clientcert"
	"lintel.dev/lintel/proxy/filter/combine"
	"lintel.dev/lintel/proxy/filter/compress"
	"lintel.dev/lintel/proxy/filter/cors"
	"lintel.dev/lintel/proxy/filter/errorpages"
	"lintel.dev/lintel/proxy/filter/extauthz"
	"lintel.dev/lintel/proxy/filter/faultinjection"
	"lintel.dev/lintel/proxy/filter/firewall"
	"lintel.dev/lintel/proxy/filter/headers"
	"lintel.dev/lintel/proxy/filter/ipfilter"
	"lintel.dev/lintel/proxy/filter/jsonbody"
	"lintel.dev/lintel/proxy/filter/jwt"
	"lintel.dev/lintel/proxy/filter/lambda"
	"lintel.dev/lintel/proxy/filter/maintenance"
	"lintel.dev/lintel/proxy/filter/openapi"
	"lintel.dev/lintel/proxy/filter/ratelimit"
	"lintel.dev/lintel/proxy/filter/requestlimits"
	"lintel.dev/lintel/proxy/filter/securityheaders"
	"lintel.dev/lintel/proxy/filter/transform"
	"lintel.dev/lintel/proxy/store"
)

// Registry lists the filters a configuration may name, in both modes.
func Registry() (*filter.Registry, error) {
	return filter.NewRegistry(
		// Who may read the answer.
		cors.Kind(),
		// Who is calling.
		jwt.Kind(),
		apikey.Kind(),
		clientcert.Kind(),
		combine.AnyKind(),
		combine.AllKind(),
		combine.AnonymousKind(),
		// Who may.
		acl.Kind(),
		ipfilter.Kind(),
		extauthz.Kind(),
		lambda.Kind(),
		authorize.Kind(),
		// How much, and of what.
		maintenance.Kind(),
		ratelimit.Kind(),
		ratelimit.ConcurrencyKind(),
		requestlimits.Kind(),
		openapi.Kind(),
		faultinjection.Kind(),
		// Not twice.
		cache.Kind(),
		// Changing what passes.
		headers.Kind(),
		transform.Kind(),
		securityheaders.Kind(),
		compress.Kind(),
		jsonbody.Kind(),
		errorpages.Kind(),
	)
}

// Filters builds a chain for one route, and checks its order.
func Filters(reg *filter.Registry, list []config.Filter, env *filter.Env) ([]filter.Instance, error) {
	var out []filter.Instance
	var errs []error
	for _, f := range list {
		in, err := reg.Build(f.Kind, f.Section, env)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, in)
	}
	if len(errs) == 0 {
		errs = append(errs, checkOrder(out))
	}
	return out, errors.Join(errs...)
}

// Authenticates reports whether a chain has a filter that consumes the client's
// Authorization header.
func Authenticates(list []config.Filter) bool {
	return slices.ContainsFunc(list, func(f config.Filter) bool { return authenticates(f.Kind, f.Section) })
}

// authenticates looks where a filter finds its credential. A section with
// mistakes is told of where the filter is built.
func authenticates(kind string, sec filter.Section) bool {
	nested := func(of []filter.Nested) bool {
		return slices.ContainsFunc(of, func(n filter.Nested) bool { return authenticates(n.Kind, n.Section) })
	}
	switch kind {
	case "jwt":
		var c jwt.Config
		return sec.Decode(&c) != nil || exchange.EqualFold(c.Header, "Authorization")
	case "api_key":
		var c apikey.Config
		return sec.Decode(&c) != nil || exchange.EqualFold(c.Header, "Authorization")
	case "any_of":
		var c combine.AnyOf
		return sec.Decode(&c) != nil || nested(c.Of)
	case "all_of":
		var c combine.AllOf
		return sec.Decode(&c) != nil || nested(c.Of)
	}
	return false
}

// Firewall builds the header firewall, which every pipe runs before matching.
func Firewall(cfg config.Firewall, pos string) (filter.Instance, error) {
	f, err := firewall.New(firewall.Config{Reserved: cfg.Reserve, Allow: cfg.Allow})
	if err != nil {
		return filter.Instance{}, fmt.Errorf("%s: firewall: %w", pos, err)
	}
	return filter.Bind("firewall", pos, f)
}

// Env is what the filters of one route are built with.
func Env(lease *store.Lease, log *slog.Logger, routeName string, consumers []filter.Consumer) *filter.Env {
	return &filter.Env{Store: lease, Log: log, Route: routeName, Consumers: consumers}
}

// Schemas lists every filter's config and sentence, for the JSON Schema and
// the reference.
func Schemas(reg *filter.Registry) (configs map[string]any, docs map[string]string) {
	configs, docs = map[string]any{}, map[string]string{}
	for _, k := range reg.Kinds() {
		configs[k.Name], docs[k.Name] = k.Config(), k.Doc
	}
	return configs, docs
}
