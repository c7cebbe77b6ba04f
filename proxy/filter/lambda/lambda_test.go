package lambda

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/ask"
	"lintel.dev/lintel/proxy/store"
)

func TestTheFunctionIsInvokedByTheLambdaAPI(t *testing.T) {
	for name, path := range map[string]string{
		"auth":      "/2015-03-31/functions/auth/invocations",
		"auth:prod": "/2015-03-31/functions/auth%3Aprod/invocations",
		"arn:aws:lambda:eu-west-1:123456789012:function:auth:$LATEST": "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aauth%3A%24LATEST/invocations",
	} {
		s := newService(t, says(policy("Allow", "*", "")))
		if status, code := outcome(newFilter(t, s, Config{Function: name}).OnRequest(request("GET", "/orders/7", "", "Authorization", "t"))); status != 200 {
			t.Fatal(status, code)
		}
		r, _ := s.last(t)
		if r.Method != "POST" || r.RequestURI != path || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "" {
			t.Error(r.Method, r.RequestURI, r.Header)
		}
	}
}

// The signature is checked as AWS's documents have it, by code of its own.
func TestInvocationsAreSigned(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hush")
	t.Setenv("AWS_SESSION_TOKEN", "session")
	s := newService(t, says(policy("Allow", "*", "")))
	f := newFilter(t, s, Config{Sign: "aws", Function: "arn:aws:lambda:eu-west-1:123456789012:function:auth"})
	if status, code := outcome(f.OnRequest(request("GET", "/orders/7", "", "Authorization", "t"))); status != 200 {
		t.Fatal(status, code)
	}
	r, _ := s.last(t)
	date := r.Header.Get("X-Amz-Date")
	scope := date[:8] + "/eu-west-1/lambda/aws4_request"
	_, list, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	list, signature, _ := strings.Cut(list, ", Signature=")
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"+scope+", ") || r.Header.Get("X-Amz-Security-Token") != "session" {
		t.Fatal(r.Header)
	}
	var headers strings.Builder
	for name := range strings.SplitSeq(list, ";") {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		headers.WriteString(name + ":" + value + "\n")
	}
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	canonical := strings.Join([]string{"POST", strings.ReplaceAll(r.RequestURI, "%", "%25"), "", headers.String(), list, sum(s.events[0])}, "\n")
	key := []byte("AWS4hush")
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	if want := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+sum([]byte(canonical)))); signature != want || !strings.Contains(list, "host") {
		t.Errorf("signature %s, want %s of\n%s", signature, want, canonical)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
	f = newFilter(t, s, Config{Sign: "aws", Region: "eu-west-1"})
	if status, code := outcome(f.OnRequest(request("GET", "/orders/7", "", "Authorization", "t"))); status != 503 || code != "authz-unavailable" || s.count() != 1 {
		t.Error("without credentials:", status, code)
	}
}

func TestTOKENEvent(t *testing.T) {
	s := newService(t, says(policy("Allow", "*", "")))
	f := newFilter(t, s, Config{Type: "TOKEN", Sources: []string{"method.request.header.X-Token"}, Validation: "tok-[0-9]+", Region: "eu-west-1"})
	if status, code := outcome(f.OnRequest(request("GET", "/orders/7", "a=1", "x-token", "tok-1"))); status != 200 {
		t.Fatal(status, code)
	}
	_, event := s.last(t)
	if want := map[string]any{"type": "TOKEN", "authorizationToken": "tok-1", "methodArn": arn}; !reflect.DeepEqual(event, want) {
		t.Errorf("%v, want %v", event, want)
	}
	for _, token := range []string{"", "tok-", "xtok-1", "tok-1x", "tok-1\ntok-1"} {
		x := request("GET", "/orders/7", "", "X-Token", token)
		v := f.OnRequest(x)
		if status, code := outcome(v); status != 401 || code != "authz-unauthenticated" || v.Fault().Header[0].Name != "WWW-Authenticate" {
			t.Errorf("%q: %d %s", token, status, code)
		}
	}
	if s.count() != 1 {
		t.Error("the function was invoked for what is no token")
	}
}

