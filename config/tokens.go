package config

import "time"

// Require is a condition on top of whatever lets a call in.
type Require struct {
	Methods    []string `yaml:"methods" listify:"true" doc:"Calls with any of these; all when empty."`
	Paths      []string `yaml:"paths" listify:"true" doc:"Calls to any of these: /exact, /prefix/* or /with/{one} segment; all when empty."`
	For        string   `yaml:"for" enum:"any,user,workload" default:"any" doc:"Calls on behalf of a user, those on behalf of none, or both."`
	Through    []string `yaml:"through" listify:"true" doc:"Services (by name, SPIFFE ID or prefix/*) that the transaction must have come through, all and in this order; others may lie between, and the caller counts."`
	ThroughAny []string `yaml:"through_any" listify:"true" doc:"It must have come through one of these at least."`
	DirectFrom []string `yaml:"direct_from" listify:"true" doc:"The caller itself must be one of these."`
	BeganAt    []string `yaml:"began_at" listify:"true" doc:"The transaction must have begun at one of these: the first of its chain."`
	Scope      []string `yaml:"scope" listify:"true" doc:"Words that the Txn-Token's scope must hold, all of them."`
}

// HopToken tunes what is accepted of the token that vouches for a hop.
type HopToken struct {
	MaxChain int `yaml:"max_chain" default:"16" min:"1" max:"32" doc:"Longest chain of services a transaction may have come through, the caller included; a longer one is refused as a loop."`
}

// TxnContext is a part of a request that a Txn-Token carries on. Exactly one
// of header, claim, path_param, query and literal is given.
type TxnContext struct {
	Header    string `yaml:"header" doc:"A field of the request as it leaves for the service: what the firewall removes is not there." example:"X-Tenant"`
	Claim     string `yaml:"claim" doc:"A claim of the user's own token: a string, number, boolean or list of strings. Dots go into objects." example:"org.id"`
	PathParam string `yaml:"path_param" doc:"A parameter of the route's match.path." example:"order"`
	Query     string `yaml:"query" doc:"A query parameter; the request may give it once only."`
	Literal   string `yaml:"literal" doc:"This very value."`
	Required  bool   `yaml:"required" doc:"Refuse a request without it; left out of the token otherwise."`
	MaxBytes  int    `yaml:"max_bytes" default:"256" min:"1" max:"2048" doc:"A longer value is refused."`
}

// Streams says how long what goes on after its answer's head may go on.
type Streams struct {
	Max     time.Duration `yaml:"max" default:"0s" min:"0s" doc:"Longest life. 0s is unlimited."`
	Until   []string      `yaml:"until" listify:"true" enum:"token,certificate" doc:"Ends with the Txn-Token it was begun with, with the caller's certificate, or with whichever is first."`
	Recheck time.Duration `yaml:"recheck" default:"0s" min:"0s" doc:"How often it is asked again whether its caller may still call, by the rules and intentions then in force. 0s: only when it begins."`
}

// TokenExchange has a sidecar hand out Txn-Tokens to workloads that have no
// Lintel (RFC 8693, draft-ietf-oauth-transaction-tokens).
type TokenExchange struct {
	Path    string           `yaml:"path" default:"/.lintel/txn-token" doc:"Where on the mesh listener; it hides that path of the app."`
	Clients []ExchangeClient `yaml:"clients" required:"true" doc:"Who may ask, and for what. The first entry that names the caller counts."`
	Verify  []Filter         `yaml:"verify" doc:"Filters that verify the subject_token, which is shown to them as Authorization: Bearer; jwt say."`
}

// ExchangeClient is a workload that may ask for Txn-Tokens.
type ExchangeClient struct {
	From    []string `yaml:"from" required:"true" listify:"true" doc:"Services by name, or SPIFFE IDs, or prefixes."`
	Scope   []string `yaml:"scope" required:"true" listify:"true" doc:"Words it may ask for; the user's own token must have them too."`
	Details []string `yaml:"details" listify:"true" doc:"Members of request_details that it may put into the token's context."`
}
