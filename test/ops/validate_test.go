package ops_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"lintel.dev/lintel/test/kit"
)

// good is a valid configuration that the wrong ones are made from.
const good = `version: 1
listeners:
  - {name: edge, address: "127.0.0.1:8080"}
routes:
  - name: orders
    match: {path: /orders/*}
    service: orders
services:
  orders: {static: ["127.0.0.1:9000"]}
`

// side is the same for a sidecar.
const side = `version: 1
identity: {source: embedded}
sidecar:
  service: orders
  app: 127.0.0.1:9000
`

func TestValidateSaysWhereAndWhat(t *testing.T) {
	t.Parallel()
	route := func(more string) (string, string) { return "    service: orders", "    service: orders\n    " + more }
	top := func(more string) (string, string) { return "version: 1\n", "version: 1\n" + more + "\n" }
	static := func(instead string) (string, string) { return `static: ["127.0.0.1:9000"]`, instead }
	listener := func(more string) (string, string) { return "name: edge, ", "name: edge, " + more + ", " }
	change := func(old, new string) (string, string) { return old, new }
	for _, c := range []struct {
		name     string
		edit     func() (string, string)
		line     int
		says     string
		baseline string
	}{
		{"a version of the future", func() (string, string) { return change("version: 1", "version: 2") }, 1, "version: expected 1, found 2", good},
		{"no version", func() (string, string) { return change("version: 1\n", "") }, 1, "version is missing", good},
		{"a misspelt section", func() (string, string) { return change("listeners:", "listners:") }, 2, `unknown key "listners": did you mean listeners?`, good},
		{"a misspelt key", func() (string, string) { return change("{path: /", "{pth: /") }, 6, `unknown key "pth": did you mean path?`, good},
		{"a listener without a name", func() (string, string) { return change("name: edge, ", "") }, 3, "name is missing: expected a string", good},
		{"a listener's bad name", func() (string, string) { return change("name: edge", "name: Edge!") }, 3, `found "Edge!"`, good},
		{"an address that is none", func() (string, string) { return change(`"127.0.0.1:8080"`, "nowhere") }, 3, `expected host:port, found "nowhere"`, good},
		{"an unset variable", func() (string, string) { return change(`"127.0.0.1:8080"`, `"${LINTEL_TEST_UNSET}"`) }, 3, "environment variable LINTEL_TEST_UNSET is not set", good},
		{"an impossible prefix", func() (string, string) { return listener("trusted_proxies: [10.0.0.0/33]") }, 3, "expected an address range like 10.0.0.0/8", good},
		{"too small a limit", func() (string, string) { return listener("limits: {header_bytes: 1}") }, 3, "header_bytes: expected 1KiB to 1MiB, found 1", good},
		{"TLS without certificates", func() (string, string) { return listener("tls: {}") }, 3, "tls needs certificates, acme or both", good},
		{"ACME without consent", func() (string, string) { return listener("tls: {acme: {domains: a.test, agreed: false}}") }, 3, "agreed must be true", good},
		{"ACME for a wildcard", func() (string, string) { return listener(`tls: {acme: {domains: "*.a.test", agreed: true}}`) }, 3, "a wildcard needs the challenge dns-01", good},
		{"ACME that nobody can answer", func() (string, string) {
			return listener("tls: {acme: {domains: a.test, agreed: true, challenges: [http-01]}}")
		}, 3, "http-01 is answered on a plaintext listener, and there is none", good},
		{"ACME in the clear", func() (string, string) {
			return listener("tls: {acme: {domains: a.test, agreed: true, ca: \"http://ca.test/dir\"}}")
		}, 3, "expected the https URL of an ACME directory", good},
		{"ACME in an unknown Redis", func() (string, string) {
			return listener("tls: {acme: {domains: a.test, agreed: true, storage: {redis: default, key: " + strings.Repeat("0f", 32) + "}}}")
		}, 3, "there is no section redis", good},
		{"ACME in Redis in the clear", func() (string, string) {
			return listener("tls: {acme: {domains: a.test, agreed: true, storage: {redis: default}}}")
		}, 3, "key is missing", good},
		{"ACME in two places", func() (string, string) {
			return listener("tls: {acme: {domains: a.test, agreed: true, storage: {redis: default, dir: /a, key: k}}}")
		}, 3, "found dir and redis", good},
		{"an ACME key without Redis", func() (string, string) {
			return listener("tls: {acme: {domains: a.test, agreed: true, storage: {key: k}}}")
		}, 3, "say redis too", good},
		{"two listeners of one name", func() (string, string) {
			return change(`"127.0.0.1:8080"}`, "\"127.0.0.1:8080\"}\n  - {name: edge, address: \"127.0.0.1:8081\"}")
		}, 4, "listener edge is defined twice", good},
		{"two listeners at one address", func() (string, string) {
			return change(`"127.0.0.1:8080"}`, "\"127.0.0.1:8080\"}\n  - {name: two, address: \"127.0.0.1:8080\"}")
		}, 4, "two listeners have the address 127.0.0.1:8080", good},
		{"an unknown service", func() (string, string) { return change("service: orders", "service: oders") }, 7, `service "oders" does not exist; services are orders`, good},
		{"an unknown policy", func() (string, string) { return route("policies: [user]") }, 8, `policy "user" does not exist`, good},
		{"an unknown listener", func() (string, string) { return route("listeners: [inner]") }, 8, `listener "inner" does not exist`, good},
		{"an unknown filter", func() (string, string) { return route("filters: [{rate_limt: {requests: 1}}]") }, 8, `unknown filter "rate_limt"`, good},
		{"a parameter that the path does not have", func() (string, string) {
			return route(`filters: [{transform: {request: {path: "/a/{param:id}"}}}]`)
		}, 5, `{param:id} is no parameter of the match "/orders/*"`, good},
		{"a filter without its setting", func() (string, string) { return route("filters: [{rate_limit: {}}]") }, 8, "rate_limit: requests: found neither requests nor limits, want one of them", good},
		{"a filter's bad value", func() (string, string) { return route("filters: [{cache: {methods: [POST]}}]") }, 8, `expected one of GET, HEAD, found "POST"`, good},
		{"too short a secret", func() (string, string) {
			return route("filters: [{jwt: {iss: a, keys: [{secret: hunter2}]}}]")
		}, 8, "HS256 needs at least 32", good},
		{"a key file that is not there", func() (string, string) {
			return route("filters: [{jwt: {iss: a, keys: [{file: /nowhere.pem}]}}]")
		}, 8, "/nowhere.pem", good},
		{"client certificates that nobody asks for", func() (string, string) { return route("filters: [client_cert]") }, 8, "none of its listeners asks clients for certificates", good},
		{"a consumer that is not there", func() (string, string) { return route("filters: [{api_key: {consumers: [ada]}}]") }, 8, `"ada" is not under consumers`, good},
		{"a key in place of its hash", func() (string, string) { return top("consumers: {ada: {api_keys: [lk_secret]}}") }, 2, "found something else (not shown)", good},
		{"a combination of what says nothing", func() (string, string) { return route("filters: [{any_of: [cache]}]") }, 8, "cache does not say who is calling", good},
		{"a duration without a unit", func() (string, string) { return route("timeout: 5") }, 8, "expected a duration like 5s, found 5: add a unit", good},
		{"too many retries", func() (string, string) { return route("retries: {attempts: 99}") }, 8, "expected 0 to 10, found 99", good},
		{"two actions", func() (string, string) { return route("respond: {body: x}") }, 5, "route orders: exactly one of service, split, redirect and respond must be given, found 2", good},
		{"a path without its slash", func() (string, string) { return change("/orders/*", "orders") }, 6, `path "orders" must begin with a slash`, good},
		{"a star in the middle", func() (string, string) { return change("/orders/*", "/*/orders") }, 6, "* stands only at the end", good},
		{"an unknown parameter", func() (string, string) { return route("rewrite: {path: \"/{id}\"}") }, 5, "{id} is no parameter of the match", good},
		{"a redirect that is none", func() (string, string) {
			return change("    service: orders", "    redirect: {status: 200}")
		}, 7, "expected one of 301, 302, 303, 307, 308, found 200", good},
		{"a route twice", func() (string, string) {
			return change("services:", "  - {name: orders, match: {path: /x}, service: orders}\nservices:")
		}, 8, "route orders is defined twice", good},
		{"an endpoint without a port", func() (string, string) { return static(`static: ["127.0.0.1"]`) }, 9, `expected host:port as 10.0.0.1:8080, with a port of 1 to 65535, found "127.0.0.1"`, good},
		{"a service from nowhere", func() (string, string) { return static("") }, 9, "neither static nor dns endpoints, and discovery.consul is not configured", good},
		{"a mesh without an identity", func() (string, string) { return static("mesh: true") }, 9, "identity.source is none: set identity", good},
		{"an unknown way to balance", func() (string, string) { return static(`static: ["127.0.0.1:9000"], balance: fastest`) }, 9, "expected one of round_robin, least_request", good},
		{"a number in quotes", func() (string, string) { return static(`static: ["127.0.0.1:9000"], max_idle: "5"`) }, 9, "remove the quotes", good},
		{"an open admin API", func() (string, string) { return top(`admin: {address: "0.0.0.0:9901"}`) }, 2, "is not on loopback", good},
		{"an unknown exporter", func() (string, string) { return top("tracing: {exporter: jaeger}") }, 2, "expected one of none, otlp-grpc, otlp-http", good},
		{"too large a share", func() (string, string) { return top("tracing: {sample: 2}") }, 2, "expected 0 to 1, found 2", good},
		{"an unknown identity source", func() (string, string) { return top("identity: {source: spire}") }, 2, "expected one of none, workload-api, consul, embedded", good},
		{"a service ID that is no SPIFFE ID", func() (string, string) {
			return top(`identity: {source: embedded, service_id: "http://x"}`)
		}, 2, "expected it to begin with spiffe://", good},
		{"a reserved name that is none", func() (string, string) { return top(`firewall: {reserve: ["a b"]}`) }, 2, `"a b" is no header name`, good},
		{"a key twice", func() (string, string) { return top("version: 1") }, 2, "this key was already set on line 1", good},
		{"a tab", func() (string, string) { return change("services:\n", "services:\n\t") }, 9, "indented with a tab: use spaces", good},
		{"a sidecar without an identity", func() (string, string) { return change("identity: {source: embedded}\n", "") }, 1, "a sidecar needs workload-api, consul or embedded", side},
		{"a sidecar without a service", func() (string, string) { return change("  service: orders\n", "") }, 4, "service is missing", side},
		{"an outbound listener open to others", func() (string, string) {
			return change("  service: orders", "  service: orders\n  outbound: 0.0.0.0:15001")
		}, 5, "expected a loopback address", side},
		{"an upstream open to others", func() (string, string) {
			return change("  service: orders", "  service: orders\n  upstreams: [{service: b, bind: \"10.0.0.1:80\"}]")
		}, 5, "whoever reaches it calls as this service", side},
		{"a policy that allows all", func() (string, string) {
			return change("  service: orders", "  service: orders\n  policy: {default: allow}")
		}, 5, "expected one of deny, consul", side},
		{"a rule for nobody", func() (string, string) {
			return change("  service: orders", "  service: orders\n  policy: {allow: [{from: []}]}")
		}, 5, "must not be empty", side},
		{"a caller that is no SPIFFE ID", func() (string, string) {
			return change("  service: orders", "  service: orders\n  policy: {allow: [{from: [\"spiffe://\"]}]}")
		}, 5, "expected a SPIFFE ID", side},
		{"an app that is none", func() (string, string) { return change("127.0.0.1:9000", "nowhere") }, 5, `expected host:port, found "nowhere"`, side},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old, now := c.edit()
			text := strings.Replace(c.baseline, old, now, 1)
			if text == c.baseline {
				t.Fatalf("%q is not in the good one", old)
			}
			file := kit.File(t, "lintel.yaml", text)
			code, out, says := run(t, nil, "validate", "-c", file)
			if where := fmt.Sprintf("%s:%d:", file, c.line); code != 2 || out != "" || !strings.Contains(says, where) || !strings.Contains(says, c.says) {
				t.Errorf("exit code %d\n%s%s\nwant 2 and %s %s", code, out, says, where, c.says)
			}
			if strings.Contains(says, "hunter2") {
				t.Error("the message shows the secret")
			}
			code, out, _ = run(t, nil, "validate", "-c", file, "--output", "json")
			var answer struct {
				Valid  bool
				File   string
				Errors []string
			}
			if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 2 || answer.Valid || answer.File != file || !strings.Contains(strings.Join(answer.Errors, "\n"), c.says) {
				t.Errorf("as JSON: exit code %d, %v, %s", code, err, out)
			}
		})
	}
}