// check compares an event with a document, by path.
func check(t *testing.T, event map[string]any, want map[string]any) {
	t.Helper()
	for path, w := range want {
		var v any = event
		for key := range strings.SplitSeq(path, "/") {
			m, _ := v.(map[string]any)
			v = m[key]
		}
		if !reflect.DeepEqual(v, w) {
			t.Errorf("%s: %v, want %v", path, v, w)
		}
	}
}

func TestREQUESTEvent(t *testing.T) {
	s := newService(t, says(policy("Allow", "*", "")))
	f := newFilter(t, s, Config{Region: "eu-west-1", StageVariables: map[string]string{"env": "test"},
		Sources: []string{"method.request.header.Auth", "method.request.querystring.who", "stageVariables.env", "context.httpMethod", "context.resourcePath"}})
	f.now = func() time.Time { return time.Date(2026, 3, 12, 19, 3, 58, 0, time.UTC) }
	x := request("GET", "/orders/7", "who=ada&who=eve&b=%41", "Auth", "x", "Accept", "a", "Accept", "b", "User-Agent", "curl", "Txn-Token", "secret", "Cookie", "a=1")
	if status, code := outcome(f.OnRequest(x)); status != 200 {
		t.Fatal(status, code)
	}
	_, event := s.last(t)
	check(t, event, map[string]any{
		"version": "1.0", "type": "REQUEST", "methodArn": arn, "identitySource": "x,ada,eve,test,GET,/orders/{id}",
		"resource": "/orders/{id}", "path": "/orders/7", "httpMethod": "GET",
		"headers/Accept": "b", "multiValueHeaders/Accept": []any{"a", "b"}, "headers/Host": "shop.example.com:8443", "headers/Txn-Token": nil, "headers/Cookie": "a=1",
		"queryStringParameters/who": "eve", "multiValueQueryStringParameters/who": []any{"ada", "eve"}, "queryStringParameters/b": "A",
		"pathParameters/id": "7|8", "stageVariables/env": "test",
		"requestContext/accountId": "123456789012", "requestContext/apiId": "api", "requestContext/stage": "prod", "requestContext/resourcePath": "/orders/{id}",
		"requestContext/identity/sourceIp": "192.0.2.7", "requestContext/identity/userAgent": "curl", "requestContext/requestId": "req-1",
		"requestContext/domainName": "shop.example.com", "requestContext/domainPrefix": "shop", "requestContext/requestTime": "12/Mar/2026:19:03:58 +0000",
		"requestContext/requestTimeEpoch": float64(1773342238000), "requestContext/protocol": "HTTP/1.1",
	})
}

func TestHTTPAPIEvent(t *testing.T) {
	s := newService(t, says(`{"isAuthorized":true}`))
	f := newFilter(t, s, Config{Region: "eu-west-1", Payload: "2.0", Simple: true, Sources: []string{"$request.header.Auth", "$request.querystring.who", "$context.routeKey"}})
	x := request("GET", "/files/a/b", "who=ada&who=eve", "Auth", "x", "ACCEPT", "a", "accept", "b", "Cookie", "a=1; b=2", "hop-token", "secret")
	x.Pattern, x.Params = "/files/*", []exchange.Param{{Name: "rest", Value: "a/b"}}
	if status, code := outcome(f.OnRequest(x)); status != 200 {
		t.Fatal(status, code)
	}
	_, event := s.last(t)
	check(t, event, map[string]any{
		"version": "2.0", "type": "REQUEST", "routeArn": "arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/files/a/b",
		"identitySource": []any{"x", "ada,eve", "GET /files/{proxy+}"}, "routeKey": "GET /files/{proxy+}", "rawPath": "/files/a/b", "rawQueryString": "who=ada&who=eve",
		"cookies": []any{"a=1", "b=2"}, "headers/accept": "a,b", "headers/host": "shop.example.com:8443", "headers/hop-token": nil, "queryStringParameters/who": "ada,eve",
		"pathParameters/proxy": "a/b", "requestContext/http/method": "GET", "requestContext/http/path": "/files/a/b", "requestContext/http/sourceIp": "192.0.2.7",
		"requestContext/routeKey": "GET /files/{proxy+}", "requestContext/stage": "prod",
	})
}

