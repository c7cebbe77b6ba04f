package config

import (
	"net/netip"
	"time"
)

// Snapshot is one parsed configuration file, `version: 1`. Sections that are
// not pointers have their defaults also when the file leaves them out;
// pointers stay nil then.
type Snapshot struct {
	Version   int                 `yaml:"version" required:"true" min:"1" max:"1" doc:"Version of this format." example:"1"`
	Listeners []Listener          `yaml:"listeners" doc:"Where the ingress accepts requests."`
	Routes    []Route             `yaml:"routes" doc:"What is done with a request; the most specific match wins, then file order."`
	Services  map[string]Service  `yaml:"services" doc:"Logical backends by name."`
	Policies  map[string][]Filter `yaml:"policies" doc:"Named filter chains that routes use by name."`
	Consumers map[string]Consumer `yaml:"consumers" doc:"Known API clients by name."`
	Redis     map[string]Redis    `yaml:"redis" doc:"Connections to Redis by name, for filters that share with other processes; a filter that names none uses default."`
	Sidecar   *Sidecar            `yaml:"sidecar" doc:"What the sidecar stands next to; read by lintel sidecar only."`
	Firewall  Firewall            `yaml:"firewall" doc:"The header firewall, always on: clients' copies of identity headers are removed."`
	Discovery Discovery           `yaml:"discovery" doc:"Where endpoints come from."`
	Identity  Identity            `yaml:"identity" doc:"This process's SPIFFE identity and the internal tokens."`
	Tracing   Tracing             `yaml:"tracing" doc:"Trace export and access log."`
	Admin     Admin               `yaml:"admin" doc:"The loopback admin API and the probes."`
	Shutdown  Shutdown            `yaml:"shutdown" doc:"How the process ends."`
	Deadline  *Deadline           `yaml:"deadline" doc:"Header fields that carry how long a caller will wait, for callers and services outside the mesh."`
	Overload  *Overload           `yaml:"overload" doc:"Turn requests away, the least important first, when the machine itself is full; off without it. {} takes the defaults."`

	origin // where the values stand; kept by the loader
}

// Listener is one address the ingress accepts on.
type Listener struct {
	Name           string         `yaml:"name" required:"true" pattern:"^[a-z0-9][a-z0-9_-]{0,62}$" doc:"Name in logs and metrics."`
	Address        string         `yaml:"address" required:"true" doc:"host:port to listen on." example:"0.0.0.0:8443"`
	TLS            *ListenerTLS   `yaml:"tls" doc:"TLS; plaintext without it."`
	H2C            bool           `yaml:"h2c" doc:"Accept prior-knowledge HTTP/2 on plaintext (gRPC without TLS)." default:"true"`
	Path           string         `yaml:"path" enum:"strict,keep_encoded" default:"strict" doc:"strict answers 400 to %2f, %5c, %00 and path parameters (; and %3b) in a path; keep_encoded forwards them as they are."`
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies" doc:"CIDRs whose X-Forwarded-For, X-Forwarded-Proto and trace context count." example:"[10.0.0.0/8]"`
	Limits         Limits         `yaml:"limits" doc:"Limits on sizes and times."`
}

// ListenerTLS is TLS at the edge.
type ListenerTLS struct {
	Certificates []Certificate `yaml:"certificates" doc:"Chosen by SNI; the first is the default. Files are reloaded when they change. Needed unless acme is given."`
	ACME         *ListenerACME `yaml:"acme" doc:"Certificates from an ACME server, besides those of files."`
	MinVersion   string        `yaml:"min_version" enum:"1.2,1.3" default:"1.2" doc:"Lowest TLS version."`
	StrictSNI    bool          `yaml:"strict_sni" doc:"Refuse handshakes for names that no certificate covers."`
	ClientCA     string        `yaml:"client_ca" doc:"PEM file of CAs for client certificates. Reloaded when it changes."`
	ClientAuth   string        `yaml:"client_auth" enum:"none,request,require" default:"none" doc:"Whether clients must show a certificate: request checks one that is shown, require wants one."`
}

// ListenerACME is where certificates are obtained (RFC 8555).
type ListenerACME struct {
	Domains    []string    `yaml:"domains" required:"true" listify:"true" doc:"Host names; each gets a certificate of its own (P-256)." example:"[example.com, www.example.com]"`
	Email      string      `yaml:"email" doc:"Where the CA may write to."`
	CA         string      `yaml:"ca" default:"https://acme-v02.api.letsencrypt.org/directory" doc:"The CA's ACME directory; Let's Encrypt by default."`
	CARoot     string      `yaml:"ca_root" doc:"PEM file of the roots that a private CA's own HTTPS is checked against; the system's when empty."`
	EAB        *ACMEEAB    `yaml:"eab" doc:"External account binding, for a CA that issues to its customers only (ZeroSSL, Google Trust Services)."`
	Challenges []string    `yaml:"challenges" enum:"tls-alpn-01,http-01" default:"[tls-alpn-01, http-01]" doc:"How control of a name is shown: tls-alpn-01 on this listener, which the CA reaches as port 443; http-01 on the plaintext listeners, of which it reaches one as port 80. http-01 is left out when there is none."`
	Storage    ACMEStorage `yaml:"storage" doc:"Where the account, certificates and keys are kept."`
	Agreed     bool        `yaml:"agreed" required:"true" doc:"Must be true: you have read and accept the CA's terms of service."`
}

