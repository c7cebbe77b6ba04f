package extauthz

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/store"
)

func TestTheAuthorizerIsToldAboutTheRequest(t *testing.T) {
	a := newAuthorizer(t, allow())
	f := newFilter(t, Config{URL: a.URL + "/auth?rd=x", Headers: map[string]string{"X-Key": "k"}})
	passes(t, f, request("DELETE", "/orders/7", "why=not", "Authorization", "Bearer t", "Cookie", "a=1", "cookie", "b=2", "X-Secret", "s", "X-Forwarded-Uri", "/public"))
	r, _ := a.last(t)
	if r.Method != "GET" || r.URL.String() != "/auth?rd=x" {
		t.Error(r.Method, r.URL)
	}
	for name, want := range map[string][]string{
		"X-Forwarded-Method": {"DELETE"}, "X-Forwarded-Uri": {"/orders/7?why=not"}, "X-Forwarded-Host": {"shop.example.com"},
		"X-Forwarded-Proto": {"https"}, "X-Forwarded-For": {"192.0.2.7"}, "Authorization": {"Bearer t"}, "Cookie": {"a=1", "b=2"},
		"X-Key": {"k"}, "X-Secret": nil,
	} {
		if got := r.Header.Values(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestTheAuthorizerIsToldNoMoreThanConfigured(t *testing.T) {
	a := newAuthorizer(t, allow())
	f := newFilter(t, Config{URL: a.URL, Tell: []string{"path"}, Request: []string{"X-Auth-*"}})
	passes(t, f, request("GET", "/orders", "secret=1", "Authorization", "Bearer t", "X-Auth-Token", "1", "x-auth", "2"))
	r, _ := a.last(t)
	var names []string
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"Accept-Encoding", "User-Agent", "X-Auth", "X-Auth-Token", "X-Forwarded-Uri"}; !slices.Equal(slices.DeleteFunc(names, func(n string) bool { return n == "Accept-Encoding" }), want[1:]) || r.Header.Get("X-Forwarded-Uri") != "/orders" {
		t.Error(names, r.Header)
	}
}

func TestOnlyATrustedProxySaysTheScheme(t *testing.T) {
	a := newAuthorizer(t, allow())
	f := newFilter(t, Config{URL: a.URL})
	for _, c := range []struct{ client, sent, want string }{
		{"192.0.2.7", "https", "http"}, // a stranger's word
		{"203.0.113.9", "https", "https"},
		{"203.0.113.9", "HTTPS, http", "https"},
		{"203.0.113.9", "gopher", "http"},
		{"203.0.113.9", "", "http"},
	} {
		x := request("GET", "/", "", "X-Forwarded-Proto", c.sent)
		x.Request.Scheme, x.ClientIP = "http", netip.MustParseAddr(c.client)
		passes(t, f, x)
		if r, _ := a.last(t); r.Header.Get("X-Forwarded-Proto") != c.want {
			t.Errorf("%+v: %s", c, r.Header.Get("X-Forwarded-Proto"))
		}
	}
}

func TestAnAnswerThatAllowsGivesHeadersToBothSides(t *testing.T) {
	a := newAuthorizer(t, allow("Remote-User", "ada", "Remote-Groups", "a,b", "X-Internal", "x", "Set-Cookie", "s=1", "Set-Cookie", "t=2", "X-Frame", "deny"))
	f := newFilter(t, Config{URL: a.URL, ToService: []string{"Remote-User", "Remote-Groups", "Remote-Email"}, ToClient: []string{"Set-Cookie", "X-Frame"}})
	x := request("GET", "/", "", "Remote-User", "eve", "remote_user", "eve", "Remote-Groups", "root", "REMOTE.EMAIL", "e@x", "Accept", "*/*")
	passes(t, f, x)
	h := &x.Request.Header
	if h.Len() != 3 || h.Get("Remote-User") != "ada" || h.Get("Remote-Groups") != "a,b" || x.Removed != 4 {
		t.Errorf("%+v, %d removed", h, x.Removed)
	}
	x.Response.Header.Add("Set-Cookie", "service=1")
	x.Response.Header.Add("x-frame", "allow")
	f.OnResponse(x)
	if got := slices.Collect(x.Response.Header.Values("Set-Cookie")); !slices.Equal(got, []string{"service=1", "s=1", "t=2"}) {
		t.Error(got)
	}
	if got := slices.Collect(x.Response.Header.Values("X-Frame")); !slices.Equal(got, []string{"deny"}) {
		t.Error(got)
	}
}

func TestARefusalIsGivenToTheClient(t *testing.T) {
	a := newAuthorizer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://login.example.com/?rd=x")
		w.Header().Set("Set-Cookie", "state=1")
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("X-Internal", "secret")
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, "go and log in")
	})
	f := newFilter(t, Config{URL: a.URL, ToService: []string{"Remote-User"}})
	x := request("GET", "/", "", "Remote-User", "eve")
	if v := f.OnRequest(x); !v.Answered() {
		t.Fatal(v)
	}
	f.OnResponse(x)
	body, _ := io.ReadAll(x.Response.Body)
	h := &x.Response.Header
	if x.Response.Status != 302 || string(body) != "go and log in" || h.Get("Location") != "https://login.example.com/?rd=x" ||
		h.Get("Set-Cookie") != "state=1" || h.Get("Content-Type") != "text/html" || h.Has("X-Internal") || h.Get("Cache-Control") != "no-store" || h.Count("Set-Cookie") != 1 {
		t.Errorf("%d %s %+v", x.Response.Status, body, h)
	}
}

