package examples_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// sessions stands for oauth2-proxy: it knows the cookie session=ada.
func sessions(t *testing.T) (address string, asked *atomic.Int64, last *atomic.Pointer[http.Request]) {
	t.Helper()
	asked, last = &atomic.Int64{}, &atomic.Pointer[http.Request]{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		last.Store(r.Clone(context.Background()))
		if c, err := r.Cookie("session"); err != nil || c.Value != "ada" {
			http.SetCookie(w, &http.Cookie{Name: "_oauth2_proxy_csrf", Value: "one"})
			w.Header().Set("Location", "https://login.example.com/authorize?state=x")
			w.Header().Set("X-Internal", "secret")
			w.WriteHeader(http.StatusFound)
			_, _ = io.WriteString(w, `<a href="https://login.example.com/">Found</a>`)
			return
		}
		w.Header().Set("X-Auth-Request-User", "ada")
		w.Header().Set("X-Auth-Request-Email", "ada@example.com")
		w.Header().Set("X-Auth-Request-Groups", "staff")
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked, last
}

func TestForwardAuthSendsStrangersToTheLogin(t *testing.T) {
	address, _, last := sessions(t)
	app := newService(t)
	g := start(t, "forward-auth.yaml", map[string]string{"AUTHZ_URL": address, "APP_ADDR": app.addr(), "OAUTH2_PROXY_ADDR": strings.TrimPrefix(address, "http://")})
	g.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, cookie := range []string{"", "session=eve"} {
		a := g.get("/orders/../orders/7?x=1", "", "Cookie: "+cookie, "X-Auth-Request-User: eve", "X-Forwarded-Uri: /oauth2/", "X_Forwarded_Uri: /oauth2/")
		if a.StatusCode != http.StatusFound || a.Header.Get("Location") != "https://login.example.com/authorize?state=x" ||
			!strings.HasPrefix(a.Header.Get("Set-Cookie"), "_oauth2_proxy_csrf=one") || !strings.Contains(a.body, "Found") || a.Header.Get("X-Internal") != "" {
			t.Errorf("%d %v %s", a.StatusCode, a.Header, a.body)
		}
	}
	if app.count() != 0 {
		t.Error("the service was asked without a session")
	}
	r := last.Load()
	if r.Header.Get("X-Forwarded-Uri") != "/orders/7?x=1" || r.Header.Get("X-Forwarded-Method") != "GET" || r.Header.Get("X-Forwarded-Proto") != "http" ||
		r.Header.Get("X-Forwarded-For") != "127.0.0.1" || r.Header.Get("X-Forwarded-Host") != strings.TrimPrefix(g.base, "http://") || r.Header.Get("X_forwarded_uri") != "" || r.Header.Get("X-Auth-Request-User") != "" {
		t.Errorf("the authorizer saw %v", r.Header)
	}
	req, err := http.NewRequest(http.MethodHead, g.base+"/orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusFound {
		t.Errorf("HEAD: %d", res.StatusCode)
	}
}

func TestForwardAuthTellsTheServiceWhoTheUserIs(t *testing.T) {
	address, asked, _ := sessions(t)
	app := newService(t)
	g := start(t, "forward-auth.yaml", map[string]string{"AUTHZ_URL": address, "APP_ADDR": app.addr()})
	for range 3 {
		if a := g.get("/orders/7", "", "Cookie: session=ada", "x-auth-request-user: eve", "X_Auth_Request_Email: eve@example.com"); a.StatusCode != http.StatusOK {
			t.Fatal(a.StatusCode, a.body)
		}
	}
	r := app.last(t)
	if got := r.Header.Values("X-Auth-Request-User"); len(got) != 1 || got[0] != "ada" {
		t.Errorf("X-Auth-Request-User is %q", got)
	}
	for name, values := range r.Header {
		if strings.Contains(strings.Join(values, " "), "eve") {
			t.Errorf("what the client said of itself arrived: %s: %s", name, values)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times for one question", asked.Load())
	}
}

func TestForwardAuthRefusesWhenNobodyAnswers(t *testing.T) {
	app := newService(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	g := start(t, "forward-auth.yaml", map[string]string{"AUTHZ_URL": gone.URL, "APP_ADDR": app.addr()})
	if a := g.get("/orders/7", "", "Cookie: session=ada"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, `"authz-unavailable"`) || app.count() != 0 {
		t.Errorf("%d %s, the service was asked %d times", a.StatusCode, a.body, app.count())
	}
}