// ACMEEAB ties the ACME account to one that the CA knows (RFC 8555 section 7.3.4).
type ACMEEAB struct {
	KeyID  string `yaml:"key_id" required:"true" doc:"The CA's name for the key."`
	MACKey string `yaml:"mac_key" required:"true" unit:"secret" doc:"The key, as the CA gives it: base64url."`
}

// ACMEStorage is where certificates survive a restart.
type ACMEStorage struct {
	Dir   string `yaml:"dir" doc:"Folder; /var/lib/lintel/acme unless redis is given. Several processes may share it, and then order each certificate once and answer each other's challenges."`
	Redis string `yaml:"redis" doc:"Name of an entry under redis, instead of dir: what a folder shared by several machines would do. Everything is encrypted there with key."`
	Key   string `yaml:"key" unit:"secret" doc:"Encrypts what is kept in Redis (AES-256-GCM): 32 bytes in hex or base64, as openssl rand -hex 32 makes them; the same at every instance. Needed with redis."`
}

// Certificate is a certificate chain and its key.
type Certificate struct {
	Cert string `yaml:"cert" required:"true" doc:"PEM file with the chain, leaf first."`
	Key  string `yaml:"key" required:"true" doc:"PEM file with the private key."`
}

// Limits bounds what a client may cost.
type Limits struct {
	HeaderBytes    int64         `yaml:"header_bytes" unit:"bytes" default:"64KiB" min:"1KiB" max:"1MiB" doc:"Request head; 431 beyond."`
	HeaderCount    int           `yaml:"header_count" default:"128" min:"8" max:"10000" doc:"Header lines; 431 beyond."`
	BodyBytes      int64         `yaml:"body_bytes" unit:"bytes" default:"0" doc:"Request body; 413 beyond. 0 is unlimited."`
	HeaderTimeout  time.Duration `yaml:"header_timeout" default:"10s" min:"100ms" doc:"The whole head must arrive within."`
	IdleTimeout    time.Duration `yaml:"idle_timeout" default:"75s" min:"1s" doc:"An unused keep-alive connection is closed after."`
	RequestTimeout time.Duration `yaml:"request_timeout" default:"0s" doc:"The whole request body must arrive within. 0s is unlimited."`
	WriteTimeout   time.Duration `yaml:"write_timeout" default:"60s" doc:"A client must take each piece of an answer within. 0s is unlimited."`
	Connections    int           `yaml:"connections" default:"0" min:"0" doc:"Open connections. 0 is unlimited."`
}

// Route says what is done with matching requests: exactly one of service,
// split, redirect and respond.
type Route struct {
	Name          string        `yaml:"name" required:"true" pattern:"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$" doc:"Name in logs, metrics and explain."`
	Match         Match         `yaml:"match" doc:"Which requests; an empty match takes all."`
	Listeners     []string      `yaml:"listeners" doc:"Listeners it is served on; all when empty."`
	Policies      []string      `yaml:"policies" doc:"Named chains from policies, run before filters."`
	Filters       []Filter      `yaml:"filters" doc:"Filters of this route, in order."`
	Service       string        `yaml:"service" doc:"The service it is forwarded to."`
	Split         []Side        `yaml:"split" doc:"Instead of service: several, each with its share. The first is the stable one."`
	Sticky        *Sticky       `yaml:"sticky" doc:"With split: keeps a client on its side; without, every request is drawn anew."`
	Rollback      *Rollback     `yaml:"rollback" doc:"With split: takes the weight of a side that does worse than the first. {} has the defaults."`
	Mirror        *Mirror       `yaml:"mirror" doc:"Sends copies of requests to a further service, whose answers nobody gets."`
	Redirect      *Redirect     `yaml:"redirect" doc:"Answer with a redirect instead."`
	Respond       *Respond      `yaml:"respond" doc:"Answer with a fixed response instead."`
	StripPrefix   string        `yaml:"strip_prefix" doc:"Removed from the front of the path, on a segment boundary." example:"/users"`
	Rewrite       *Rewrite      `yaml:"rewrite" doc:"Change path or host before forwarding."`
	Scope         []string      `yaml:"scope" listify:"true" doc:"Towards a mesh service: the Txn-Token carries only these words of the user's scope; all that the user has when empty." example:"[orders.read]"`
	Authorization string        `yaml:"authorization" enum:"forward,drop" doc:"What happens to the client's Authorization header. Must be said towards a mesh service on a route without a filter that consumes it; default forward otherwise."`
	Timeout       time.Duration `yaml:"timeout" default:"30s" min:"1ms" doc:"Until the answer's head has arrived, retries included; the body may stream for longer."`
	StreamIdle    time.Duration `yaml:"stream_idle" default:"0s" doc:"Longest gap within an answer's body. 0s is unlimited."`
	TunnelIdle    time.Duration `yaml:"tunnel_idle" default:"1h" doc:"A WebSocket or other upgraded connection is closed when nothing has passed for so long, in either direction. 0s is unlimited."`
	Retries       Retries       `yaml:"retries" doc:"Retries of idempotent requests."`
	Hedge         *Hedge        `yaml:"hedge" short:"After" doc:"Sends a request that only reads to a second endpoint when the first is late, and takes the first good answer. {} takes the defaults."`
	Priority      string        `yaml:"priority" enum:"critical,default,sheddable" default:"default" doc:"Whose requests are turned away first when the machine is full (overload): sheddable, then default; critical never."`
}