func TestWhatAnswersComeTo(t *testing.T) {
	function := func(kind, body string) answers {
		return func(w http.ResponseWriter, _ map[string]any) {
			w.Header().Set("X-Amz-Function-Error", kind)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, c := range []struct {
		name   string
		simple bool
		do     answers
		status int
		code   string
	}{
		{"allow", false, says(policy("Allow", "*", "")), 200, ""},
		{"deny", false, says(policy("Deny", "*", "")), 403, "authz-denied"},
		{"allow something else", false, says(policy("Allow", "arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/other", "")), 403, "authz-denied"},
		{"Unauthorized", false, function("Unhandled", `{"errorMessage":"Unauthorized","errorType":"Error"}`), 401, "authz-unauthenticated"},
		{"unauthorized in other words", false, function("Handled", `{"errorMessage":"unauthorized"}`), 500, "authz-bad-answer"},
		{"fails", false, function("Unhandled", `{"errorMessage":"boom","errorType":"Error"}`), 500, "authz-bad-answer"},
		{"fails without a word", false, function("Unhandled", ``), 500, "authz-bad-answer"},
		{"an error that looks like an allow", false, function("Unhandled", policy("Allow", "*", "")), 500, "authz-bad-answer"},
		{"null", false, says(`null`), 500, "authz-bad-answer"},
		{"nothing", false, says(``), 500, "authz-bad-answer"},
		{"no JSON", false, says(`allow`), 500, "authz-bad-answer"},
		{"two documents", false, says(policy("Allow", "*", "") + policy("Allow", "*", "")), 500, "authz-bad-answer"},
		{"no principal", false, says(`{"policyDocument":{"Statement":[{"Action":"*","Effect":"Allow","Resource":"*"}]}}`), 500, "authz-bad-answer"},
		{"a principal that is no string", false, says(strings.Replace(policy("Allow", "*", ""), `"ada"`, `7`, 1)), 500, "authz-bad-answer"},
		{"no policy", false, says(`{"principalId":"ada"}`), 500, "authz-bad-answer"},
		{"a simple answer where a policy is due", false, says(`{"principalId":"ada","isAuthorized":true}`), 500, "authz-bad-answer"},
		{"an object in the context", false, says(policy("Allow", "*", `,"context":{"a":{}}`)), 500, "authz-bad-answer"},
		{"a list in the context", false, says(policy("Allow", "*", `,"context":{"a":["b"]}`)), 500, "authz-bad-answer"},
		{"a line end in the context", false, says(policy("Allow", "*", `,"context":{"a":"b\r\nX-Admin: 1"}`)), 500, "authz-bad-answer"},
		{"a line end in the principal", false, says(strings.Replace(policy("Allow", "*", ""), `"ada"`, `"a\nb"`, 1)), 500, "authz-bad-answer"},
		{"too long", false, says(policy("Allow", "*", `,"context":{"a":"`+strings.Repeat("x", maxAnswer)+`"}`)), 500, "authz-bad-answer"},
		{"throttled", false, func(w http.ResponseWriter, _ map[string]any) { w.WriteHeader(429) }, 503, "authz-unavailable"},
		{"no such function", false, func(w http.ResponseWriter, _ map[string]any) { w.WriteHeader(404) }, 503, "authz-unavailable"},
		{"simple yes", true, says(`{"isAuthorized":true}`), 200, ""},
		{"simple no", true, says(`{"isAuthorized":false}`), 403, "authz-denied"},
		{"simple and null", true, says(`{"isAuthorized":null}`), 500, "authz-bad-answer"},
		{"simple and missing", true, says(`{}`), 500, "authz-bad-answer"},
		{"simple and no boolean", true, says(`{"isAuthorized":"true"}`), 500, "authz-bad-answer"},
		{"simple and misspelt", true, says(`{"isauthorized":true}`), 500, "authz-bad-answer"},
		{"a policy where a simple answer is due", true, says(policy("Allow", "*", "")), 500, "authz-bad-answer"},
	} {
		s := newService(t, c.do)
		cfg := Config{Region: "eu-west-1"}
		if c.simple {
			cfg.Payload, cfg.Simple = "2.0", true
		}
		f := newFilter(t, s, cfg)
		for range 2 {
			x := request("GET", "/orders/7", "", "Authorization", "t")
			if status, code := outcome(f.OnRequest(x)); status != c.status || code != c.code || status != 200 && x.Identity != nil {
				t.Errorf("%s: %d %s, want %d %s", c.name, status, code, c.status, c.code)
			}
		}
		if want := map[bool]int{true: 1, false: 2}[c.status == 200 || c.status == 403]; s.count() != want {
			t.Errorf("%s: invoked %d times, want %d: errors are not remembered", c.name, s.count(), want)
		}
	}
	s := newService(t, says(""))
	s.Close()
	if status, code := outcome(newFilter(t, s, Config{}).OnRequest(request("GET", "/", "", "Authorization", "t"))); status != 503 || code != "authz-unavailable" {
		t.Error("nobody there:", status, code)
	}
}

func TestMissingIdentityIsNotAsked(t *testing.T) {
	s := newService(t, says(policy("Allow", "*", "")))
	f := newFilter(t, s, Config{Sources: []string{"method.request.header.Authorization", "method.request.querystring.who"}})
	for _, x := range []*exchange.Exchange{
		request("GET", "/", ""), request("GET", "/", "who=ada"), request("GET", "/", "", "Authorization", "t"),
		request("GET", "/", "who=", "Authorization", "t"), request("GET", "/", "who=ada", "Authorization", ""),
	} {
		if status, code := outcome(f.OnRequest(x)); status != 401 || code != "authz-unauthenticated" {
			t.Error(status, code)
		}
	}
	if s.count() != 0 {
		t.Error("the function was invoked")
	}
	f = newFilter(t, s, Config{Sources: []string{}, TTL: ttl(0)})
	for range 2 {
		if status, _ := outcome(f.OnRequest(request("GET", "/", ""))); status != 200 {
			t.Error(status)
		}
	}
	if s.count() != 2 {
		t.Errorf("without ttl invoked %d times, want 2", s.count())
	}
}

func TestTheContextBecomesHeadersAndIdentity(t *testing.T) {
	s := newService(t, says(policy("Allow", "*", `,"usageIdentifierKey":"shop","context":{"tenantId":"acme","n":12,"big":1.5,"vip":true,"none":null,"groups":"a, b","scope":"r w","bad key":"x","usageIdentifierKey":"y"}`)))
	f := newFilter(t, s, Config{Headers: map[string]string{"X-Tenant": "tenantId", "X-Ctx-N": "n", "X-None": "absent"}, Prefix: "X-Ctx",
		Identity: Mapping{Roles: "groups", Scope: "scope"}})
	x := request("GET", "/orders/7", "", "Authorization", "t", "x_tenant", "evil", "X-Ctx-Admin", "1", "x-ctx", "1", "X-None", "1", "Accept", "*/*")
	if status, code := outcome(f.OnRequest(x)); status != 200 {
		t.Fatal(status, code)
	}
	var got []string
	for name, value := range x.Request.Header.All() {
		got = append(got, name+"="+value)
	}
	slices.Sort(got)
	want := []string{"Accept=*/*", "Authorization=t", "X-Ctx-N=12", "X-Ctx-big=1.5", "X-Ctx-groups=a, b", "X-Ctx-principalId=ada", "X-Ctx-scope=r w",
		"X-Ctx-tenantId=acme", "X-Ctx-vip=true", "X-Tenant=acme"}
	if !slices.Equal(got, want) || x.Removed != 4 {
		t.Errorf("%q, removed %d, want %q", got, x.Removed, want)
	}
	id := x.Identity
	if id == nil || id.Subject != "ada" || id.Issuer != "lambda:auth" || !slices.Equal(id.Roles, []string{"a", "b"}) || !slices.Equal(id.Scope, []string{"r", "w"}) ||
		id.Claims["tenantId"] != "acme" || id.Claims["n"] != int64(12) || id.Claims["vip"] != true || id.Claims["usageIdentifierKey"] != nil || x.Consumer != "shop" {
		t.Errorf("%+v %q", id, x.Consumer)
	}
	x = request("GET", "/orders/7", "", "Authorization", "t", "X-Tenant", "evil")
	x.Shadow = true
	if before := s.count(); f.OnRequest(x) != filter.Next || s.count() != before {
		t.Error("explain invoked the function")
	}
}

// A policy counts for every request of the same caller, each judged by itself.
func TestPoliciesAreRememberedByIdentity(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, event map[string]any) {
		says(policy("Allow", "arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/orders/*", ""))(w, event)
	})
	f := newFilter(t, s, Config{Region: "eu-west-1"})
	for _, c := range []struct {
		x      *exchange.Exchange
		status int
		asked  int
	}{
		{request("GET", "/orders/7", "", "Authorization", "t"), 200, 1},
		{request("GET", "/orders/8", "x=1", "Authorization", "t"), 200, 1},
		{request("POST", "/orders/8", "", "Authorization", "t"), 403, 1},
		{request("GET", "/admin", "", "Authorization", "t"), 403, 1},
		{request("GET", "/orders/7", "", "Authorization", "u"), 200, 2},
	} {
		if status, _ := outcome(f.OnRequest(c.x)); status != c.status || s.count() != c.asked {
			t.Errorf("%s %s: %d, invoked %d times, want %d and %d", c.x.Request.Method, c.x.Request.Path, status, s.count(), c.status, c.asked)
		}
	}
	f.now = func() time.Time { return time.Now().Add(301 * time.Second) }
	if f.OnRequest(request("GET", "/orders/7", "", "Authorization", "t")); s.count() != 3 {
		t.Error("an answer counts past its time")
	}
}

