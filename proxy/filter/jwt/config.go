package jwt

import (
	"slices"
	"time"

	"lintel.dev/lintel/proxy/filter"
)

// Config of the filter: of one issuer, or of several under issuers.
type Config struct {
	Iss             []string            `yaml:"iss" listify:"true" doc:"accepted issuers (claim iss); the word any accepts every issuer"`
	Audiences       []string            `yaml:"audiences" listify:"true" doc:"accepted audiences (claim aud), one of which must be present; without it tokens meant for other services pass. With issuers: for those that name none"`
	Algorithms      []string            `yaml:"algorithms" listify:"true" enum:"HS256,HS384,HS512,RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA" doc:"accepted signature algorithms; by default those that fit the keys"`
	Types           []string            `yaml:"types" listify:"true" doc:"accepted typ headers; by default JWT and at+jwt; a token without typ passes"`
	Keys            []Key               `yaml:"keys" doc:"where the keys come from"`
	Issuers         []Issuer            `yaml:"issuers" doc:"several issuers with keys and rules each, in place of iss, algorithms, keys and identity"`
	JWKS            Fetching            `yaml:"jwks" doc:"how key sets are fetched"`
	Leeway          time.Duration       `yaml:"leeway" default:"30s" min:"0s" max:"5m" doc:"how far the issuer's clock may differ"`
	AllowNoExpiry   bool                `yaml:"allow_no_expiry" doc:"accept tokens without exp"`
	RequiredClaims  map[string][]string `yaml:"required_claims" doc:"claim (dotted path) to allowed values; an empty list asks for its presence only"`
	Scopes          []string            `yaml:"scopes" listify:"true" doc:"scopes a token must all have"`
	Header          string              `yaml:"header" default:"Authorization" doc:"the header that carries it: after Bearer in Authorization, with or without Bearer in any other; off looks in none"`
	Prefix          string              `yaml:"prefix" doc:"the word that must stand before it in the header, in place of Bearer" example:"DPoP"`
	Cookie          string              `yaml:"cookie" doc:"the cookie that carries it, none when empty; browsers send cookies with other sites' requests too, so SameSite must be set on it"`
	Query           string              `yaml:"query" doc:"the query parameter that carries it, none when empty; it ends up in histories and in the logs of whatever stands in front (RFC 6750 section 2.3)"`
	Forward         bool                `yaml:"forward" doc:"leave the token on the forwarded request"`
	Confirmation    string              `yaml:"confirmation" default:"check" enum:"check,require,ignore" doc:"tokens bound to a client certificate (cnf with x5t#S256, RFC 8705): check has them come with it, and refuses those bound otherwise; require also refuses tokens that are not bound; ignore is for where another checks"`
	Deny            *Deny               `yaml:"deny" doc:"tokens withdrawn before they expire, by claim jti; tokens without jti are then refused"`
	ClaimsToHeaders map[string]string   `yaml:"claims_to_headers" doc:"request header to claim (dotted path) whose value it gets; a client's own copy is removed"`
	Identity        Mapping             `yaml:"identity" doc:"which claims say who the user is"`
	Anonymous       string              `yaml:"anonymous" default:"deny" enum:"deny,allow" doc:"what becomes of a request without a token; a bad token is always refused"`
	Realm           string              `yaml:"realm" default:"api" doc:"realm of the WWW-Authenticate challenge"`
	MaxSize         int                 `yaml:"max_size" default:"8192" min:"256" max:"65536" unit:"bytes" doc:"longest token accepted"`
	CacheSize       int                 `yaml:"cache_size" default:"33554432" min:"65536" unit:"bytes" doc:"memory for verified tokens, about"`
}

// Issuer is one of several issuers. A token is judged by the entry that names
// its iss and by no other: keys of one never speak for another.
type Issuer struct {
	Iss            []string            `yaml:"iss" listify:"true" required:"true" doc:"its name (claim iss), or several of one set of keys"`
	Audiences      []string            `yaml:"audiences" listify:"true" doc:"accepted audiences; the filter's own when empty"`
	Algorithms     []string            `yaml:"algorithms" listify:"true" enum:"HS256,HS384,HS512,RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA" doc:"accepted signature algorithms; by default those that fit the keys"`
	Keys           []Key               `yaml:"keys" required:"true" doc:"where its keys come from"`
	RequiredClaims map[string][]string `yaml:"required_claims" doc:"as the filter's own, which hold too"`
	Identity       Mapping             `yaml:"identity" doc:"which of its claims say who the user is"`
}