func TestWhatAClientCannotReadBecomesAProblem(t *testing.T) {
	a := newAuthorizer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/login")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, "too long")
	})
	f := newFilter(t, Config{URL: a.URL, DeniedBody: 5})
	fault := f.OnRequest(request("GET", "/", "")).Fault()
	if fault == nil || fault.Status != 302 || fault.Code != "authz-denied" || len(fault.Header) != 1 || fault.Header[0].Value != "/login" {
		t.Errorf("%+v", fault)
	}
	x := request("POST", "/pkg.Service/Call", "", "Content-Type", "application/grpc")
	x.Request.Proto = "HTTP/2.0"
	if fault := newFilter(t, Config{URL: a.URL}).OnRequest(x).Fault(); fault == nil || fault.Status != 401 {
		t.Errorf("a gRPC caller: %+v", fault)
	}
}

func TestAnAuthorizerThatFails(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for name, answer := range map[string]http.HandlerFunc{
		"5xx":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"304":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"no answer": func(w http.ResponseWriter, r *http.Request) { <-stop },
		"breaks off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "x")
		},
		"not UTF-8": allow("U", "\xff"),
	} {
		a := newAuthorizer(t, answer)
		for _, status := range []int{0, 403} {
			f := newFilter(t, Config{URL: a.URL, ErrorStatus: status, Timeout: 200 * time.Millisecond, Cache: Cache{TTL: time.Hour}, Identity: Mapping{Subject: "U"}})
			fault := f.OnRequest(request("GET", "/", "")).Fault()
			if want := max(status, 503-503*min(status, 1)); fault == nil || fault.Status != want || fault.Code != "authz-unavailable" {
				t.Errorf("%s: %+v, want %d", name, fault, want)
			}
			if f.verdicts.Len() != 0 {
				t.Errorf("%s: a failure was remembered", name)
			}
		}
		f := newFilter(t, Config{URL: a.URL, OnError: "allow", Timeout: 200 * time.Millisecond, ToService: []string{"Remote-User"}, Identity: Mapping{Subject: "U"}})
		x := request("GET", "/", "", "Remote-User", "eve")
		if v := f.OnRequest(x); v != filter.Next || x.Request.Header.Has("Remote-User") || x.Identity != nil {
			t.Errorf("%s, allowed: %v %+v", name, v, x.Request.Header)
		}
	}
}

func TestTheBodyIsShownAndStillForwarded(t *testing.T) {
	a := newAuthorizer(t, allow())
	f := newFilter(t, Config{URL: a.URL, Body: 10})
	for _, length := range []int64{9, -1} {
		x := request("PUT", "/", "", "Content-Type", "text/plain")
		x.Request.Body, x.Request.Length = exchange.NewBody([]byte("some body")), length
		passes(t, f, x)
		r, shown := a.last(t)
		left, _ := io.ReadAll(x.Request.Body)
		if r.Method != "POST" || shown != "some body" || string(left) != "some body" || x.Request.Length != 9 || r.Header.Get("Content-Type") != "text/plain" {
			t.Error(r.Method, shown, string(left), x.Request.Length, r.Header)
		}
	}
	before := a.count()
	for _, length := range []int64{11, -1} {
		x := request("PUT", "/", "")
		x.Request.Body, x.Request.Length = exchange.NewBody([]byte("longer body")), length
		if fault := f.OnRequest(x).Fault(); fault == nil || fault.Status != 413 {
			t.Error(fault)
		}
	}
	x := request("PUT", "/", "")
	x.Request.Body, x.Request.Length = broken{}, -1
	if fault := f.OnRequest(x).Fault(); fault == nil || fault.Code != "body-incomplete" {
		t.Error(fault)
	}
	if a.count() != before {
		t.Error("the authorizer was asked about a body it cannot see")
	}
	x = request("PUT", "/", "")
	x.Request.Body, x.Request.Length = exchange.NewBody([]byte("x")), -1
	x.Request.Trailer.Add("Sum", "1")
	if passes(t, f, x); x.Request.Length != -1 {
		t.Error("a body with trailers got a length")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("cut off") }
func (broken) Close() error             { return nil }

func TestTheAnswerSaysWhoTheUserIs(t *testing.T) {
	a := newAuthorizer(t, func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{"Remote-User": r.Header.Get("Cookie"), "Remote-Groups": "admin, dev,,", "Scopes": "a b,c", "Remote-Email": "a@x", "Client": "shop"} {
			w.Header().Set(name, value)
		}
	})
	f := newFilter(t, Config{URL: a.URL, Identity: Mapping{Subject: "Remote-User", Roles: "Remote-Groups", Scope: "Scopes",
		Claims: map[string]string{"email": "Remote-Email", "none": "X-None"}, Consumer: "Client"}})
	x := request("GET", "/", "", "Cookie", "ada")
	passes(t, f, x)
	id := x.Identity
	if id == nil || id.Subject != "ada" || id.Issuer != a.URL || !slices.Equal(id.Roles, []string{"admin", "dev"}) || !slices.Equal(id.Scope, []string{"a", "b", "c"}) ||
		id.Claims["email"] != "a@x" || len(id.Claims) != 3 || x.Consumer != "shop" {
		t.Errorf("%+v %q", id, x.Consumer)
	}
	x = request("GET", "/", "")
	if passes(t, f, x); x.Identity != nil {
		t.Errorf("%+v was made of an answer that names nobody", x.Identity)
	}
}

