package rules_test

import "strings"

// rooms says which of our packages each of our packages may import directly.
// ARCHITECTURE.md shows the same table; a new line here is a decision.
var rooms = map[string][]string{
	// The data plane.
	"proxy/exchange":               {},
	"proxy/store":                  {},
	"proxy/listen":                 {},
	"proxy/filter":                 {"proxy/exchange", "proxy/store"},
	"proxy/filter/firewall":        {"proxy/exchange", "proxy/filter"},
	"proxy/filter/headers":         {"proxy/exchange", "proxy/filter", "proxy/filter/firewall", "proxy/filter/template"},
	"proxy/filter/credential":      {"proxy/exchange", "proxy/filter", "proxy/filter/firewall"},
	"proxy/filter/consumer":        {"proxy/exchange", "proxy/filter", "proxy/filter/firewall", "proxy/store"},
	"proxy/filter/jwt":             {"proxy/exchange", "proxy/filter", "proxy/filter/consumer", "proxy/filter/credential", "proxy/filter/firewall", "proxy/store"},
	"proxy/filter/apikey":          {"proxy/exchange", "proxy/filter", "proxy/filter/consumer", "proxy/filter/credential"},
	"proxy/filter/clientcert":      {"proxy/exchange", "proxy/filter", "proxy/filter/consumer", "proxy/filter/firewall"},
	"proxy/filter/combine":         {"proxy/exchange", "proxy/filter", "proxy/filter/consumer", "proxy/filter/credential"},
	"proxy/filter/acl":             {"proxy/exchange", "proxy/filter", "proxy/filter/consumer"},
	"proxy/filter/ratelimit":       {"proxy/exchange", "proxy/filter", "proxy/store"},
	"proxy/filter/cache":           {"proxy/exchange", "proxy/filter", "proxy/store"},
	"proxy/cluster":                {"proxy/exchange"},
	"proxy/route":                  {"proxy/exchange", "proxy/filter", "proxy/cluster"},
	"proxy/pipe":                   {"proxy/exchange", "proxy/filter", "proxy/route", "proxy/cluster"},
	"proxy/nethttp":                {"proxy/exchange"},
	"proxy/tcp":                    {"proxy/exchange"},
	"proxy/http1":                  {"proxy/exchange", "proxy/http1/loop", "proxy/http1/mux"},
	"proxy/http1/loop":             {},
	"proxy/http1/smuggling":        {}, // test data
	"proxy/filter/ask":             {"proxy/exchange", "proxy/filter", "proxy/filter/firewall"},
	"proxy/filter/extauthz":        {"proxy/exchange", "proxy/filter", "proxy/filter/ask", "proxy/filter/firewall", "proxy/store"},
	"proxy/filter/authorize":       {"proxy/exchange", "proxy/filter"},
	"proxy/filter/lambda":          {"proxy/exchange", "proxy/filter", "proxy/filter/ask", "proxy/filter/firewall", "proxy/store"},
	"proxy/listen/acme":            {},
	"proxy/http1/mux":              {"proxy/http1/loop"},
	"proxy/filter/content":         {"proxy/exchange"},
	"proxy/filter/template":        {"proxy/exchange"},
	"proxy/filter/cors":            {"proxy/exchange", "proxy/filter", "proxy/filter/content"},
	"proxy/filter/transform":       {"proxy/exchange", "proxy/filter", "proxy/filter/headers", "proxy/filter/template"},
	"proxy/filter/requestlimits":   {"proxy/exchange", "proxy/filter", "proxy/filter/content"},
	"proxy/filter/ipfilter":        {"proxy/exchange", "proxy/filter", "proxy/store"},
	"proxy/filter/securityheaders": {"proxy/exchange", "proxy/filter"},
	"proxy/filter/compress":        {"proxy/exchange", "proxy/filter", "proxy/filter/content", "proxy/store"},
	"proxy/filter/jsonbody":        {"proxy/exchange", "proxy/filter", "proxy/filter/content", "proxy/filter/template"},
	"proxy/filter/maintenance":     {"proxy/exchange", "proxy/filter", "proxy/filter/firewall", "proxy/filter/ipfilter"},
	"proxy/filter/errorpages":      {"proxy/exchange", "proxy/filter", "proxy/filter/content"},
	"proxy/filter/openapi":         {"proxy/exchange", "proxy/filter", "proxy/filter/content", "proxy/store"},
	"proxy/filter/split":           {"proxy/exchange", "proxy/filter", "proxy/filter/credential", "proxy/filter/firewall"},
	"proxy/filter/mirror":          {"proxy/exchange", "proxy/filter"},
	"proxy/filter/faultinjection":  {"proxy/exchange", "proxy/filter", "proxy/filter/ipfilter", "proxy/store"},

	// The control plane.
	"config":        {},
	"discovery":     {"proxy/cluster"}, // the type Endpoint
	"mtls":          {"proxy/exchange"},
	"mtls/txntoken": {"proxy/exchange"},
	"mtls/caller":   {}, // for apps: as little as possible
	"tracing":       {"proxy/exchange"},
	"admin":         {},

	// The compositions. config/compose is what both modes build alike.
	"config/compose": {"admin", "config", "discovery", "mtls", "mtls/txntoken", "tracing", "proxy/..."},
	"ingress":        {"admin", "config", "config/compose", "discovery", "mtls", "mtls/txntoken", "tracing", "proxy/..."},
	"sidecar":        {"admin", "config", "config/compose", "discovery", "mtls", "mtls/txntoken", "tracing", "proxy/...", "sidecar/child"},
	"sidecar/child":  {},

	// The commands.
	"cmd/lintel":           {"admin", "cmd/lintel/demo", "config", "config/compose", "ingress", "sidecar", "sidecar/child", "proxy/exchange", "proxy/filter/apikey", "proxy/listen", "proxy/route"},
	"cmd/lintel/demo":      {"cmd/lintel/demo/apps", "config", "config/compose", "discovery", "ingress", "mtls", "sidecar"},
	"cmd/lintel/demo/apps": {},
	"deploy/apps":          {"cmd/lintel/demo/apps"},
}