// Match selects requests. All that is given must match.
type Match struct {
	Hosts   []string          `yaml:"hosts" listify:"true" doc:"Exact names or *.example.com; any port." example:"[api.example.com]"`
	Path    string            `yaml:"path" doc:"/exact, /prefix/* (by whole segments) or /users/{id} (one segment each)." example:"/users/{id}"`
	Methods []string          `yaml:"methods" listify:"true" doc:"Any of these." example:"[GET, HEAD]"`
	Headers map[string]string `yaml:"headers" doc:"Name to exact value; * for any value."`
	Query   map[string]string `yaml:"query" doc:"Parameter to exact value; * for any value."`
}

// Redirect answers with a Location.
type Redirect struct {
	Status int    `yaml:"status" default:"302" enum:"301,302,303,307,308" doc:"Status code."`
	Scheme string `yaml:"scheme" enum:"http,https" doc:"New scheme; the request's when empty."`
	Host   string `yaml:"host" doc:"New host; the request's when empty."`
	Path   string `yaml:"path" doc:"New path, or with a /* match the new prefix; the request's when empty."`
}

// Respond is a fixed answer.
type Respond struct {
	Status  int               `yaml:"status" default:"200" min:"200" max:"599" doc:"Status code."`
	Body    string            `yaml:"body" doc:"Body."`
	Headers map[string]string `yaml:"headers" doc:"Answer headers." example:"{content-type: application/json}"`
}

// Rewrite changes what is forwarded.
type Rewrite struct {
	Path string `yaml:"path" doc:"New path; {name} stands for a path parameter, {rest} for what a /* matched." example:"/v2/users/{id}"`
	Host string `yaml:"host" doc:"New Host; the client's is kept when empty."`
}

// Retries of requests that are safe to send again.
type Retries struct {
	Attempts   int           `yaml:"attempts" default:"1" min:"0" max:"10" doc:"Further attempts after the first. Only idempotent methods with a replayable body; a connection that failed before anything was sent is retried for any method."`
	On         []string      `yaml:"on" enum:"connect,reset,gateway-error,5xx,409,425,429,500,502,503,504,cancelled,deadline-exceeded,resource-exhausted,aborted,internal,unavailable" default:"[connect, reset, 503]" doc:"What is retried: connection failures, connections that died before any answer, these statuses (gateway-error is 502, 503 and 504), or, of gRPC calls that were answered with nothing but a status, these gRPC statuses."`
	Methods    []string      `yaml:"methods" listify:"true" enum:"GET,HEAD,OPTIONS,PUT,DELETE,POST,PATCH" default:"[GET, HEAD, OPTIONS, PUT, DELETE]" doc:"Methods that may be sent twice. gRPC statuses in on are retried whatever the method."`
	IdemKey    bool          `yaml:"idempotency_key" doc:"Retry any method when the request has an Idempotency-Key: the service must honour it."`
	PerTry     time.Duration `yaml:"per_try_timeout" default:"0s" min:"0s" doc:"An attempt without an answer for so long is given up where another may be made, by attempts and methods and with a body that can be sent again. The last one has what is left of timeout. 0s is never."`
	Backoff    time.Duration `yaml:"backoff" default:"25ms" min:"1ms" doc:"First pause; doubles, with full jitter."`
	MaxBackoff time.Duration `yaml:"max_backoff" default:"1s" min:"1ms" doc:"Longest pause."`
	BufferBody int64         `yaml:"buffer_body" unit:"bytes" default:"64KiB" max:"16MiB" doc:"Bodies up to this size are kept so that they can be sent again."`
}

