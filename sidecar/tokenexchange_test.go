package sidecar

import (
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"

	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
)

func asksFor(t testing.TB, body string) (*exchangeAsk, *exchange.Exchange) {
	t.Helper()
	from, err := txntoken.ParsePatterns([]string{webID})
	if err != nil {
		t.Fatal(err)
	}
	x := call(webID, "POST", "/.lintel/txn-token")
	x.Request.Header.Add("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	x.Request.Body, x.Request.Length = io.NopCloser(strings.NewReader(body)), int64(len(body))
	id := *consulIdentity(t)
	id.TrustDomain = "td.consul"
	return &exchangeAsk{id: &id, clients: []exchangeClient{{from, []string{"read"}, []string{"order"}}}}, x
}

func exchangeForm() url.Values {
	return url.Values{"grant_type": {grantExchange}, "requested_token_type": {typeTxn}, "audience": {"td.consul"}, "scope": {"read"},
		"subject_token": {"a.b.c"}, "subject_token_type": {typeJWT}}
}

func TestNothingButTheSubjectTokenIsVerified(t *testing.T) {
	a, x := asksFor(t, exchangeForm().Encode())
	x.Identity = &exchange.Identity{Subject: "ada"} // as a Txn-Token beside it would have it
	for _, name := range []string{"Authorization", "authorization", "Cookie", "X-Api-Key", "DPoP"} {
		x.Request.Header.Add(name, "another credential")
	}
	x.Request.Header.Add("Traceparent", "00-1")
	if f := a.OnRequest(x).Fault(); f != nil {
		t.Fatal(f)
	}
	h := &x.Request.Header
	if h.Len() != 2 || h.Get("Authorization") != "Bearer a.b.c" || h.Get("traceparent") == "" || x.Identity != nil {
		t.Errorf("the filters see %d fields, Authorization %q, identity %v", h.Len(), h.Get("Authorization"), x.Identity)
	}
	if f := (&exchangeGive{}).OnRequest(x).Fault(); f == nil || f.Code != "token-exchange" {
		t.Errorf("nobody was verified: %v", f)
	}
	x.Identity = &exchange.Identity{Subject: "ada", Method: "txn", Scope: []string{"read"}}
	if f := (&exchangeGive{}).OnRequest(x).Fault(); f == nil || f.Code != "token-exchange" {
		t.Errorf("a Txn-Token's user is no verified subject: %v", f)
	}
	x.Request.Body = io.NopCloser(strings.NewReader("")) // somebody put another body there
	x.Identity = &exchange.Identity{Subject: "ada", Method: "jwt", Scope: []string{"read"}}
	if f := (&exchangeGive{}).OnRequest(x).Fault(); f == nil || f.Status != 500 {
		t.Errorf("what was wanted is lost, and yet: %v", f)
	}
}

func TestFaultsOfFiltersBecomeOAuthErrors(t *testing.T) {
	a := &exchangeAsk{}
	for _, c := range []struct {
		f    *exchange.Fault
		want string
	}{
		{&exchange.Fault{Status: 401, Code: "bad-token", Title: "Not \"authenticated\"\r\n", Header: []exchange.Field{{Name: "WWW-Authenticate", Value: "Bearer"}}}, "invalid_request"},
		{refuseExchange("invalid_scope", "no"), "invalid_scope"}, {&exchange.Fault{Status: 403, Code: "token-exchange", Err: errors.New("x")}, "unauthorized_client"},
		{&exchange.Fault{Status: 503, Code: "identity"}, ""}, {&exchange.Fault{Status: 413, Code: "body-too-large"}, ""}, {&exchange.Fault{Status: 429, Code: "rate-limited"}, ""},
	} {
		x := call(webID, "POST", "/")
		if got := a.OnFault(x, c.f); got != (c.want != "") {
			t.Errorf("%v: %t", c.f, got)
			continue
		} else if !got {
			continue
		}
		b, err := io.ReadAll(x.Response.Body)
		if err != nil || x.Response.Status != 400 || !strings.Contains(string(b), `"error":"`+c.want+`"`) || strings.ContainsAny(string(b), "\r\n") || x.Response.Header.Has("WWW-Authenticate") {
			t.Errorf("%v: %d %s %v", c.f, x.Response.Status, b, err)
		}
	}
}

func FuzzTokenExchangeForm(f *testing.F) {
	f.Add(exchangeForm().Encode(), "", "")
	f.Add(exchangeForm().Encode()+"&scope=x", `{"order":1}`, `{"req_ip":"::1"}`)
	f.Add("grant_type=%zz;&&=&a", `[]`, `{"req_ip":{}}`)
	f.Fuzz(func(t *testing.T, body, details, context string) {
		form := exchangeForm()
		form.Set("request_details", details)
		form.Set("request_context", context)
		for _, b := range []string{body, form.Encode()} {
			a, x := asksFor(t, b)
			w, subject, fault := a.read(x)
			switch {
			case fault != nil && (w != nil || subject != "" || fault.Status < 400):
				t.Errorf("refused with %v, and yet %+v", fault, w)
			case fault == nil && (w.client != webID || len(w.scope) == 0 || !token68(subject) || len(w.details) > 1 || len(w.rctx) > 1):
				t.Errorf("%+v %q", w, subject)
			}
		}
	})
}
