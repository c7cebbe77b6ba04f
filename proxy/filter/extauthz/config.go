package extauthz

import (
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/ask"
	"lintel.dev/lintel/proxy/filter/firewall"
	"lintel.dev/lintel/proxy/store"
)

// Config of the filter.
type Config struct {
	URL         string            `yaml:"url" required:"true" doc:"where the authorizer is asked, by GET; by POST when it is given the body." example:"http://127.0.0.1:4180/oauth2/auth"`
	OnError     string            `yaml:"on_error" required:"true" enum:"deny,allow" doc:"what becomes of a request when the authorizer fails: no answer in time, 5xx, or none that says anything. allow lets it pass as nobody's."`
	ErrorStatus int               `yaml:"error_status" default:"503" enum:"403,503" doc:"what a client is answered when the authorizer fails and on_error is deny."`
	Timeout     time.Duration     `yaml:"timeout" default:"1s" min:"1ms" max:"1m" doc:"for a question and its answer."`
	Tell        []string          `yaml:"tell" listify:"true" default:"[method, uri, host, proto, address]" enum:"method,uri,path,host,proto,address" doc:"what the authorizer is told of the request, as X-Forwarded-Method, -Uri (path is the same without the query), -Host, -Proto and -For."`
	Request     []string          `yaml:"request_headers" listify:"true" default:"[Authorization, Cookie]" doc:"the client's headers it is given; X-Auth-* is all that begin so."`
	Headers     map[string]string `yaml:"headers" unit:"secret" doc:"further headers for the authorizer, with their values."`
	Body        int64             `yaml:"body" unit:"bytes" default:"0" max:"4MiB" doc:"give it the request's body, which may be this large; 413 beyond. 0 does not."`
	ToService   []string          `yaml:"to_service" listify:"true" doc:"headers of an answer that allows which the service gets; a client's own copies are removed." example:"[Remote-User, Remote-Groups]"`
	ToClient    []string          `yaml:"to_client" listify:"true" default:"[Set-Cookie]" doc:"headers of an answer that allows which the client gets, with the service's answer."`
	Denied      []string          `yaml:"denied_headers" listify:"true" default:"[Location, WWW-Authenticate, Set-Cookie, Retry-After, Cache-Control]" doc:"headers of an answer that refuses which the client gets, besides its status, its body and Content-Type."`
	DeniedBody  int64             `yaml:"denied_body" unit:"bytes" default:"64KiB" min:"1" max:"4MiB" doc:"the longest body of a refusal that the client gets; in place of a longer one it gets a problem."`
	Identity    Mapping           `yaml:"identity" doc:"which headers of an answer that allows say who the user is."`
	Cache       Cache             `yaml:"cache" doc:"remember answers, by exactly what the authorizer was told and given."`
	CAFile      string            `yaml:"ca_file" doc:"PEM certificates to trust in place of the system's."`
	Connections int               `yaml:"connections" default:"64" min:"1" max:"10000" doc:"connections to the authorizer, at most."`
}

// Mapping says what an answer's headers mean.
type Mapping struct {
	Subject  string            `yaml:"subject" doc:"header with the user's id; without it in the answer, the request is nobody's." example:"Remote-User"`
	Roles    string            `yaml:"roles" doc:"header with the roles, by commas." example:"Remote-Groups"`
	Scope    string            `yaml:"scope" doc:"header with the scopes, by spaces or commas."`
	Claims   map[string]string `yaml:"claims" doc:"claim to the header with its value." example:"{email: Remote-Email}"`
	Consumer string            `yaml:"consumer" doc:"header that names a configured consumer."`
	Issuer   string            `yaml:"issuer" doc:"who vouches for the user; the authorizer's scheme and host when empty."`
}

// Cache of answers.
type Cache struct {
	TTL time.Duration `yaml:"ttl" default:"0s" min:"0s" max:"1h" doc:"how long an answer counts: 2xx, 401 and 403, unless it sets a cookie or says no-store. 0s remembers none."`
	Max int           `yaml:"max" default:"10000" min:"1" max:"1000000" doc:"answers kept at most."`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("ext_authz", "Asks an authorizer over HTTP whether a request may pass and who makes it.", build)
}

// defaults fills what the decoder would have.
func (c *Config) defaults() {
	if c.ErrorStatus == 0 {
		c.ErrorStatus = 503
	}
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	if c.Tell == nil {
		c.Tell = []string{"method", "uri", "host", "proto", "address"}
	}
	if c.Request == nil {
		c.Request = []string{"Authorization", "Cookie"}
	}
	if c.ToClient == nil {
		c.ToClient = []string{"Set-Cookie"}
	}
	if c.Denied == nil {
		c.Denied = []string{"Location", "WWW-Authenticate", "Set-Cookie", "Retry-After", "Cache-Control"}
	}
	if c.DeniedBody == 0 {
		c.DeniedBody = 64 << 10
	}
	if c.Cache.Max == 0 {
		c.Cache.Max = 10000
	}
}