// Service is a logical backend.
type Service struct {
	Consul         *ConsulService   `yaml:"consul" doc:"Endpoints from Consul."`
	Static         []StaticEndpoint `yaml:"static" listify:"true" doc:"Endpoints as host:port, or with a weight, a zone, tags and metadata."`
	DNS            string           `yaml:"dns" doc:"Endpoints from DNS, as host:port, or a SRV name without port." example:"users.internal:8080"`
	Mesh           bool             `yaml:"mesh" doc:"Its endpoints are sidecars: SPIFFE mTLS, Txn-Token and hop token."`
	SPIFFEID       string           `yaml:"spiffe_id" doc:"The exact identity expected of its endpoints, instead of identity.service_id." example:"spiffe://corp.example/orders"`
	TLS            *ServiceTLS      `yaml:"tls" doc:"Ordinary TLS towards a service outside the mesh."`
	Protocol       string           `yaml:"protocol" enum:"auto,http1,h2,tcp" default:"auto" doc:"auto speaks HTTP/2 to gRPC callers' services and HTTP/1.1 otherwise; tcp carries opaque streams (a database, a broker), and only a sidecar's upstreams can."`
	Balance        string           `yaml:"balance" enum:"round_robin,least_request,peak_ewma,consistent_hash" default:"least_request" doc:"How an endpoint is picked: least_request takes the less busy of two random ones, peak_ewma the one of two where an answer is to be expected sooner, consistent_hash always the same for the same key."`
	Hash           []HashKey        `yaml:"hash" listify:"true" doc:"Where consistent_hash finds a request's key; of several the first that the request has. A request without any goes anywhere."`
	BoundedLoad    float64          `yaml:"bounded_load" default:"1.25" min:"0" doc:"Of consistent_hash: how many times its even share of the requests in flight an endpoint may have before some of its keys go to the next; counts from 8 in flight. 0 is unbounded: keys stay, whatever it costs."`
	SlowStart      time.Duration    `yaml:"slow_start" default:"0s" min:"0s" max:"1h" doc:"A new or returned endpoint is eased in over this time, from a tenth of its weight. 0s is not at all."`
	Locality       string           `yaml:"locality" enum:"off,zone,node" default:"off" doc:"Prefer endpoints of this process's own zone (or Consul node, and then zone) as far as their capacity goes."`
	Subset         int              `yaml:"subset" default:"0" min:"0" doc:"Use only so many endpoints of a very large service, other ones in each process. 0 is all."`
	Health         *Health          `yaml:"health" doc:"Active probes of its endpoints."`
	Outlier        *Outlier         `yaml:"outlier" doc:"Leave endpoints out for a while that fail requests; {} for the defaults."`
	Panic          float64          `yaml:"panic_threshold" default:"0.5" min:"0" max:"1" doc:"With less than this share of endpoints healthy, by probes and ejections, all are used. 0 is never."`
	Failover       []Failover       `yaml:"failover" doc:"Where requests go, in this order, when no endpoint is healthy."`
	FailoverBelow  float64          `yaml:"failover_below" default:"0" min:"0" max:"1" doc:"Fail over already with less than this share healthy, by probes and ejections."`
	FailoverReturn time.Duration    `yaml:"failover_return" default:"10s" min:"0s" doc:"For how long a better set must be good before requests return to it."`
	ConnectTimeout time.Duration    `yaml:"connect_timeout" default:"2s" min:"1ms" doc:"TCP and TLS together."`
	IdleTimeout    time.Duration    `yaml:"idle_timeout" default:"60s" min:"1s" doc:"An unused connection to it is closed after."`
	MaxIdle        int              `yaml:"max_idle" default:"1024" min:"1" doc:"Unused connections kept per endpoint. With fewer than there are clients at once, connections are closed and opened all the time; idle_timeout ends those that are not needed any more."`
	ShareConns     bool             `yaml:"share_connections" default:"true" doc:"In the mesh, between two Lintels: exchanges share connections, up to 128 on each at a time. false gives each its own: dearer, but a lost packet then holds up one exchange and not all."`
	MaxConns       int              `yaml:"max_conns" default:"0" min:"0" doc:"Connections per endpoint. 0 is unlimited."`
	Breaker        Breaker          `yaml:"breaker" doc:"Circuit breaker."`
	Concurrency    *Concurrency     `yaml:"concurrency" doc:"How many exchanges it has at once; unlimited without it. {} takes the defaults."`
	RetryBudget    RetryBudget      `yaml:"retry_budget" doc:"How many of its requests may be retries."`
	Fallback       *Fallback        `yaml:"fallback" doc:"A fixed answer while it cannot be asked."`
}

// ConsulService says which Consul service and instances.
type ConsulService struct {
	Service    string            `yaml:"service" doc:"Consul's name for it; the service's own when empty."`
	Tags       []string          `yaml:"tags" listify:"true" doc:"All of these tags."`
	Meta       map[string]string `yaml:"meta" doc:"Only endpoints with this metadata."`
	Datacenter string            `yaml:"datacenter" doc:"Another datacenter."`
	Warning    bool              `yaml:"warning" doc:"Also use instances whose checks warn, with the weight that Consul has for that (weights.warning; 0 leaves them out)."`

	PreparedQuery string `yaml:"prepared_query" doc:"A prepared query, by name or ID, instead of a service. It is asked every 10s, since it cannot block."`
	Namespace     string `yaml:"namespace" doc:"Consul Enterprise namespace."`
	Partition     string `yaml:"partition" doc:"Consul Enterprise partition."`
}

// ServiceTLS is ordinary TLS to a service.
type ServiceTLS struct {
	ServerName string `yaml:"server_name" doc:"Name expected in the certificate; the endpoint's host when empty."`
	CA         string `yaml:"ca" doc:"PEM file of CAs; the system's when empty."`
	Cert       string `yaml:"cert" doc:"PEM client certificate."`
	Key        string `yaml:"key" doc:"PEM client key."`
}

