package ops_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/test/kit"
)

const everyFilter = `version: 1
listeners:
  - {name: edge, address: "ADDR"}
admin: {address: "ADMIN"}
consumers:
  mobile: {groups: [apps], api_keys: "sha256:HASH"}
routes:
  - name: known
    match: {path: /known/*}
    filters:
      - cors: {origins: [https://shop.example]}
      - ip_filter: {deny: [10.0.0.0/8]}
      - maintenance: {enabled: false}
      - fault_injection: {delay: {time: 1ms, share: 0.5}}
      - request_limits: {body: 1MiB, query: 1KiB}
      - jwt: {issuers: [{iss: https://auth.example.com, keys: [{file: KEY}]}], audiences: [shop], anonymous: allow}
      - any_of: [client_cert, api_key]
      - all_of: [{api_key: {header: X-Second}}]
      - anonymous
      - acl: {groups: [apps]}
      - authorize: {allow: 'consumer.name == "mobile"'}
      - rate_limit: {requests: 3, window: 1h, key: consumer}
      - concurrency: {in_flight: 3, key: consumer}
      - openapi: {document: API, base_path: /known}
      - cache: {ttl: 1m}
      - headers: {request: {set: {X-Who: "{consumer}"}}, response: {remove: [Server]}}
      - transform: {request: {path: "/v2/orders/{consumer}"}, response: {headers: {set: {X-Route: "{route}"}}}}
      - security_headers: {}
      - compress: {}
      - json_body: {response: {drop: [secret]}}
      - error_pages: {}
    service: app
  - name: asked
    match: {path: /asked/*}
    filters:
      - ext_authz: {url: "http://127.0.0.1:1/check", on_error: deny, to_client: [X-Session]}
      - lambda_authorizer: {function: auth, endpoint: "http://127.0.0.1:1", sign: none, type: REQUEST, identity_sources: [method.request.header.X-Id]}
      - acl: {roles: [admin]}
      - authorize: {allow: 'identity.subject == "ada"'}
      - authorize: {allow: 'request.method == "GET"'}
      - rate_limit: {requests: 3, window: 1h, key: subject}
      - rate_limit: {requests: 3, window: 1h}
      - headers: {request: {set: {X-Who: "{subject}"}}}
    service: app
services:
  app: {static: ["APP"]}
`

// Every filter says what its verdict rests on, offline and live alike.
func TestExplainShowsInputsAndVerdictOfEveryFilter(t *testing.T) {
	t.Parallel()
	public, err := x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(make([]byte, 32)).Public())
	if err != nil {
		t.Fatal(err)
	}
	const secret = "an-api-key-of-mobile"
	hash := sha256.Sum256([]byte(secret))
	api, err := filepath.Abs("../../deploy/examples/openapi/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	admin := kit.FreeAddr(t)
	key := kit.File(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	file := kit.File(t, "lintel.yaml", strings.NewReplacer("ADDR", kit.FreeAddr(t), "ADMIN", admin, "APP", "127.0.0.1:1", "HASH", hex.EncodeToString(hash[:]),
		"KEY", key, "API", api).Replace(everyFilter))
	kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	reg, err := compose.Registry()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range reg.Kinds() {
		if !strings.Contains(everyFilter, "- "+k.Name) && !strings.Contains(everyFilter, "[{"+k.Name) && !strings.Contains(everyFilter, "["+k.Name) {
			t.Errorf("%s is not explained here", k.Name)
		}
	}
	for name, args := range map[string][]string{
		"filters-known": {"http://shop.example/known/orders?limit=5", "--api-key", secret, "--client-ip", "203.0.113.9", "-H", "X-Second: " + secret, "-H", "Origin: https://shop.example",
			"-H", "Accept-Encoding: gzip", "-H", "Accept: text/html"},
		"filters-asked": {"http://shop.example/asked/7", "--client-ip", "203.0.113.9", "-H", "X-Id: hidden-value"},
	} {
		code, offline, says := run(t, nil, append([]string{"explain", "-c", file}, args...)...)
		if code != 0 {
			t.Fatalf("%s: %d %s", name, code, says)
		}
		if code, live, says := run(t, nil, append([]string{"explain", "--address", admin}, args...)...); code != 0 || now.ReplaceAllString(live, "") != offline {
			t.Errorf("%s: %d %s\nlive:\n%s\noffline:\n%s", name, code, says, live, offline)
		}
		if strings.Contains(offline, secret) || strings.Contains(offline, "hidden-value") {
			t.Errorf("%s: a secret is told:\n%s", name, offline)
		}
		golden := filepath.Join("testdata", "explain", name+".txt")
		got := settings.ReplaceAllString(strings.ReplaceAll(offline, file, "lintel.yaml"), "settings: …")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || got != string(want) {
			t.Errorf("%s: %v: found\n%s\nif it is better, run go test ./test/ops -run Explain -update", name, err, got)
		}
		_, text, _ := run(t, nil, append([]string{"explain", "-c", file, "--output", "json"}, args...)...)
		var e route.Explanation
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		for _, l := range e.Filters {
			if l.Inputs == "" && l.OnAnswer == "" && l.Verdict != route.Depends {
				t.Errorf("%s: %s says nothing of what it rests on: %+v", name, l.Kind, l)
			}
		}
	}
}