func build(c *Config, env *filter.Env) (any, error) {
	cfg := *c
	cfg.defaults()
	f := &Filter{Config: cfg, log: env.Log, route: env.Route, now: time.Now}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	u, err := ask.Address(cfg.URL)
	if err != nil {
		return nil, filter.Errorf("url", "%s", err)
	}
	if slices.Contains(cfg.Tell, "uri") && slices.Contains(cfg.Tell, "path") {
		return nil, filter.Errorf("tell", "found both uri and path: path is uri without the query, say one of them")
	}
	for _, fact := range facts {
		f.tell = append(f.tell, slices.Contains(cfg.Tell, fact))
	}
	if err := f.names(); err != nil {
		return nil, err
	}
	if err := f.meanings(u, env.Consumers); err != nil {
		return nil, err
	}
	return f, f.lease(env)
}

// names compiles the lists of headers.
func (f *Filter) names() error {
	for _, l := range []struct {
		path string
		list []string
		set  **firewall.Set
	}{
		{"request_headers", f.Request, &f.given}, {"to_service", f.ToService, &f.toService},
		{"to_client", f.ToClient, &f.toClient}, {"denied_headers", f.Denied, &f.denied},
	} {
		set, err := ask.Names(l.path, l.list)
		if err != nil {
			return err
		}
		*l.set = set
	}
	for i, name := range f.Request {
		if one, err := firewall.NewSet(name); err == nil && slices.ContainsFunc(forwarded[:], one.Match) {
			return filter.Errorf(fmt.Sprintf("request_headers[%d]", i), "%s is made by the filter itself: tell says which of the X-Forwarded headers are sent", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		at := "headers." + name
		if err := ask.CheckName(at, name); err != nil {
			return err
		}
		if strings.Contains(name, "*") || !ask.Plain(f.Headers[name]) {
			return filter.Errorf(at, "a header's name has no star, and its value no control characters")
		}
		if f.given != nil && f.given.Match(name) || slices.ContainsFunc(forwarded[:], func(o string) bool { return exchange.EqualFold(o, name) }) {
			return filter.Errorf(at, "%s is sent already: as the client's, by request_headers, or by tell", name)
		}
		f.fixed = append(f.fixed, exchange.Field{Name: name, Value: f.Headers[name]})
	}
	return nil
}

// meanings checks which headers of an answer make the identity.
func (f *Filter) meanings(u *url.URL, consumers []filter.Consumer) error {
	m := &f.Identity
	if m.Issuer == "" {
		m.Issuer = u.Scheme + "://" + u.Host
	}
	if m.Subject == "" && (m.Roles != "" || m.Scope != "" || len(m.Claims) > 0) {
		return filter.Errorf("identity.subject", "is missing: roles, scope and claims are somebody's")
	}
	mean := map[string]string{"subject": m.Subject, "roles": m.Roles, "scope": m.Scope, "consumer": m.Consumer}
	for claim, name := range m.Claims {
		mean["claims."+claim] = name
		if name == "" {
			return filter.Errorf("identity.claims."+claim, "names no header")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(mean)) {
		name := mean[key]
		if name == "" {
			continue
		}
		if err := ask.CheckName("identity."+key, name); err != nil || strings.Contains(name, "*") {
			return filter.Errorf("identity."+key, "%q is no header that an answer can have", name)
		}
	}
	if m.Consumer != "" && len(consumers) == 0 {
		return filter.Errorf("identity.consumer", "no consumers are configured that %s could name", m.Consumer)
	}
	f.consumers = map[string]string{}
	for _, c := range consumers {
		f.consumers[c.Name] = c.Name
	}
	return nil
}

// lease takes connections and answers from the store. Whatever decides what is
// asked and what an answer means is part of the answers' name.
func (f *Filter) lease(env *filter.Env) error {
	ca, print, err := ask.Settings(&f.Config, f.CAFile, f.consumers)
	if err != nil {
		return err
	}
	f.client, err = store.Use(env.Store, "ext_authz/"+f.URL, print, func() (*ask.Client, error) {
		return ask.New(ask.Config{Timeout: f.Timeout, Connections: f.Connections, Limit: f.DeniedBody, CA: ca})
	})
	if err != nil {
		return filter.Errorf("ca_file", "%s", strings.TrimPrefix(err.Error(), "ask: "))
	}
	kept := 0
	if f.Cache.TTL > 0 {
		kept = f.Cache.Max
	}
	f.verdicts, err = store.Use(env.Store, "ext_authz-answers/"+f.URL, print, func() (*store.Verdicts[*verdict], error) {
		return store.NewVerdicts[*verdict](kept), nil
	})
	return err
}