// Breaker opens when a service keeps failing.
type Breaker struct {
	Enabled     bool          `yaml:"enabled" default:"true" doc:"Whether there is one."`
	Failures    int           `yaml:"failures" default:"10" min:"1" doc:"Failures in a row that open it (connection failures, timeouts, 502, 503, 504)."`
	FailureRate float64       `yaml:"failure_rate" default:"0.5" min:"0" max:"1" doc:"Share of failures within window that opens it, from min_requests on. 0 is off."`
	MinRequests int           `yaml:"min_requests" default:"50" min:"1" doc:"Requests within window before the share counts."`
	Window      time.Duration `yaml:"window" default:"10s" min:"100ms" doc:"Length of the window the share is taken over."`
	Open        time.Duration `yaml:"open" default:"5s" min:"10ms" doc:"How long it stays open before a trial."`
	Trials      int           `yaml:"trials" default:"3" min:"1" doc:"Successful trials that close it."`
	Per         string        `yaml:"per" enum:"service,endpoint,both" default:"service" doc:"What there is one of: with endpoint, an endpoint that keeps failing is left out and the others go on."`
}

// Consumer is a known API client.
type Consumer struct {
	APIKeys      []APIKey          `yaml:"api_keys" listify:"true" short:"Hash" doc:"Hashes of its API keys; several may be good at once, so that a key can be replaced."`
	Certificates []ClientCert      `yaml:"certificates" listify:"true" doc:"Which client certificates are its own; any of these."`
	Groups       []string          `yaml:"groups" listify:"true" doc:"Groups it belongs to."`
	Metadata     map[string]string `yaml:"metadata" doc:"Facts that filters may tell services in headers." example:"{plan: gold}"`
	Tags         map[string]string `yaml:"tags" doc:"Free labels."`
}

// APIKey is what is kept of a consumer's key. The hash is treated as a secret,
// so that a key put there by mistake is not shown.
type APIKey struct {
	Hash    string    `yaml:"hash" required:"true" unit:"secret" pattern:"^sha256:[0-9a-f]{64}$" doc:"sha256: and 64 hex digits, as lintel key new and lintel key hash print it."`
	ID      string    `yaml:"id" pattern:"^[A-Za-z0-9._:-]{0,64}$" doc:"Tells this key from the others, where the service is told the credential." example:"2026-02"`
	Expires time.Time `yaml:"expires" doc:"Not good from then on; never when empty." example:"2027-01-31T00:00:00Z"`
	Note    string    `yaml:"note" doc:"For whoever reads the file."`
}

// ClientCert selects client certificates. All that is given must be so.
type ClientCert struct {
	URI         string `yaml:"uri" doc:"A URI SAN, a SPIFFE ID say; that counts only as the certificate's one URI." example:"spiffe://partner.example/billing"`
	DNS         string `yaml:"dns" doc:"A DNS SAN."`
	Email       string `yaml:"email" doc:"An email SAN."`
	Subject     string `yaml:"subject" doc:"The whole subject, as openssl x509 -noout -subject -nameopt RFC2253 prints it (RFC 4514)." example:"CN=billing,O=Partner Inc,C=DE"`
	Issuer      string `yaml:"issuer" doc:"The whole issuer; alone, it takes every certificate of that CA."`
	Fingerprint string `yaml:"fingerprint" pattern:"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$" doc:"SHA-256 of the certificate, 64 hex digits, with or without colons."`
}

// Redis is how to reach one. It is connected in the background once a filter
// uses it; that it is absent keeps nothing from starting.
type Redis struct {
	Addresses        []string      `yaml:"addresses" required:"true" listify:"true" doc:"host:port of the server, of the Sentinels, or of some nodes of the cluster." example:"[127.0.0.1:6379]"`
	Mode             string        `yaml:"mode" enum:"single,sentinel,cluster" default:"single" doc:"What the addresses are of."`
	Master           string        `yaml:"master" doc:"The name Sentinels know the master by."`
	Username         string        `yaml:"username" unit:"secret" doc:"ACL user; the default user when empty."`
	Password         string        `yaml:"password" unit:"secret" doc:"Its password, as ${REDIS_PASSWORD} or file:/run/secrets/redis."`
	SentinelUsername string        `yaml:"sentinel_username" unit:"secret" doc:"ACL user of the Sentinels."`
	SentinelPassword string        `yaml:"sentinel_password" unit:"secret" doc:"Its password."`
	TLS              *ServiceTLS   `yaml:"tls" doc:"TLS; plaintext without it. {} trusts the system's CAs."`
	DB               int           `yaml:"db" min:"0" max:"65535" doc:"Database number; a cluster has 0 only."`
	ConnectTimeout   time.Duration `yaml:"connect_timeout" default:"1s" min:"10ms" max:"1m" doc:"TCP, TLS and login together; also the longest silence before a connection is given up."`
	Timeout          time.Duration `yaml:"timeout" default:"50ms" min:"1ms" max:"10s" doc:"Longest wait for one command: what a request can lose by a slow Redis."`
	Prefix           string        `yaml:"prefix" default:"lintel:" doc:"Of every key."`
}