func TestValidateTakesTheGoodOnesAndReportsAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"good": good, "side": side} {
		if code, out, says := run(t, nil, "validate", "-c", kit.File(t, name+".yaml", text)); code != 0 || !strings.HasSuffix(out, ": valid\n") || says != "" {
			t.Errorf("%s: %d %s%s", name, code, out, says)
		}
	}
	file := kit.File(t, "bad.yaml", strings.NewReplacer("name: edge", "nam: edge", "path: /", "pth: /", "static:", "sttic:").Replace(good))
	_, _, says := run(t, nil, "validate", "-c", file)
	for _, line := range []int{3, 6, 9} {
		if !strings.Contains(says, fmt.Sprintf("%s:%d:", file, line)) {
			t.Errorf("line %d is not told:\n%s", line, says)
		}
	}
	shared := kit.File(t, "shared.yaml", strings.Replace(good, "routes:\n", `policies:
  checked: [openapi: {document: /nowhere/api.yaml}]
routes:
  - {name: other, match: {path: /other}, policies: [checked], service: orders}
  - {name: third, match: {path: /third}, policies: [checked], service: orders}
`, 1))
	if code, _, says := run(t, nil, "validate", "-c", shared); code != 2 || strings.Count(says, shared+":5: openapi") != 1 {
		t.Errorf("a flaw of a policy on two routes: %d\n%s", code, says)
	}
	if code, _, says := run(t, nil, "validate", "-c", "/nowhere/lintel.yaml"); code != 2 || !strings.Contains(says, "no such file") {
		t.Errorf("no file: %d %s", code, says)
	}
	for _, args := range [][]string{{"validate"}, {"ingress"}, {"sidecar"}, {"explain"}, {"nonsense"}, {"validate", "-c", "a", "b"}, {"health", "--adress", "x"},
		{"health", "--address", "nonsense"}, {"sidecar", "-c", "a", "--service", "b"}, {"ingress", "-c", file}, {"sidecar", "--service", "a", "--upstream", "b"},
		{"ingress", "-c", "a", "--log-level", "loud"}} {
		if code, _, says := run(t, nil, args...); code != 2 || says == "" {
			t.Errorf("lintel %s: exit code %d, %q; want 2 and why", strings.Join(args, " "), code, says)
		}
	}
}