// A simple answer says nothing of other routes and methods.
func TestSimpleAnswersCountForTheirRouteAndMethod(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, event map[string]any) {
		_, _ = fmt.Fprintf(w, `{"isAuthorized":%t}`, event["routeKey"] == "GET /orders/{id}")
	})
	f := newFilter(t, s, Config{Payload: "2.0", Simple: true})
	other := request("GET", "/admin", "", "Authorization", "t")
	other.Route, other.Pattern = "admin", "/admin"
	for _, c := range []struct {
		x      *exchange.Exchange
		status int
	}{{request("GET", "/orders/7", "", "Authorization", "t"), 200}, {request("PUT", "/orders/7", "", "Authorization", "t"), 403}, {other, 403}, {request("GET", "/orders/8", "", "Authorization", "t"), 200}} {
		if status, _ := outcome(f.OnRequest(c.x)); status != c.status {
			t.Errorf("%s %s: %d, want %d", c.x.Request.Method, c.x.Request.Path, status, c.status)
		}
	}
	if s.count() != 3 {
		t.Errorf("invoked %d times, want 3", s.count())
	}
}

func TestConcurrentCallersInvokeOnce(t *testing.T) {
	open := make(chan struct{})
	s := newService(t, func(w http.ResponseWriter, event map[string]any) {
		<-open
		says(policy("Allow", "*", ""))(w, event)
	})
	f := newFilter(t, s, Config{Timeout: 30 * time.Second})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if status, code := outcome(f.OnRequest(request("GET", "/orders/7", "", "Authorization", "t"))); status != 200 {
				t.Error(status, code)
			}
		})
	}
	close(open)
	wg.Wait()
	if s.count() != 1 {
		t.Errorf("invoked %d times", s.count())
	}
}