// Sidecar is the east-west side.
type Sidecar struct {
	Service       string            `yaml:"service" required:"true" doc:"The service this sidecar stands next to."`
	ID            string            `yaml:"id" doc:"Instance id in Consul; service name, host and app port when empty."`
	App           string            `yaml:"app" doc:"Where the app listens, on loopback." example:"127.0.0.1:8080"`
	AppProtocol   string            `yaml:"app_protocol" enum:"auto,http1,h2,tcp" default:"auto" doc:"How to speak to the app; tcp carries opaque streams, and policy then decides by caller alone."`
	Mesh          string            `yaml:"mesh" default:"0.0.0.0:15443" doc:"Where other sidecars reach this one, by mTLS."`
	Advertise     string            `yaml:"advertise" doc:"host:port others are told; the mesh listener's, with the agent's address, when empty."`
	Outbound      string            `yaml:"outbound" default:"127.0.0.1:15001" doc:"Where the app reaches other services: as HTTP proxy, or by Host."`
	Path          string            `yaml:"path" enum:"strict,keep_encoded" default:"strict" doc:"As of listeners, for calls in both directions."`
	Upstreams     []Upstream        `yaml:"upstreams" doc:"A loopback port per service."`
	Policy        Policy            `yaml:"policy" doc:"Who may call."`
	Inbound       []Filter          `yaml:"inbound" doc:"Filters for calls that reach the app."`
	OutboundChain []Filter          `yaml:"outbound_filters" doc:"Filters for the app's own calls."`
	Check         AppCheck          `yaml:"check" doc:"How the app's health is told."`
	Tags          []string          `yaml:"tags" listify:"true" doc:"Tags of the service in Consul."`
	Meta          map[string]string `yaml:"meta" doc:"Metadata of the service in Consul."`
	Register      bool              `yaml:"register" default:"true" doc:"Register the service and the sidecar in Consul."`
	AllowTLS12    bool              `yaml:"allow_tls12" doc:"Accept TLS 1.2 from callers that are not Lintel."`
	Timeout       time.Duration     `yaml:"timeout" default:"30s" min:"1ms" doc:"Until an answer's head has arrived."`
	TunnelIdle    time.Duration     `yaml:"tunnel_idle" default:"1h" doc:"A TCP stream, WebSocket or other upgraded connection is closed when nothing has passed for so long, in either direction. 0s is unlimited."`
	Retries       Retries           `yaml:"retries" doc:"Retries of the app's outbound calls; of TCP streams, of connecting."`
	ForwardToken  bool              `yaml:"forward_token" default:"true" doc:"Hand the verified Txn-Token on to the app."`
	UserHeaders   bool              `yaml:"user_headers" default:"true" doc:"Give the app X-User-Id, X-User-Roles and X-User-Scope, made from the verified Txn-Token."`
	Limits        Limits            `yaml:"limits" doc:"Limits on sizes and times of the mesh listener."`
	Concurrency   *Concurrency      `yaml:"concurrency" doc:"How many exchanges the app has at once; unlimited without it. {} takes the defaults."`

	ContextHeaders map[string]string `yaml:"context_headers" doc:"Header of the request to the app to name in the Txn-Token's context (identity.txn_token.context). A caller's own copy is removed." example:"{X-Tenant: tenant}"`
	TokenExchange  *TokenExchange    `yaml:"token_exchange" doc:"Hand out Txn-Tokens to workloads without a Lintel, for users whose tokens they show."`
}

// Upstream is a loopback port for one service.
type Upstream struct {
	Service string `yaml:"service" required:"true" doc:"The service."`
	Bind    string `yaml:"bind" required:"true" doc:"Loopback host:port." example:"127.0.0.1:9191"`

	Hedge    *Hedge `yaml:"hedge" short:"After" doc:"Sends a request that only reads to a second endpoint when the first is late, and takes the first good answer. {} takes the defaults."`
	Protocol string `yaml:"protocol" enum:"http,tcp" doc:"tcp carries opaque streams to a service whose sidecar has app_protocol tcp; the service's own, http unless it says tcp, when empty."`
}

// AppCheck is how the app's health is told.
type AppCheck struct {
	HTTP     string        `yaml:"http" doc:"Path that answers 2xx when healthy; a TCP connect when empty." example:"/health"`
	GRPC     bool          `yaml:"grpc" doc:"Use the gRPC health protocol."`
	Interval time.Duration `yaml:"interval" default:"2s" min:"100ms" doc:"Time between checks."`
	Timeout  time.Duration `yaml:"timeout" default:"1s" min:"50ms" doc:"A check fails after."`
}