// isKit tells test kits, whose names end in "test" as httptest's does, and the
// whole-system tests. No package above may import one.
func isKit(name string) bool {
	return strings.HasPrefix(name, "test/") || strings.HasSuffix(name, "test")
}

// doors says who may import what is not ours. One door per dependency: whoever
// wants to replace it, or to know what it does to us, looks in one place.
var doors = []struct {
	module string
	rooms  []string
	why    string
}{
	{"github.com/hashicorp/consul/api", []string{"discovery"}, "all that is said to Consul is said by discovery; mtls takes its CA through an interface"},
	{"github.com/spiffe/go-spiffe", []string{"mtls", "mtls/txntoken"}, "identities and bundles are mtls's; others get a SPIFFE ID as a string and a tls.Config"},
	{"go.opentelemetry.io/otel", []string{"tracing"}, "the SDK costs allocations on every request; only tracing knows when it is worth it"},
	{"github.com/prometheus", []string{"tracing"}, "metrics are registered through tracing.Metrics"},
	{"github.com/sony/gobreaker", []string{"proxy/cluster"}, "a breaker belongs to a cluster"},
	{"github.com/golang-jwt/jwt", []string{"proxy/filter/jwt", "mtls/txntoken", "mtls/caller", "cmd/lintel/demo", "cmd/lintel/demo/apps"}, "users' tokens are checked by the filter, internal ones by txntoken, and by caller in apps; the demo signs its own"},
	{"cel.dev/cel-go", []string{"proxy/filter/authorize"}, "expressions are the authorize filter's"},
	{"github.com/aws/aws-sdk-go-v2", []string{"proxy/filter/lambda"}, "it signs invocations of Lambda functions, with the credentials that AWS's standard chain finds"},
	{"github.com/redis/rueidis", []string{"proxy/store"}, "what outlives a table is kept by store"},
	{"github.com/maypok86/otter", []string{"proxy/store"}, "what outlives a table is kept by store"},
	{"github.com/caddyserver/certmagic", []string{"proxy/listen/acme"}, "who orders certificates, and opens no listener for it, is decided in one place"},
	{"github.com/mholt/acmez", []string{"proxy/listen/acme"}, "ACME is spoken in one place"},
	{"go.uber.org/zap", []string{"proxy/listen/acme"}, "everybody else logs by slog; certmagic does not"},
	{"github.com/klauspost/compress", []string{"proxy/filter/compress"}, "gzip and zstd are how one filter sends answers"},
	{"github.com/andybalholm/brotli", []string{"proxy/filter/compress"}, "br is how one filter sends answers"},
	{"github.com/getkin/kin-openapi", []string{"proxy/filter/openapi"}, "OpenAPI documents and JSON Schema are one filter's"},
	{"github.com/goccy/go-yaml", []string{"config"}, "one parser decides what a configuration file says"},
	{"github.com/cloudflare/tableflip", []string{"cmd/lintel"}, "a process that takes over is the command's affair"},
	{"github.com/coreos/go-systemd", []string{"cmd/lintel"}, "so are service managers"},
	{"github.com/spf13", []string{"cmd/lintel"}, "flags are the command's"},
	{"google.golang.org/grpc", []string{"mtls", "sidecar", "tracing"}, "the Workload API, the app's gRPC health check, the OTLP exporter; gRPC that is proxied is plain HTTP/2"},
	{"golang.org/x/net/http/httpguts", []string{"admin", "proxy/nethttp"}, "what is a valid header field"},
	{"golang.org/x/time/rate", []string{"discovery"}, "paces questions to Consul"},
	{"golang.org/x/sys/unix", []string{"proxy/http1", "proxy/http1/loop", "sidecar/child"}, "epoll, splice and raw sockets are the HTTP/1.1 engine's"},
}
