package config

import (
	"strings"
	"time"
)

// HashKey is where balance: consistent_hash finds a request's key.
type HashKey struct {
	Header   string        `yaml:"header" doc:"The value of this header." example:"X-Tenant"`
	Cookie   string        `yaml:"cookie" doc:"The value of this cookie."`
	Claim    string        `yaml:"claim" doc:"This claim of the verified user's token, if it is text." example:"sub"`
	Query    string        `yaml:"query" doc:"The value of this query parameter."`
	Param    string        `yaml:"param" doc:"The value of this {name} of the route's path."`
	Consumer bool          `yaml:"consumer" doc:"The known API client."`
	Path     bool          `yaml:"path" doc:"The path, without the query."`
	Address  bool          `yaml:"address" doc:"The client's address, as trusted proxies tell it."`
	Set      bool          `yaml:"set" doc:"With cookie: give clients that bring none a random one, so that they stay where they are."`
	TTL      time.Duration `yaml:"ttl" default:"0s" min:"0s" doc:"With set: life of the cookie. 0s: until the browser ends."`
	CookieAt string        `yaml:"cookie_path" default:"/" pattern:"^/[^;\\x00-\\x20\\x7f]*$" doc:"With set: the cookie's path."`
	Secure   bool          `yaml:"secure" default:"true" doc:"With set: browsers send the cookie over TLS only."`
	HTTPOnly bool          `yaml:"httponly" default:"true" doc:"With set: scripts cannot read the cookie."`
	SameSite string        `yaml:"samesite" enum:"lax,strict,none" default:"lax" doc:"With set: whether browsers send the cookie along from other sites."`
}

// From says what kind of key it is, and its name.
func (k HashKey) From() (kind, name string) {
	for _, f := range [][2]string{{"header", k.Header}, {"cookie", k.Cookie}, {"claim", k.Claim}, {"query", k.Query}, {"param", k.Param}} {
		if f[1] != "" {
			return f[0], f[1]
		}
	}
	switch {
	case k.Consumer:
		return "consumer", ""
	case k.Path:
		return "path", ""
	case k.Address:
		return "address", ""
	}
	return "", ""
}

// Validate implements Validator.
func (k *HashKey) Validate(report func(path, msg string)) {
	given := 0
	for _, has := range []bool{k.Header != "", k.Cookie != "", k.Claim != "", k.Query != "", k.Param != "", k.Consumer, k.Path, k.Address} {
		if has {
			given++
		}
	}
	switch {
	case given != 1:
		report("", "expected exactly one of header, cookie, claim, query, param, consumer, path and address: several keys are a list, of which the first that a request has counts")
	case k.Set && k.Cookie == "":
		report("set", "only a cookie can be set")
	case k.Set && !isToken(k.Cookie):
		report("cookie", "expected a cookie's name (letters, digits and !#$%&'*+-.^_`|~)")
	case k.Set && k.SameSite == "none" && !k.Secure:
		report("secure", "browsers refuse a cookie with samesite: none that is not secure")
	}
}

// isToken reports a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c < 0x21 || c > 0x7e:
			return false
		default:
			if strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
				return false
			}
		}
	}
	return s != ""
}

// Health is how endpoints are probed.
type Health struct {
	HTTP      *HealthHTTP   `yaml:"http" doc:"Ask for a path."`
	GRPC      *HealthGRPC   `yaml:"grpc" doc:"Ask by the gRPC health checking protocol (grpc.health.v1)."`
	TCP       *HealthTCP    `yaml:"tcp" doc:"Connect, and make the TLS handshake where the service has TLS or is in the mesh."`
	Interval  time.Duration `yaml:"interval" default:"10s" min:"100ms" doc:"Between two probes of an endpoint, with jitter."`
	Timeout   time.Duration `yaml:"timeout" default:"2s" min:"10ms" doc:"A probe fails after."`
	Healthy   int           `yaml:"healthy" default:"2" min:"1" max:"100" doc:"Successes in a row after which an endpoint is used again. The first probe of an endpoint decides alone."`
	Unhealthy int           `yaml:"unhealthy" default:"3" min:"1" max:"100" doc:"Failures in a row after which an endpoint is not used."`
}

// HealthHTTP is a probe over HTTP.
type HealthHTTP struct {
	Path    string            `yaml:"path" default:"/" pattern:"^/[^\\x00-\\x20\\x7f#]*$" doc:"Path, and query if need be." example:"/healthz"`
	Host    string            `yaml:"host" doc:"Host asked for; the endpoint's address when empty."`
	Headers map[string]string `yaml:"headers" doc:"Further request headers."`
	Status  []string          `yaml:"status" listify:"true" default:"[2xx]" pattern:"^([1-5]xx|[1-5][0-9]{2})$" doc:"Statuses of a healthy endpoint." example:"[200, 3xx]"`
}

// Validate implements Validator.
func (h *HealthHTTP) Validate(report func(path, msg string)) {
	for name, value := range h.Headers {
		if !isToken(name) || strings.ContainsAny(value, "\r\n\x00") {
			report("headers", "expected names and values of header fields")
		}
	}
	if strings.ContainsAny(h.Host, " \t\r\n/\x00") {
		report("host", "expected host or host:port")
	}
}

