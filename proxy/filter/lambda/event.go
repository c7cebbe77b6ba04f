package lambda

import (
	"encoding/json"
	"net/url"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// tokenEvent is what a TOKEN authorizer is given.
type tokenEvent struct {
	Type   string `json:"type"`
	Token  string `json:"authorizationToken"`
	Method string `json:"methodArn"`
}

// requestEvent is what a REQUEST authorizer is given, payload format 1.0.
type requestEvent struct {
	Version        string              `json:"version"`
	Type           string              `json:"type"`
	MethodARN      string              `json:"methodArn"`
	IdentitySource string              `json:"identitySource"`
	Token          string              `json:"authorizationToken"`
	Resource       string              `json:"resource"`
	Path           string              `json:"path"`
	Method         string              `json:"httpMethod"`
	Headers        map[string]string   `json:"headers"`
	MultiHeaders   map[string][]string `json:"multiValueHeaders"`
	Query          map[string]string   `json:"queryStringParameters"`
	MultiQuery     map[string][]string `json:"multiValueQueryStringParameters"`
	PathParameters map[string]string   `json:"pathParameters"`
	StageVariables map[string]string   `json:"stageVariables"`
	Context        requestContext      `json:"requestContext"`
}

type requestContext struct {
	AccountID    string            `json:"accountId"`
	APIID        string            `json:"apiId"`
	DomainName   string            `json:"domainName"`
	DomainPrefix string            `json:"domainPrefix"`
	Method       string            `json:"httpMethod"`
	Identity     map[string]string `json:"identity"`
	Path         string            `json:"path"`
	Protocol     string            `json:"protocol"`
	RequestID    string            `json:"requestId"`
	Time         string            `json:"requestTime"`
	TimeEpoch    int64             `json:"requestTimeEpoch"`
	ResourceID   string            `json:"resourceId"`
	Resource     string            `json:"resourcePath"`
	Stage        string            `json:"stage"`
}

// routeEvent is payload format 2.0.
type routeEvent struct {
	Version        string            `json:"version"`
	Type           string            `json:"type"`
	RouteARN       string            `json:"routeArn"`
	IdentitySource []string          `json:"identitySource"`
	RouteKey       string            `json:"routeKey"`
	RawPath        string            `json:"rawPath"`
	RawQuery       string            `json:"rawQueryString"`
	Cookies        []string          `json:"cookies,omitempty"`
	Headers        map[string]string `json:"headers"`
	Query          map[string]string `json:"queryStringParameters,omitempty"`
	Context        routeContext      `json:"requestContext"`
	PathParameters map[string]string `json:"pathParameters,omitempty"`
	StageVariables map[string]string `json:"stageVariables,omitempty"`
}

type routeContext struct {
	AccountID    string `json:"accountId"`
	APIID        string `json:"apiId"`
	DomainName   string `json:"domainName"`
	DomainPrefix string `json:"domainPrefix"`
	HTTP         struct {
		Method    string `json:"method"`
		Path      string `json:"path"`
		Protocol  string `json:"protocol"`
		SourceIP  string `json:"sourceIp"`
		UserAgent string `json:"userAgent"`
	} `json:"http"`
	RequestID string `json:"requestId"`
	RouteKey  string `json:"routeKey"`
	Stage     string `json:"stage"`
	Time      string `json:"time"`
	TimeEpoch int64  `json:"timeEpoch"`
}

const clock = "02/Jan/2006:15:04:05 -0700"

// event is what the function is given of x. It is text of its own.
func (f *Filter) event(x *exchange.Exchange, arn string, identity []string) ([]byte, error) {
	switch {
	case f.Type == "TOKEN":
		return json.Marshal(tokenEvent{"TOKEN", identity[0], arn})
	case f.Payload == "2.0":
		return json.Marshal(f.route2(x, arn, identity))
	}
	return json.Marshal(f.request1(x, arn, identity))
}

func (f *Filter) request1(x *exchange.Exchange, arn string, identity []string) *requestEvent {
	e := &requestEvent{Version: "1.0", Type: "REQUEST", MethodARN: arn, IdentitySource: strings.Join(identity, ","),
		Resource: resource(x), Path: x.Request.Path, Method: x.Request.Method,
		Headers: map[string]string{}, MultiHeaders: map[string][]string{}, Query: map[string]string{}, MultiQuery: map[string][]string{},
		PathParameters: parameters(x), StageVariables: f.StageVariables}
	e.Token = e.IdentitySource
	add := func(name, value string) {
		e.Headers[name] = value // the last one, as API Gateway has it
		e.MultiHeaders[name] = append(e.MultiHeaders[name], value)
	}
	add("Host", x.Request.Authority)
	direct := direct(x)
	for name, value := range x.Request.Header.All() {
		if !internal(name) && !(direct && claims(name)) {
			add(name, value)
		}
	}
	if direct {
		add("X-Forwarded-For", address(x))
		add("X-Forwarded-Proto", x.Request.Scheme)
	}
	values, _ := url.ParseQuery(x.Request.Query)
	for name, list := range values {
		e.Query[name], e.MultiQuery[name] = list[len(list)-1], list
	}
	now := f.now().UTC()
	host, label := domain(x)
	e.Context = requestContext{AccountID: f.API.Account, APIID: f.API.ID, DomainName: host, DomainPrefix: label,
		Method: x.Request.Method, Path: x.Request.Path, Protocol: x.Request.Proto, RequestID: x.ID, Time: now.Format(clock),
		TimeEpoch: now.UnixMilli(), ResourceID: x.Route, Resource: resource(x), Stage: f.API.Stage,
		Identity: map[string]string{"sourceIp": address(x), "userAgent": x.Request.Header.Get("User-Agent")}}
	return e
}

func (f *Filter) route2(x *exchange.Exchange, arn string, identity []string) *routeEvent {
	key := x.Request.Method + " " + resource(x)
	e := &routeEvent{Version: "2.0", Type: "REQUEST", RouteARN: arn, IdentitySource: identity, RouteKey: key,
		RawPath: x.Request.Path, RawQuery: x.Request.Query, Headers: map[string]string{"host": x.Request.Authority},
		PathParameters: parameters(x), StageVariables: f.StageVariables}
	direct := direct(x)
	if direct {
		e.Headers["x-forwarded-for"], e.Headers["x-forwarded-proto"] = address(x), x.Request.Scheme
	}
	for name, value := range x.Request.Header.All() {
		if internal(name) || direct && claims(name) {
			continue
		}
		lower := strings.ToLower(name)
		if lower == "cookie" {
			for c := range strings.SplitSeq(value, ";") {
				e.Cookies = append(e.Cookies, exchange.Trim(c))
			}
		}
		if before, there := e.Headers[lower]; there {
			value = before + "," + value
		}
		e.Headers[lower] = value
	}
	values, _ := url.ParseQuery(x.Request.Query)
	for name, list := range values {
		if e.Query == nil {
			e.Query = map[string]string{}
		}
		e.Query[name] = strings.Join(list, ",")
	}
	now := f.now().UTC()
	host, label := domain(x)
	e.Context = routeContext{AccountID: f.API.Account, APIID: f.API.ID, DomainName: host, DomainPrefix: label,
		RequestID: x.ID, RouteKey: key, Stage: f.API.Stage, Time: now.Format(clock), TimeEpoch: now.UnixMilli()}
	h := &e.Context.HTTP
	h.Method, h.Path, h.Protocol = x.Request.Method, x.Request.Path, x.Request.Proto
	h.SourceIP, h.UserAgent = address(x), x.Request.Header.Get("User-Agent")
	return e
}

// internal tokens are for nobody outside.
func internal(name string) bool {
	return exchange.EqualFold(name, firewall.TxnToken) || exchange.EqualFold(name, firewall.HopToken)
}

// direct reports whether the request is its client's own: no trusted proxy has
// named another.
func direct(x *exchange.Exchange) bool {
	remote := x.Client.Remote.Addr()
	return !remote.IsValid() || x.ClientIP.WithZone("") == remote.Unmap().WithZone("")
}

// connection are fields by which a proxy speaks of the client's connection, and
// which functions believe, as API Gateway writes them itself.
var connection = [...]string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host", "forwarded",
	"x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"}

func claims(name string) bool {
	for _, c := range connection {
		if exchange.SameName(name, c) {
			return true
		}
	}
	return false
}

// parameters are the path's, decoded; what a /* matched is API Gateway's
// {proxy+}.
func parameters(x *exchange.Exchange) map[string]string {
	m := map[string]string{}
	for _, p := range x.Params {
		name, value := p.Name, p.Value
		if name == "rest" && strings.HasSuffix(x.Pattern, "/*") {
			name = "proxy"
		}
		if plain, err := url.PathUnescape(value); err == nil {
			value = plain
		}
		m[name] = value
	}
	return m
}

func address(x *exchange.Exchange) string {
	if !x.ClientIP.IsValid() {
		return ""
	}
	return x.ClientIP.String()
}

// domain is the host without its port, and its first label.
func domain(x *exchange.Exchange) (host, label string) {
	host = x.Request.Authority
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	label, _, _ = strings.Cut(host, ".")
	return host, label
}

// methodARN names what is to be done. The path is the one that was matched.
func (f *Filter) methodARN(x *exchange.Exchange) string {
	return f.arn + x.Request.Method + "/" + strings.TrimPrefix(x.Request.Path, "/")
}