// Policy says who may call which methods and paths.
type Policy struct {
	Default        string   `yaml:"default" enum:"deny,consul" default:"deny" doc:"deny: only what allow lists and Consul intentions allow; consul: Consul's own default for what no intention names."`
	Intentions     bool     `yaml:"intentions" default:"true" doc:"Honour Consul intentions when discovery is Consul. One that names the caller and denies it wins over allow."`
	Allow          []Allow  `yaml:"allow" doc:"Allowed callers."`
	ChainAsserters []string `yaml:"chain_asserters" doc:"SPIFFE IDs (or prefix/*) that may say through whom a transaction came; every peer of the own trust domain when empty."`
	UserMinters    []string `yaml:"user_minters" doc:"SPIFFE IDs (or prefix/*) whose Txn-Tokens may speak for users; the service 'ingress' when empty."`
	TokenBearers   []string `yaml:"token_bearers" doc:"SPIFFE IDs (or prefix/*) of callers that are no Lintel and yet may bring a Txn-Token without a hop token; without an entry such a token is removed."`
	SelfMinters    []string `yaml:"self_minters" doc:"SPIFFE IDs (or prefix/*) whose Txn-Tokens may speak for themselves; every service of the own trust domain when empty."`

	Require []Require `yaml:"require" doc:"What calls must fulfil on top, whatever rule or intention lets them in: through whom they came, and with which scope. All entries that a call falls under count."`
	Streams Streams   `yaml:"streams" doc:"When WebSockets and other tunnels, gRPC streams and answers of unknown length are ended."`
}

// Allow is one rule. All that is given must match.
type Allow struct {
	From    []string `yaml:"from" required:"true" listify:"true" doc:"Services by name, or SPIFFE IDs, or spiffe://…/* prefixes; * is any of the own trust domain. Of a federated one, name it: spiffe://partner.example/svc/shop."`
	Methods []string `yaml:"methods" listify:"true" doc:"Any of these; all when empty."`
	Paths   []string `yaml:"paths" listify:"true" doc:"/exact, /prefix/* or /with/{one} segment; all when empty."`
	User    bool     `yaml:"user" doc:"Only on behalf of a user, as a verified Txn-Token says."`
	Through []string `yaml:"through" listify:"true" doc:"Only what came through all of these, in this order, before or with the caller, as require.through."`
	Scope   []string `yaml:"scope" listify:"true" doc:"Only with all of these words in the Txn-Token's scope."`
}

// Firewall adjusts the list of reserved header names.
type Firewall struct {
	Reserve []string `yaml:"reserve" doc:"Further names to remove from clients' requests; X-Tenant-* is all that begin so." example:"[X-Tenant-Id]"`
	Allow   []string `yaml:"allow" doc:"Names taken off the list. Say why in a comment: a client may then set them."`
}

// Discovery says where endpoints come from.
type Discovery struct {
	Consul   *Consul       `yaml:"consul" doc:"A Consul agent; without keys, the standard CONSUL_* environment."`
	Zone     string        `yaml:"zone" doc:"The zone this process is in, for locality; the Consul agent's node metadata (zone, availability_zone) when empty."`
	CacheDir string        `yaml:"cache_dir" doc:"Last known endpoints are kept here across restarts; in memory only when empty."`
	MaxStale time.Duration `yaml:"max_stale" default:"0s" doc:"Endpoints not confirmed for this long are dropped. 0s keeps them."`
	Wait     time.Duration `yaml:"wait" default:"30s" min:"0s" doc:"Longest wait for the first answer before listeners open."`
}

// Consul is how to reach the agent.
type Consul struct {
	Address    string `yaml:"address" doc:"host:port or URL; CONSUL_HTTP_ADDR when empty."`
	Token      string `yaml:"token" unit:"secret" doc:"ACL token; CONSUL_HTTP_TOKEN when empty."`
	Datacenter string `yaml:"datacenter" doc:"Datacenter; the agent's when empty."`
	Namespace  string `yaml:"namespace" doc:"Consul Enterprise namespace."`
	Partition  string `yaml:"partition" doc:"Consul Enterprise partition."`
	KV         string `yaml:"kv" doc:"Prefix of keys in Consul's KV store that hold further routes, services, policies and consumers; read by lintel ingress. See docs/config-from-consul.md." example:"lintel/edge/"`
	CA         string `yaml:"ca" doc:"PEM file of the agent's CA."`
	Cert       string `yaml:"cert" doc:"PEM client certificate."`
	Key        string `yaml:"key" doc:"PEM client key."`
	MaxWatches int    `yaml:"max_watches" default:"160" min:"1" max:"100000" doc:"Blocking queries at a time, each a connection. An agent takes 200 connections of an address unless its limits.http_max_conns_per_client says otherwise. Beyond it services take turns: a change is seen some seconds later. Consul's CA, intentions and keys never wait for them."`
}