// HealthTCP is a probe that connects.
type HealthTCP struct{}

// HealthGRPC is a probe by grpc.health.v1.
type HealthGRPC struct {
	Service string `yaml:"service" doc:"The service asked about; the server as a whole when empty." example:"orders.v1.Orders"`
	Host    string `yaml:"host" doc:"Authority asked for; the endpoint's address when empty."`
}

// Validate implements Validator.
func (h *Health) Validate(report func(path, msg string)) {
	given := 0
	for _, has := range []bool{h.HTTP != nil, h.GRPC != nil, h.TCP != nil} {
		if has {
			given++
		}
	}
	switch {
	case given != 1:
		report("", "expected exactly one of http, grpc and tcp")
	case h.Timeout > h.Interval:
		report("timeout", "must not be longer than interval")
	}
}

// Outlier is ejection of endpoints for what traffic meets there.
type Outlier struct {
	Consecutive int           `yaml:"consecutive" default:"5" min:"0" doc:"Failures in a row after which an endpoint is ejected: no connection, no answer, or a 5xx. 0 is off."`
	Gateway     int           `yaml:"consecutive_gateway" default:"0" min:"0" doc:"The same without the service's own errors: no connection, no answer, 502, 503, 504. 0 is off."`
	FailureRate float64       `yaml:"failure_rate" default:"0" min:"0" max:"1" doc:"Share of failures within interval that ejects an endpoint, from min_requests on. 0 is off."`
	MinRequests int           `yaml:"min_requests" default:"50" min:"1" doc:"Requests within interval before the share counts."`
	Interval    time.Duration `yaml:"interval" default:"10s" min:"100ms" doc:"Over which the share is taken; in each without an ejection one earlier ejection is forgiven."`
	Base        time.Duration `yaml:"base_ejection" default:"30s" min:"10ms" doc:"Length of an endpoint's first ejection; the second takes twice, the third three times as long."`
	Longest     time.Duration `yaml:"max_ejection_time" default:"5m" min:"10ms" doc:"At most."`
	MaxEjected  float64       `yaml:"max_ejected" default:"0.5" min:"0" max:"1" doc:"Most of the endpoints that may be ejected at once; of several, one may always be."`
}

// Failover is one further set of endpoints of a service: exactly one of consul,
// service, static and dns. What is not said is as with the service itself.
type Failover struct {
	Consul   *ConsulService   `yaml:"consul" doc:"Endpoints from Consul: another datacenter, tags, or another service. In the mesh the identity expected is that of its datacenter."`
	Service  string           `yaml:"service" doc:"Another service of this file, with all its terms but its own failover."`
	Static   []StaticEndpoint `yaml:"static" listify:"true" doc:"Endpoints, as of a service."`
	DNS      string           `yaml:"dns" doc:"Endpoints from DNS, as host:port, or a SRV name without port."`
	SPIFFEID string           `yaml:"spiffe_id" doc:"The exact identity expected of its endpoints."`

	Other *Service `yaml:"-"` // what Service names
}

// Validate implements Validator.
func (f *Failover) Validate(report func(path, msg string)) {
	checkStatic(f.Static, report)
	given := 0
	for _, has := range []bool{f.Consul != nil, f.Service != "", len(f.Static) > 0, f.DNS != ""} {
		if has {
			given++
		}
	}
	switch {
	case given != 1:
		report("", "expected exactly one of consul, service, static and dns")
	case f.Service != "" && f.SPIFFEID != "":
		report("spiffe_id", "a service has its own")
	}
}

// Validate implements Validator.
func (c *ConsulService) Validate(report func(path, msg string)) {
	if c.PreparedQuery != "" && (c.Service != "" || len(c.Tags) > 0) {
		report("prepared_query", "a prepared query says itself which service and tags: leave them out here")
	}
}

// Validate implements Validator.
func (s *Service) Validate(report func(path, msg string)) {
	checkStatic(s.Static, report)
	if s.Balance == "consistent_hash" && len(s.Hash) == 0 {
		report("balance", "consistent_hash needs hash, which says where a request's key is")
	}
	if s.Balance != "consistent_hash" && len(s.Hash) > 0 {
		report("hash", "hash is for balance: consistent_hash")
	}
	if s.BoundedLoad > 0 && s.BoundedLoad < 1.05 {
		report("bounded_load", "expected 0 (unbounded), or at least 1.05: at 1 every endpoint is full at once")
	}
	if s.Mesh && s.Consul != nil && s.Consul.PreparedQuery != "" {
		report("consul.prepared_query", "a mesh service's identity hangs on its datacenter, which must not be the catalog's word: name the datacenters under failover")
	}
	for _, f := range s.Failover {
		if s.Mesh && f.Consul != nil && f.Consul.PreparedQuery != "" {
			report("failover", "a mesh service's identity hangs on its datacenter, which must not be the catalog's word: name the datacenter instead of a prepared_query")
		}
	}
	if s.FailoverBelow > 0 && len(s.Failover) == 0 {
		report("failover_below", "there is no failover")
	}
}
