package ops_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"lintel.dev/lintel/test/kit"
)

func TestExplainSaysWhichRouteAndWhyNotTheOthers(t *testing.T) {
	t.Parallel()
	file := kit.File(t, "lintel.yaml", strings.Replace(good, "services:", `  - name: beta
    match: {path: /orders/*, headers: {X-Beta: "1"}}
    filters: [{rate_limit: {requests: 7, window: 1m}}]
    strip_prefix: /orders
    service: orders
  - name: write
    match: {path: "/orders/{id}", methods: [POST]}
    service: orders
  - name: elsewhere
    match: {hosts: [api.example.com]}
    redirect: {host: example.com}
services:`, 1))
	type explanation struct {
		Route, Action, Service, Match, Problem string
		Forward                                string `json:"forward_path"`
		Status                                 int
		Removed                                int `json:"removed_headers"`
		Filters                                []struct{ Kind, Settings string }
		Params                                 []struct{ Name, Value string }
		Others                                 []struct{ Route, Why string }
	}
	explain := func(args ...string) (e explanation) {
		t.Helper()
		code, out, says := run(t, nil, append([]string{"explain", "-c", file, "--output", "json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &e); code != 0 || err != nil {
			t.Fatalf("%v: %d %v %s%s", args, code, err, out, says)
		}
		return e
	}
	why := func(e explanation, route string) string {
		for _, o := range e.Others {
			if o.Route == route {
				return o.Why
			}
		}
		return "not told"
	}
	e := explain("--path", "/orders/7?x=1", "-H", "X-Beta: 1", "-H", "X_User_Id: root")
	if e.Route != "beta" || e.Service != "orders" || e.Forward != "/7" || e.Removed != 1 || len(e.Filters) != 2 ||
		e.Filters[1].Kind != "rate_limit" || !strings.Contains(e.Filters[1].Settings, "7") {
		t.Errorf("beta: %+v", e)
	}
	for route, want := range map[string]string{"orders": "beta is more specific", "write": "method GET is not one of POST", "elsewhere": "host localhost is not one of api.example.com"} {
		if got := why(e, route); !strings.Contains(got, want) {
			t.Errorf("why not %s: %s, want %s", route, got, want)
		}
	}
	if e := explain("--method", "POST", "--path", "/orders/7"); e.Route != "write" || len(e.Params) != 1 || e.Params[0].Value != "7" ||
		!strings.Contains(why(e, "beta"), `header X-Beta is not "1"`) {
		t.Errorf("write: %+v", e)
	}
	if e := explain("--host", "api.example.com", "--path", "/x"); e.Action != "redirect" || e.Status != 302 {
		t.Errorf("redirect: %+v", e)
	}
	if e := explain("--path", "/nowhere"); e.Status != 404 || e.Action != "refused" || len(e.Others) != 4 {
		t.Errorf("nowhere: %+v", e)
	}
	if e := explain("--path", "/a%2fb"); e.Status != 400 || e.Problem == "" {
		t.Errorf("an encoded slash: %+v", e)
	}
	for _, wrong := range [][]string{{"http://localhost/orders/7", "--path", "/x"}, {"http://localhost/orders/7", "--host", "h"}, {"--client-cert", file}} {
		if code, out, says := run(t, nil, append([]string{"explain", "-c", file}, wrong...)...); code != 2 || out != "" || says == "" {
			t.Errorf("%v: %d %s%s", wrong, code, out, says)
		}
	}
	code, out, _ := run(t, nil, "explain", "-c", file, "--path", "/orders/7")
	for _, want := range []string{"GET localhost/orders/7\n", "route    orders (" + file + ":5), matches /orders/*", "service  orders (", "), as /orders/7, Host localhost",
		"not write (", "method GET is not one of POST"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d\n%s\nlacks %q", code, out, want)
		}
	}
}

func TestSchemaIsValidAndTakesTheExamples(t *testing.T) {
	t.Parallel()
	code, out, says := run(t, nil, "schema")
	if code != 0 {
		t.Fatal(says)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("lintel.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("lintel.schema.json") // checks it against the metaschema
	if err != nil {
		t.Fatal(err)
	}
	check := func(text []byte) error {
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			return err
		}
		j, err := json.Marshal(v)
		if err != nil {
			return err
		}
		inst, err := jsonschema.UnmarshalJSON(strings.NewReader(string(j)))
		if err != nil {
			return err
		}
		return schema.Validate(inst)
	}
	files, err := filepath.Glob("../../deploy/[ce]*/*.yaml") // compose and examples
	if err != nil || len(files) < 10 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(text); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	for _, bad := range []string{"version: 2", "version: 1\nlistners: []", "version: 1\nroutes: [{match: {path: /}}]",
		"version: 1\nroutes: [{name: a, filters: [{rate_limt: {}}]}]", "version: 1\nshutdown: {drain: soon}"} {
		if check([]byte(bad)) == nil {
			t.Errorf("the schema takes %q", bad)
		}
	}
}

func TestVersionAndHealthTellByExitCode(t *testing.T) {
	t.Parallel()
	code, out, _ := run(t, nil, "version")
	if code != 0 || !strings.HasPrefix(out, "lintel ") || !strings.Contains(out, "go1.") {
		t.Errorf("version: %d %s", code, out)
	}
	var v struct{ Version, Go, Platform string }
	if code, out, _ := run(t, nil, "version", "--output", "json"); code != 0 || json.Unmarshal([]byte(out), &v) != nil || v.Version == "" || v.Platform == "" {
		t.Errorf("version as JSON: %d %s", code, out)
	}
	admin, probes := kit.FreeAddr(t), kit.FreeAddr(t)
	app := kit.StartApp(t, "app", "")
	file := kit.File(t, "lintel.yaml", strings.NewReplacer("127.0.0.1:8080", kit.FreeAddr(t), "127.0.0.1:9000", app.Addr).Replace(good)+
		fmt.Sprintf("admin: {address: %q, probes: %q}\nshutdown: {delay: 15s}\n", admin, probes))
	p := kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	for _, addr := range []string{admin, probes} {
		if code, out, says := run(t, nil, "health", "--address", addr); code != 0 || out != "ready\n" {
			t.Errorf("health at %s: %d %s%s", addr, code, out, says)
		}
	}
	if status, _ := fetch(probes, "/config"); status != http.StatusNotFound {
		t.Errorf("the probes show the configuration: %d", status)
	}
	p.Signal(syscall.SIGTERM)
	kit.Eventually(t, 14*time.Second, "health says draining", func() error {
		if code, _, says := run(t, nil, "health", "--address", probes); code != 1 || !strings.Contains(says, "draining") {
			return fmt.Errorf("%d %s", code, says)
		}
		return nil
	})
	p.Wait(time.Minute)
	if code, _, says := run(t, nil, "health", "--address", admin); code != 1 || !strings.Contains(says, "is Lintel running") {
		t.Errorf("health of nothing: %d %s", code, says)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	if code, _, says := run(t, nil, "health", "--address", other.Listener.Addr().String()); code != 1 || !strings.Contains(says, "not Lintel's readiness") {
		t.Errorf("health of something else: %d %s", code, says)
	}
}

func TestSidecarByFlagsAloneRegistersAndServes(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	stock := kit.StartApp(t, "inventory", "")
	app := kit.StartApp(t, "orders", "")
	app.Outbound = kit.FreeAddr(t)
	local := kit.FreeAddr(t)
	start := func(service, addr, outbound string, more ...string) (*kit.Process, string) {
		admin := kit.FreeAddr(t)
		args := append([]string{"sidecar", "--service", service, "--app", addr, "--identity", "consul", "--mesh", kit.FreeAddr(t),
			"--outbound", outbound, "--admin", admin}, more...)
		return kit.Start(t, consul.Env(), args...).Ready(admin), admin
	}
	start("inventory", stock.Addr, "off", "--allow", "orders", "--check", "/health")
	p, admin := start("orders", app.Addr, app.Outbound, "--upstream", "inventory="+local)
	kit.Eventually(t, time.Minute, "Consul has both, passing", func() error {
		for _, s := range []string{"orders", "inventory"} {
			if got, err := consulSees(consul, s); got != "passing" {
				return fmt.Errorf("%s: %s, %v", s, got, err)
			}
		}
		return nil
	})
	var e kit.Echo
	kit.Eventually(t, time.Minute, "orders reaches inventory", func() error {
		status, body, err := app.Ask(t.Context(), "inventory", "/by-host", http.Header{})
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %v", status, body, err)
		}
		return json.Unmarshal(body, &e)
	})
	if e.App != "inventory" || !strings.HasSuffix(e.Header.Get("X-Lintel-Chain"), "/svc/orders") {
		t.Errorf("inventory saw %+v", e)
	}
	if status, body := fetch(local, "/by-port"); status != http.StatusOK || !strings.Contains(body, `"app":"inventory"`) || !strings.Contains(body, `"host":"inventory"`) {
		t.Errorf("by the loopback port: %d %s", status, body)
	}
	if status, body, err := app.Ask(t.Context(), "orders", "/self", http.Header{}); err != nil || status != http.StatusForbidden {
		t.Errorf("a sidecar without --allow lets callers in: %d %s %v", status, body, err)
	}
	app.Stop()
	kit.Eventually(t, time.Minute, "not ready without its app", func() error {
		r, err := readyz(admin)
		if err == nil && (r.Code != http.StatusServiceUnavailable || !strings.HasPrefix(r.detail("app"), "ok=false")) {
			err = fmt.Errorf("%d %s", r.Code, r.detail("app"))
		}
		return err
	})
	kit.Eventually(t, time.Minute, "Consul knows it", func() error {
		if got, err := consulSees(consul, "orders"); got != "failing" {
			return fmt.Errorf("%s, %v", got, err)
		}
		return nil
	})
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(time.Minute); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, err := consulSees(consul, "orders"); got != "gone" {
		t.Errorf("after the end: %s, %v", got, err)
	}
}