// Identity is this process's SPIFFE identity.
type Identity struct {
	Source     string        `yaml:"source" enum:"none,workload-api,consul,embedded" default:"none" doc:"none: no mesh; workload-api: SPIRE or any other; consul: Consul's Connect CA; embedded: a small CA for development."`
	Service    string        `yaml:"service" doc:"The service name this process has in the mesh; sidecar.service, or ingress, when empty."`
	Socket     string        `yaml:"socket" doc:"Workload API address; SPIFFE_ENDPOINT_SOCKET when empty." example:"unix:///run/spire/agent.sock"`
	ID         string        `yaml:"id" doc:"Which of several identities the Workload API offers. Without id and hint it must offer one." example:"spiffe://example.org/svc/orders"`
	Hint       string        `yaml:"hint" doc:"The same, by the hint that the Workload API gives with each."`
	ServiceID  string        `yaml:"service_id" default:"spiffe://{trust_domain}/svc/{service}" doc:"The SPIFFE ID expected of a service, unless Consul's CA prescribes it."`
	Embedded   EmbeddedCA    `yaml:"embedded" doc:"Settings of the embedded CA."`
	Federation []Federation  `yaml:"federation" doc:"Further trust domains whose members may be called and, where a policy names them, may call."`
	Wait       time.Duration `yaml:"wait" default:"30s" doc:"Longest wait for an identity before listeners open."`
	Txn        TxnToken      `yaml:"txn_token" doc:"The internal token that carries the user."`
	Hop        HopToken      `yaml:"hop_token" doc:"The internal token that vouches for one hop."`
	Leeway     time.Duration `yaml:"leeway" default:"5s" min:"0s" max:"1m" doc:"How far the clocks of the mesh's hosts may differ: internal tokens are accepted for so long before and after their time."`
}

// Federation is one further trust domain (SPIFFE Federation). Its bundle comes
// from the url, else the file, else with the own identity (the Workload API's
// federated bundles).
type Federation struct {
	TrustDomain string        `yaml:"trust_domain" required:"true" doc:"Its name." example:"partner.example"`
	File        string        `yaml:"file" doc:"Its bundle, as SPIFFE bundle (JSON) or PEM certificates; read again when it changes. With url: what is trusted until the endpoint has answered."`
	URL         string        `yaml:"url" doc:"Its bundle endpoint, https." example:"https://spire.partner.example:8443"`
	EndpointID  string        `yaml:"endpoint_id" doc:"The endpoint's SPIFFE ID (profile https_spiffe). Without, its certificate is checked as browsers do (https_web)." example:"spiffe://partner.example/spire/server"`
	CA          string        `yaml:"ca" doc:"PEM file of roots for https_web; the system's when empty."`
	Refresh     time.Duration `yaml:"refresh" default:"0s" doc:"Between questions to the endpoint. 0s: as its bundle hints, else 5m."`
}

// EmbeddedCA is for development and the demo only.
type EmbeddedCA struct {
	Dir         string        `yaml:"dir" doc:"Folder that processes of one machine share; its CA key is readable by their user."`
	TrustDomain string        `yaml:"trust_domain" default:"lintel.local" doc:"Trust domain."`
	TTL         time.Duration `yaml:"ttl" default:"1h" min:"1s" doc:"Life of a certificate."`
}

// TxnToken tunes what is minted.
type TxnToken struct {
	Lifetime time.Duration `yaml:"lifetime" default:"60s" min:"1s" max:"5m" doc:"Life of a minted Txn-Token. It must cover the longest transaction, all its calls included."`
	Reuse    time.Duration `yaml:"reuse" default:"0s" doc:"Reuse a user's token within this window: cheaper, but requests then share a transaction id. 0s is off."`
	Workload bool          `yaml:"workload" doc:"Also mint one for calls that a sidecar's app makes on its own account, a scheduled job's say: it speaks for the workload itself. Without, the hop token says who calls."`

	Context map[string]TxnContext `yaml:"context" doc:"What else of a user's request the token carries, in its claim tctx, by name." example:"{tenant: {claim: org.id}}"`
}

// Tracing is trace export and the access log.
type Tracing struct {
	Exporter  string            `yaml:"exporter" enum:"none,otlp-grpc,otlp-http" default:"none" doc:"Where sampled spans go."`
	Endpoint  string            `yaml:"endpoint" doc:"host:port of the collector; the OTEL_EXPORTER_OTLP_* environment when empty." example:"127.0.0.1:4317"`
	Insecure  bool              `yaml:"insecure" doc:"Plaintext to the collector."`
	Headers   map[string]string `yaml:"headers" doc:"Headers for the collector."`
	Sample    float64           `yaml:"sample" default:"1" min:"0" max:"1" doc:"Share of new traces that is sampled."`
	AccessLog AccessLog         `yaml:"access_log" doc:"One line per exchange."`
}

// AccessLog is one line per exchange.
type AccessLog struct {
	Format string `yaml:"format" enum:"json,text,off" default:"json" doc:"Format on standard output."`
	Query  bool   `yaml:"query" doc:"Log query strings, which often hold secrets."`
	User   string `yaml:"user" enum:"subject,hash,omit" default:"subject" doc:"How the user appears."`
}

// Admin is the loopback API.
type Admin struct {
	Address string `yaml:"address" default:"127.0.0.1:9901" doc:"Loopback host:port; off switches it off."`
	Probes  string `yaml:"probes" doc:"host:port on any address with only /livez, /readyz and /metrics." example:"0.0.0.0:9902"`
}

// Shutdown is how the process ends.
type Shutdown struct {
	Delay time.Duration `yaml:"delay" default:"0s" doc:"Not ready but still accepting, so that load balancers notice."`
	Drain time.Duration `yaml:"drain" default:"30s" doc:"Longest wait for exchanges in flight."`
	App   time.Duration `yaml:"app" default:"10s" min:"0s" doc:"Longest wait for the app that a sidecar has started to end after its SIGTERM; it is killed then."`
}