// Deny is where withdrawn tokens are listed.
type Deny struct {
	File         string        `yaml:"file" doc:"one jti per line, and after it, if wanted, the time from which the line no longer counts; # begins a comment. Read again when it changes" example:"/etc/lintel/denied.txt"`
	Redis        string        `yaml:"redis" doc:"name of a section under redis: a list that all processes follow, filled by lintel jwt deny or XADD" example:"default"`
	Key          string        `yaml:"key" default:"jwt-denied" doc:"the stream's key, after redis.<name>.prefix"`
	Every        time.Duration `yaml:"every" default:"1s" min:"100ms" max:"1m" doc:"how often the list in Redis is asked for what is new: a withdrawn token passes no longer than this and one command's time"`
	OnStoreError string        `yaml:"on_store_error" enum:"open,closed" doc:"while Redis cannot say what is new. open: what is known counts; closed: after max_stale every token is refused with 503. Must be said with redis"`
	MaxStale     time.Duration `yaml:"max_stale" default:"10s" min:"1s" max:"24h" doc:"with on_store_error closed: how long what is known counts without news; at start nothing is known"`
}

// Key is one source of keys: exactly one of File, PublicKey, Secret and JWKSURL.
type Key struct {
	File      string   `yaml:"file" doc:"PEM public key or certificate, JWK or JWK set"`
	PublicKey string   `yaml:"public_key" doc:"the same, inline"`
	Secret    string   `yaml:"secret" unit:"secret" doc:"shared secret for HS algorithms, at least 32 bytes"`
	JWKSURL   string   `yaml:"jwks_url" doc:"https address of the issuer's JWK set"`
	KID       string   `yaml:"kid" doc:"key id of a key that carries none itself"`
	Iss       []string `yaml:"iss" listify:"true" doc:"the issuers this key speaks for; required when there are several issuers and several keys"`
}

// Fetching says how JWK sets are fetched and kept.
type Fetching struct {
	Refresh    time.Duration `yaml:"refresh" default:"10m" min:"10s" doc:"a set is fetched anew this often"`
	MinRefresh time.Duration `yaml:"min_refresh" default:"30s" min:"1s" doc:"unknown key ids make a set be fetched at most this often"`
	Timeout    time.Duration `yaml:"timeout" default:"5s" min:"100ms" max:"30s" doc:"for one fetch, and how long a request waits for it"`
	MaxStale   time.Duration `yaml:"max_stale" default:"24h" doc:"keys are used this long when the issuer cannot be reached"`
	MaxBytes   int           `yaml:"max_bytes" default:"262144" unit:"bytes" doc:"longest set accepted"`
	CAFile     string        `yaml:"ca_file" doc:"PEM certificates to trust in place of the system's"`
	Insecure   bool          `yaml:"insecure" doc:"accept http addresses other than loopback: whoever is on the way can then forge tokens"`
}

// Mapping says which claims make the identity. Paths may be dotted, as
// realm_access.roles; a claim whose whole name matches is preferred.
type Mapping struct {
	Subject  string `yaml:"subject" default:"sub" doc:"claim of the user's id; a token without it is refused"`
	Roles    string `yaml:"roles" default:"roles" doc:"claim of the roles: a list, or one role as a string"`
	Scope    string `yaml:"scope" default:"scope" doc:"claim of the scopes: words in a string, or a list; scp is tried when scope is absent"`
	Consumer string `yaml:"consumer" doc:"claim that names a configured consumer"`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("jwt", "Verifies bearer JSON Web Tokens and says who the user is.", build)
}

// defaults fills what the decoder would have.
func (c *Config) defaults() {
	set(&c.Header, "Authorization")
	set(&c.Anonymous, "deny")
	set(&c.Realm, "api")
	set(&c.MaxSize, 8192)
	set(&c.CacheSize, 32<<20)
	set(&c.JWKS.Refresh, 10*time.Minute)
	set(&c.JWKS.MinRefresh, 30*time.Second)
	set(&c.JWKS.Timeout, 5*time.Second)
	set(&c.JWKS.MaxStale, 24*time.Hour)
	set(&c.JWKS.MaxBytes, 256<<10)
	if c.Deny != nil {
		d := *c.Deny
		c.Deny = &d
		set(&d.Key, "jwt-denied")
		set(&d.Every, time.Second)
		set(&d.MaxStale, 10*time.Second)
	}
	set(&c.Confirmation, "check")
	c.Identity.defaults()
	c.Issuers = slices.Clone(c.Issuers)
	for i := range c.Issuers {
		c.Issuers[i].Identity.defaults()
		if len(c.Issuers[i].Audiences) == 0 {
			c.Issuers[i].Audiences = c.Audiences
		}
	}
	if len(c.Types) == 0 {
		c.Types = []string{"JWT", "at+jwt"}
	}
}

func (m *Mapping) defaults() {
	set(&m.Subject, "sub")
	set(&m.Roles, "roles")
	set(&m.Scope, "scope")
}

// trusted lists the issuers, however they were given.
func (c *Config) trusted() []Issuer {
	if len(c.Issuers) > 0 {
		return c.Issuers
	}
	return []Issuer{{Iss: c.Iss, Audiences: c.Audiences, Algorithms: c.Algorithms, Keys: c.Keys, Identity: c.Identity}}
}

func set[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