func TestAnUnknownConsumerIsNone(t *testing.T) {
	a := newAuthorizer(t, allow("Client", "stranger"))
	x := request("GET", "/", "")
	if passes(t, newFilter(t, Config{URL: a.URL, Identity: Mapping{Consumer: "Client"}}), x); x.Consumer != "" {
		t.Error(x.Consumer)
	}
}

func TestExplainHasNoSecretsAndNoSideEffects(t *testing.T) {
	a := newAuthorizer(t, allow())
	f := newFilter(t, Config{URL: a.URL + "/auth?key=hush", Headers: map[string]string{"X-Key": "hush"}, Cache: Cache{TTL: time.Minute}, ToService: []string{"Remote-User"}, Body: 7})
	if s := f.Explain(); strings.Contains(s, "hush") || !strings.Contains(s, "/auth within 1s") || !strings.Contains(s, "when it fails: deny") {
		t.Error(s)
	}
	x := request("GET", "/", "")
	x.Shadow = true
	if passes(t, f, x); a.count() != 0 {
		t.Error("explain asked the authorizer")
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	const at = "http://127.0.0.1:1/"
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{URL: "auth:80"}, "url", "expected an address"},
		{Config{URL: at, Tell: []string{"uri", "path"}}, "tell", "say one of them"},
		{Config{URL: at, Request: []string{"A", "X-Forwarded-For"}}, "request_headers[1]", "made by the filter itself"},
		{Config{URL: at, Request: []string{"X-Forwarded-*"}}, "request_headers[0]", "made by the filter itself"},
		{Config{URL: at, ToService: []string{"Host"}}, "to_service[0]", "cannot be handed on"},
		{Config{URL: at, ToService: []string{"Txn-Token"}}, "to_service[0]", "cannot be handed on"},
		{Config{URL: at, ToClient: []string{"transfer-encoding"}}, "to_client[0]", "cannot be handed on"},
		{Config{URL: at, Denied: []string{"b ad"}}, "denied_headers[0]", "no header name"},
		{Config{URL: at, Headers: map[string]string{"A": "hush\nB: 1"}}, "headers.A", "control characters"},
		{Config{URL: at, Headers: map[string]string{"Cookie": "1"}}, "headers.Cookie", "sent already"},
		{Config{URL: at, Headers: map[string]string{"x-forwarded-uri": "1"}}, "headers.x-forwarded-uri", "sent already"},
		{Config{URL: at, Identity: Mapping{Roles: "R"}}, "identity.subject", "is missing"},
		{Config{URL: at, Identity: Mapping{Subject: "Remote-*"}}, "identity.subject", "no header that an answer can have"},
		{Config{URL: at, Identity: Mapping{Subject: "U", Claims: map[string]string{"email": ""}}}, "identity.claims.email", "names no header"},
		{Config{URL: at, Identity: Mapping{Consumer: "C"}}, "identity.consumer", "no consumers"},
		{Config{URL: at, CAFile: "/nowhere"}, "ca_file", "/nowhere"},
		{Config{URL: at, CAFile: "kit_test.go"}, "ca_file", "no PEM"},
	} {
		lease := store.NewSet().Lease()
		_, err := Kind().Build(&c.cfg, &filter.Env{Store: lease})
		lease.Release()
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) || strings.Contains(ce.Msg, "hush") {
			t.Errorf("%+v:\n got %v\nwant %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}