func TestBadConfigNamesItsKey(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	for _, c := range []struct {
		cfg       Config
		path, msg string
	}{
		{Config{Function: "a b"}, "function", "expected the name or the ARN"},
		{Config{Function: "../x"}, "function", "expected the name or the ARN"},
		{Config{Function: "f"}, "region", "is missing"},
		{Config{Function: "f", Sign: "none"}, "endpoint", "is missing"},
		{Config{Function: "f", Region: "eu-west-1", Endpoint: "x"}, "endpoint", "expected an address"},
		{Config{Function: "f", Region: "eu-west-1", Endpoint: "http://a?b=c"}, "endpoint", "without a query"},
		{Config{Function: "f", Region: "eu-west-1", Type: "TOKEN", Payload: "2.0"}, "payload", "REQUEST only"},
		{Config{Function: "f", Region: "eu-west-1", Simple: true}, "simple_responses", "needs 2.0"},
		{Config{Function: "f", Region: "eu-west-1", Validation: "a"}, "validation", "TOKEN only"},
		{Config{Function: "f", Region: "eu-west-1", Type: "TOKEN", Validation: "("}, "validation", "not a regular expression"},
		{Config{Function: "f", Region: "eu-west-1", Sources: []string{}}, "identity_sources", "ttl: 0s"},
		{Config{Function: "f", Region: "eu-west-1", Sources: []string{"header.x"}}, "identity_sources[0]", "method.request.header.NAME"},
		{Config{Function: "f", Region: "eu-west-1", Sources: []string{"method.request.header."}}, "identity_sources[0]", "method.request.header.NAME"},
		{Config{Function: "f", Region: "eu-west-1", Sources: []string{"stageVariables.x"}}, "identity_sources[0]", "stage_variables"},
		{Config{Function: "f", Region: "eu-west-1", Type: "TOKEN", Sources: []string{"method.request.querystring.a"}}, "identity_sources", "exactly one"},
		{Config{Function: "f", Region: "eu-west-1", Headers: map[string]string{"Host": "a"}}, "context_headers.Host", "cannot be handed on"},
		{Config{Function: "f", Region: "eu-west-1", Headers: map[string]string{"X-*": "a"}}, "context_headers.X-*", ""},
		{Config{Function: "f", Region: "eu-west-1", Headers: map[string]string{"X-A": "a", "x-a": "b"}}, "context_headers.x-a", "twice"},
		{Config{Function: "f", Region: "eu-west-1", Prefix: "X-"}, "context_prefix", "without dash or star"},
		{Config{Function: "f", Region: "eu-west-1", Prefix: "Content"}, "context_prefix", "Content-Length"},
		{Config{Function: "f", Region: "eu-west-1", CAFile: "/nowhere"}, "ca_file", "/nowhere"},
		{Config{Function: "f", Region: "eu-west-1", CAFile: "kit_test.go"}, "ca_file", "no PEM"},
	} {
		lease := store.NewSet().Lease()
		_, err := Kind().Build(&c.cfg, &filter.Env{Store: lease})
		lease.Release()
		var ce *filter.ConfigError
		if !errors.As(err, &ce) || ce.Path != c.path || !strings.Contains(ce.Msg, c.msg) {
			t.Errorf("%+v:\n got %v\nwant %s: …%s…", c.cfg, err, c.path, c.msg)
		}
	}
}

