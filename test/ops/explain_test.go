package ops_test

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lintel.dev/lintel/test/kit"
)

var update = flag.Bool("update", false, "write the golden files anew")

var settings = regexp.MustCompile(`settings: .+`)

const explained = `version: 1
listeners:
  - {name: edge, address: "ADDR", trusted_proxies: [10.0.0.0/8]}
admin: {address: "ADMIN"}
policies:
  limits:
    - rate_limit: {requests: 3, window: 1h}
    - cache: {ttl: 1m}
routes:
  - name: orders
    match: {path: /orders/*, methods: [GET, POST]}
    policies: [limits]
    filters:
      - headers: {request: {set: {X-From: "{client_ip}", X-Upstream-Key: s3cret}, remove: [X-Beta]}}
    rewrite: {path: "/v2/{rest}", host: inside.example}
    service: orders
  - name: moved
    match: {hosts: [old.example.com]}
    redirect: {status: 308, scheme: https, host: new.example.com}
services:
  orders: {static: ["APP"]}
`

// TestExplainTextIsStable compares with golden files; -update writes them.
func TestExplainTextIsStable(t *testing.T) {
	t.Parallel()
	addr, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	app := kit.StartApp(t, "app", "")
	file := kit.File(t, "lintel.yaml", strings.NewReplacer("ADDR", addr, "ADMIN", admin, "APP", app.Addr).Replace(explained))
	kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	for name, args := range map[string][]string{
		"forwarded": {"http://api.example.com/orders/7?x=1", "-H", "X-Beta: 1", "-H", "X_User_Id: root", "--client-ip", "10.1.2.3", "-H", "X-Forwarded-For: 203.0.113.9", "--jwt", "a.b.c"},
		"redirect":  {"http://old.example.com/a?b=c"},
		"method":    {"http://api.example.com/orders/7", "-X", "DELETE"},
	} {
		code, offline, says := run(t, nil, append([]string{"explain", "-c", file}, args...)...)
		if code != 0 {
			t.Fatalf("%s: %d %s", name, code, says)
		}
		// The live table says the same, however often it is asked.
		for range 5 {
			if code, live, says := run(t, nil, append([]string{"explain", "--address", admin}, args...)...); code != 0 || now.ReplaceAllString(live, "") != offline {
				t.Fatalf("%s: %d %s\nlive:\n%s\noffline:\n%s", name, code, says, live, offline)
			}
		}
		if strings.Contains(offline, "s3cret") || strings.Contains(offline, "a.b.c") {
			t.Errorf("%s: a secret is told:\n%s", name, offline)
		}
		// How a filter words its settings is its own affair.
		got := settings.ReplaceAllString(strings.ReplaceAll(offline, file, "lintel.yaml"), "settings: …")
		golden := filepath.Join("testdata", "explain", name+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: found\n%s\nwant\n%s\nif it is better, run go test ./test/ops -run Explain -update", name, got, want)
		}
	}
	// Nothing was counted, and the service not asked.
	if n := app.Requests.Load(); n != 0 {
		t.Errorf("the service was asked %d times", n)
	}
	for i := range 3 {
		if code, body := fetch(addr, "/orders/7"+strings.Repeat("x", i)); code != http.StatusOK {
			t.Errorf("request %d: %d %s: the explanations were counted", i, code, body)
		}
	}
	if code, _ := fetch(addr, "/orders/last"); code != http.StatusTooManyRequests {
		t.Errorf("after the limit: %d", code)
	}
}

func TestExplainSaysWhatIsWrongWithTheQuestion(t *testing.T) {
	t.Parallel()
	file := kit.File(t, "lintel.yaml", good)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "-c FILE or --address HOST:PORT is required"},
		{[]string{"-c", file, "--address", "127.0.0.1:1"}, 2, "one of them only"},
		{[]string{"-c", file, "not-a-url"}, 2, "expected a URL"},
		{[]string{"-c", file, "-H", "nonsense"}, 2, "header 1 is not of the form Name:value"},
		{[]string{"-c", file, "--listener", "none"}, 2, "listeners are edge"},
		{[]string{"-c", file, "--client-ip", "here"}, 2, "it must be an IP address"},
		{[]string{"-c", file, "--peer", "ada"}, 2, "it must be a SPIFFE ID"},
		{[]string{"-c", file, "--jwt", "@/none"}, 2, "no such file"},
		{[]string{"--address", "127.0.0.1:1", "--jwt", "s3cret"}, 1, "is Lintel running"},
	} {
		code, _, says := run(t, nil, append([]string{"explain"}, c.args...)...)
		if code != c.code || !strings.Contains(says, c.says) || strings.Contains(says, "s3cret") {
			t.Errorf("%v: %d %s, want %d %s", c.args, code, says, c.code, c.says)
		}
	}
}
