package config

import "time"

// Side is one side of a split: a service, or a part of a service's endpoints.
type Side struct {
	Name    string            `yaml:"name" pattern:"^[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}$" doc:"Name in logs, metrics and explain; the service's, with @ and its tags or metadata, when empty."`
	Service string            `yaml:"service" required:"true" doc:"The service that takes this share."`
	Tags    []string          `yaml:"tags" listify:"true" doc:"Only endpoints with all of these tags, of Consul (besides those that the service itself asks for) or of its static list."`
	Meta    map[string]string `yaml:"meta" doc:"Only endpoints with this metadata, of Consul or of its static list." example:"{version: v2}"`
	Weight  int               `yaml:"weight" required:"true" min:"0" max:"1000000" doc:"Its share, in proportion to the others'. 0 takes nobody but whom when names."`
	When    []SideWhen        `yaml:"when" listify:"true" doc:"Requests that go to this side whatever the weights: any of these. The first side that takes a request has it."`
}

// SideWhen chooses a side. All that is given must be so.
type SideWhen struct {
	Header map[string]string `yaml:"header" doc:"Name to exact value; * for any value." example:"{X-Canary: \"1\"}"`
	Cookie map[string]string `yaml:"cookie" doc:"The same of cookies."`
	Claim  map[string]string `yaml:"claim" doc:"Dotted path of a claim of the user's token to its value, or to one that its list holds; * for any." example:"{groups: beta}"`
}

// Sticky keeps a client on the side it was given: one of cookie, header, claim
// and address.
type Sticky struct {
	Cookie  string        `yaml:"cookie" pattern:"^[A-Za-z0-9_.-]{1,64}$" doc:"Name of a cookie that is set (HttpOnly, SameSite=Lax, Secure over TLS) and that the service does not see. Whoever has one stays while its side has a weight: other weights are for newcomers."`
	TTL     time.Duration `yaml:"ttl" default:"24h" min:"0s" doc:"Life of the cookie; 0s is until the browser closes."`
	Secret  string        `yaml:"secret" unit:"secret" doc:"Signs the cookie, so that only who was given a side has it; the same in all instances. Without one the value is opaque, but can be worked out from the side's name."`
	Header  string        `yaml:"header" doc:"By a hash of this request header." example:"X-Account"`
	Claim   string        `yaml:"claim" doc:"By a hash of this claim of the user's token, a dotted path." example:"sub"`
	Address bool          `yaml:"address" doc:"By a hash of the client's address."`
}

// Rollback takes a side's weight away when it does worse than the first side.
type Rollback struct {
	ErrorMargin   float64       `yaml:"error_margin" default:"0.02" min:"0" max:"1" doc:"A share of failures (5xx, failing gRPC statuses, no answer) higher than the first side's by more than this. 1 is off."`
	LatencyMargin float64       `yaml:"latency_margin" default:"0.5" min:"0" max:"1000" doc:"Median or 90th percentile of the time until an answer's head longer than the first side's by more than this part. 0 is off."`
	LatencyFloor  time.Duration `yaml:"latency_floor" default:"10ms" min:"0s" doc:"And by at least this: differences below matter to nobody."`
	MinRequests   int           `yaml:"min_requests" default:"100" min:"10" doc:"Requests that both sides must have answered within window."`
	Window        time.Duration `yaml:"window" default:"1m" min:"1s" max:"1h" doc:"What both are compared over."`
	RetryAfter    time.Duration `yaml:"retry_after" default:"0s" min:"0s" doc:"The side gets its weight back after this; 0s is when the split or one of its services is configured anew."`
}

// Mirror sends copies of requests to another service, whose answers nobody gets.
type Mirror struct {
	Service       string        `yaml:"service" required:"true" doc:"The service that gets copies."`
	Share         float64       `yaml:"share" default:"1" min:"0" max:"1" doc:"Part of the requests that is copied."`
	Methods       []string      `yaml:"methods" listify:"true" default:"[GET, HEAD, OPTIONS]" doc:"Only these methods. Naming one that changes something has it done a second time, by that service."`
	MaxInFlight   int           `yaml:"max_in_flight" default:"100" min:"1" max:"10000" doc:"Copies in progress; beyond, requests are not copied."`
	MaxBody       int64         `yaml:"max_body" unit:"bytes" default:"64KiB" min:"0" max:"16MiB" doc:"Requests with a larger body are not copied."`
	Timeout       time.Duration `yaml:"timeout" default:"10s" min:"1ms" max:"1m" doc:"Until the head of its answer."`
	Authorization string        `yaml:"authorization" enum:"route,drop" default:"route" doc:"route: the copy has the Authorization header if the route forwards it; drop: it has no credentials: neither that nor cookies, nor what the route's own authentication filters look for or hand on."`
}