func TestRegionsAndEndpoints(t *testing.T) {
	for function, want := range map[string]string{
		"arn:aws:lambda:eu-west-1:123456789012:function:f":     "https://lambda.eu-west-1.amazonaws.com/",
		"arn:aws-cn:lambda:cn-north-1:123456789012:function:f": "https://lambda.cn-north-1.amazonaws.com.cn/",
	} {
		lease := store.NewSet().Lease()
		built, err := Kind().Build(&Config{Function: function}, &filter.Env{Store: lease})
		if err != nil {
			t.Fatal(err)
		}
		f := built.(*Filter)
		if !strings.HasPrefix(f.address, want) || !strings.HasPrefix(f.arn, strings.Join(strings.Split(function, ":")[:2], ":")+":execute-api:") || !strings.Contains(f.Explain(), want[:len(want)-1]) {
			t.Error(f.address, f.arn, f.Explain())
		}
		lease.Release()
	}
}

func checkAnswer(t *testing.T, filters []*Filter, text string) {
	for _, f := range filters {
		v, err := f.read(&ask.Answer{Status: 200, Body: []byte(text)})
		if err != nil {
			continue
		}
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) != nil {
			t.Fatalf("%s was read", text)
		}
		if v.allowed && m["isAuthorized"] != true {
			t.Errorf("%s allows", text)
		}
		for _, h := range v.headers {
			if !ask.Plain(h.Value) || !isName(h.Name) {
				t.Errorf("%s: %+v cannot be sent", text, h)
			}
		}
	}
}

func TestARememberedAnswerCostsLittle(t *testing.T) {
	s := newService(t, says(policy("Allow", "arn:aws:execute-api:*:*:api/prod/*/orders/*", "")))
	f, x := newFilter(t, s, Config{Region: "eu-west-1"}), request("GET", "/orders/7", "", "Authorization", "Bearer t")
	f.OnRequest(x)
	if n := testing.AllocsPerRun(1000, func() { f.OnRequest(x) }); n > 2 {
		t.Errorf("%v allocations, at most 2: methodArn", n)
	}
}

func BenchmarkRemembered(b *testing.B) {
	s := newService(b, says(policy("Allow", "arn:aws:execute-api:*:*:api/prod/*/orders/*", "")))
	f, x := newFilter(b, s, Config{Region: "eu-west-1"}), request("GET", "/orders/7", "", "Authorization", "Bearer t")
	f.OnRequest(x)
	b.ReportAllocs()
	for b.Loop() {
		f.OnRequest(x)
	}
}
