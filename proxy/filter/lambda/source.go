package lambda

import (
	"fmt"
	"net/url"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// source is one of what identifies the caller.
type source struct {
	kind byte
	name string
}

const (
	fromHeader   = 'h'
	fromQuery    = 'q'
	fixed        = 'f' // name is the value
	fromMethod   = 'm'
	fromPath     = 'p'
	fromResource = 'r'
	fromRoute    = 'k'
	fromStage    = 's'
	fromAddress  = 'a'
)

// parseSource reads a mapping expression as REST APIs or HTTP APIs spell it.
func parseSource(s string, variables map[string]string) (source, error) {
	plain := strings.TrimPrefix(strings.TrimPrefix(s, "$"), "method.")
	for prefix, kind := range map[string]byte{"request.header.": fromHeader, "request.querystring.": fromQuery} {
		if name, ok := strings.CutPrefix(plain, prefix); ok && name != "" && !strings.ContainsAny(name, " \t*:") {
			return source{kind, name}, nil
		}
	}
	if name, ok := strings.CutPrefix(plain, "stageVariables."); ok {
		if variables[name] == "" {
			return source{}, fmt.Errorf("stage variable %q is not in stage_variables", name)
		}
		return source{fixed, variables[name]}, nil
	}
	switch plain {
	case "context.httpMethod", "context.http.method":
		return source{kind: fromMethod}, nil
	case "context.path", "context.http.path":
		return source{kind: fromPath}, nil
	case "context.resourcePath":
		return source{kind: fromResource}, nil
	case "context.routeKey":
		return source{kind: fromRoute}, nil
	case "context.stage":
		return source{kind: fromStage}, nil
	case "context.identity.sourceIp", "context.http.sourceIp":
		return source{kind: fromAddress}, nil
	}
	return source{}, fmt.Errorf("found %q, want method.request.header.NAME, method.request.querystring.NAME, stageVariables.NAME, "+
		"context.httpMethod, .path, .resourcePath, .stage, .identity.sourceIp, or $context.routeKey", s)
}

// value is what x says, "" when nothing. It may be a view.
func (f *Filter) value(x *exchange.Exchange, s source) string {
	switch s.kind {
	case fromHeader:
		return x.Request.Header.Joined(s.name)
	case fromQuery:
		values, _ := url.ParseQuery(x.Request.Query)
		return strings.Join(values[s.name], ",")
	case fixed:
		return s.name
	case fromMethod:
		return x.Request.Method
	case fromPath:
		return x.Request.Path
	case fromResource:
		return resource(x)
	case fromRoute:
		return x.Request.Method + " " + resource(x)
	case fromStage:
		return f.API.Stage
	}
	if x.ClientIP.IsValid() {
		return x.ClientIP.String()
	}
	return ""
}

// resource is the route's path as API Gateway would have it.
func resource(x *exchange.Exchange) string {
	if prefix, ok := strings.CutSuffix(x.Pattern, "/*"); ok {
		return prefix + "/{proxy+}"
	}
	return x.Pattern
}

// escape spells a function's name for the path, colons too, as AWS's own clients
// do: the signature covers this spelling.
func escape(name string) string { return url.QueryEscape(name) }
