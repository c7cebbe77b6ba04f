package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const local = "127.0.0.1:0"

func TestOnlyLoopbackUnlessAllowed(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:0": true, "127.9.9.9:0": true, "[::1]:0": true, "localhost:0": true,
		"0.0.0.0:0": false, ":0": false, "[::]:0": false, "10.0.0.1:0": false, "localhost.example:0": false, "9901": false,
	} {
		_, err := New(Config{Address: address}, Sources{}, quiet)
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := New(Config{Address: "0.0.0.0:0", AllowNonLoopback: true}, Sources{}, quiet); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{Address: "off", Probes: "0.0.0.0:0"}, Sources{}, quiet); err != nil {
		t.Error(err)
	}
}

func TestEveryEndpointAnswersFromItsSource(t *testing.T) {
	list := func(name string) func() any { return func() any { return []string{name} } }
	s := started(t, Config{Address: local}, Sources{
		Config: list("config"), Routes: list("routes"), Services: list("services"), Connections: list("connections"),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("up 1\n")) }),
		Keys:    func() []byte { return []byte(`{"keys":[]}`) },
	})
	base := "http://" + s.Addr().String()
	for path, want := range map[string]string{
		"/config?compact": `["config"]` + "\n", "/routes": "[\n  \"routes\"\n]\n", "/services?compact": `["services"]` + "\n",
		"/connections?compact": `["connections"]` + "\n", "/livez?compact": `{"status":"live"}` + "\n", "/metrics": "up 1\n",
		"/readyz?compact": `{"status":"ready","checks":[]}` + "\n", "/.well-known/jwks.json": `{"keys":[]}`,
	} {
		resp, body := ask(t, "GET", base+path, "localhost")
		if resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %q, want %q", path, resp.StatusCode, body, want)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", path)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/profile?seconds=1", "/"} {
		if resp, body := ask(t, "GET", base+path, "localhost"); resp.StatusCode != 200 || body == "" {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	resp, body := ask(t, "GET", base+"/explain", "localhost")
	wantProblem(t, resp, body, 404) // no source
	resp, body = ask(t, "GET", base+"/nothing", "localhost")
	wantProblem(t, resp, body, 404)
	resp, body = ask(t, "GET", base+"/drain", "localhost")
	wantProblem(t, resp, body, 405)
	if resp.Header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", resp.Header.Get("Allow"))
	}
}

func TestReadiness(t *testing.T) {
	var checks atomic.Pointer[[]Check]
	checks.Store(&[]Check{{Name: "identity", OK: true, Required: true}, {Name: "discovery", Detail: "stale for 3s"}})
	s := started(t, Config{Address: local, Probes: local}, Sources{Ready: func() []Check { return *checks.Load() }})
	for _, addr := range []net.Addr{s.Addr(), s.ProbesAddr()} {
		if err := Health(t.Context(), addr.String()); err != nil {
			t.Errorf("an optional check made it fail: %v", err)
		}
	}
	checks.Store(&[]Check{{Name: "identity", Required: true, Detail: "no SVID yet"}})
	resp, body := ask(t, "GET", "http://"+s.ProbesAddr().String()+"/readyz", "10.1.2.3:9902")
	if resp.StatusCode != 503 || !strings.Contains(body, `"no SVID yet"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if err := Health(t.Context(), s.ProbesAddr().String()); err == nil || !strings.Contains(err.Error(), "identity: no SVID yet") {
		t.Errorf("health: %v", err)
	}
	checks.Store(&[]Check{})
	s.SetDraining()
	if err := Health(t.Context(), s.Addr().String()); err == nil || !strings.Contains(err.Error(), "draining") {
		t.Errorf("health while draining: %v", err)
	}
}

func TestProbesShowNothingElse(t *testing.T) {
	s := started(t, Config{Probes: local}, Sources{Config: func() any { return "x" }, Drain: func() { t.Error("drained") }})
	if s.Addr() != nil {
		t.Error("the API listens although it is off")
	}
	base := "http://" + s.ProbesAddr().String()
	for _, path := range []string{"/config", "/routes", "/explain", "/debug/pprof/", "/.well-known/jwks.json", "/", "/metrics"} {
		resp, body := ask(t, "GET", base+path, "localhost")
		wantProblem(t, resp, body, 404)
	}
	resp, body := ask(t, "POST", base+"/drain", "localhost")
	wantProblem(t, resp, body, 404)
}

func TestDrainAndReload(t *testing.T) {
	var drains, reloads atomic.Int32
	fail := errors.New("routes[2]: unknown service")
	running, release := make(chan struct{}), make(chan struct{})
	s := started(t, Config{Address: local}, Sources{
		Drain: func() { drains.Add(1) },
		Reload: func() error {
			switch reloads.Add(1) {
			case 1:
				return nil
			case 2:
				return fail
			}
			close(running)
			<-release
			return nil
		},
	})
	base := "http://" + s.Addr().String()
	if resp, body := ask(t, "POST", base+"/reload", "localhost"); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp, body := ask(t, "POST", base+"/reload", "localhost")
	wantProblem(t, resp, body, 422)
	if !strings.Contains(body, "unknown service") {
		t.Errorf("the reason is missing: %s", body)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		ask(t, "POST", base+"/reload", "localhost")
	}()
	<-running
	resp, body = ask(t, "POST", base+"/reload", "localhost")
	wantProblem(t, resp, body, 409)
	close(release)
	<-done
	for range 2 {
		if resp, _ := ask(t, "POST", base+"/drain", "localhost"); resp.StatusCode != 202 {
			t.Errorf("drain: %d", resp.StatusCode)
		}
	}
	if drains.Load() != 1 {
		t.Errorf("drained %d times", drains.Load())
	}
	if resp, _ := ask(t, "GET", base+"/readyz", "localhost"); resp.StatusCode != 503 {
		t.Errorf("ready while draining: %d", resp.StatusCode)
	}
}

func TestAFailedStartLeavesNothingOpen(t *testing.T) {
	taken, err := net.Listen("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s, err := New(Config{Address: local, Probes: taken.Addr().String()}, Sources{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err == nil {
		t.Fatal("it started on an address in use")
	}
	if c, err := net.Dial("tcp", s.Addr().String()); err == nil {
		c.Close()
		t.Error("the API still listens")
	}
}

func TestHealthOfWhatIsNotLintel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	gone, err := net.Listen("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	if err := Health(ctx, gone.Addr().String()); err == nil {
		t.Error("nothing listens, yet it is healthy")
	}
	if err := Health(ctx, "9901"); err == nil {
		t.Error("an address without a host was taken")
	}
	for name, h := range map[string]http.HandlerFunc{
		"another server": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 404) },
		"a redirect":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 302) },
	} {
		l, err := net.Listen("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: h}
		go srv.Serve(l)
		if err := Health(ctx, l.Addr().String()); err == nil {
			t.Errorf("%s is healthy", name)
		}
		srv.Close()
	}
	s := started(t, Config{Probes: "0.0.0.0:0"}, Sources{})
	_, port, _ := net.SplitHostPort(s.ProbesAddr().String())
	for _, addr := range []string{":" + port, "0.0.0.0:" + port} {
		if err := Health(ctx, addr); err != nil {
			t.Error(err)
		}
	}
}

func TestSecretsAreHiddenOnceMore(t *testing.T) {
	s := started(t, Config{Address: local}, Sources{Config: func() any {
		return map[string]any{
			"consul":         map[string]any{"token": "hush", "address": "127.0.0.1:8500", "port": 8500},
			"keys":           []any{map[string]any{"api_key": "hush", "name": "mobile"}},
			"tracing":        map[string]any{"headers": map[string]string{"Authorization": "hush"}},
			"redis":          map[string]any{"Password": "", "client-secret": "file:/run/secrets/x", "tokens": map[string]any{"reuse": "5s"}},
			"passwords_file": "a", "signing_key": []string{"hush"},
		}
	}})
	_, body := ask(t, "GET", "http://"+s.Addr().String()+"/config", "localhost")
	if strings.Contains(body, "hush") {
		t.Errorf("a secret came out: %s", body)
	}
	var got struct {
		Consul struct {
			Token, Address string
			Port           int
		}
		Redis map[string]any
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Consul.Token != hidden || got.Consul.Address != "127.0.0.1:8500" || got.Consul.Port != 8500 ||
		got.Redis["Password"] != "" || got.Redis["client-secret"] != "file:/run/secrets/x" {
		t.Errorf("%s", body)
	}
}
