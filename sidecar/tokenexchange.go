package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/mtls/txntoken"
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/content"
	"lintel.dev/lintel/proxy/route"
)

// What a request for a Txn-Token says (RFC 8693 section 2.1, draft-ietf-oauth-
// transaction-tokens), and its bounds.
const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeTxn       = "urn:ietf:params:oauth:token-type:txn_token"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"

	exchangeBytes = 32 << 10
	exchangeTime  = 5 * time.Second
	exchangeWord  = 256 // of a member of request_details or request_context
)

// tokenExchange is the route that hands out Txn-Tokens: what is asked for, the
// filters that verify for whom, the token.
func (c *compiler) tokenExchange(s *config.Snapshot, env *filter.Env) (route.Route, error) {
	cfg := s.Sidecar.TokenExchange
	pos := s.Pos("sidecar.token_exchange")
	r := route.Route{Name: "token-exchange", Pos: pos, Match: route.Match{Path: cfg.Path}, Respond: &route.Respond{Status: http.StatusNotFound}}
	if !compose.Authenticates(cfg.Verify) {
		return r, fmt.Errorf("%s: sidecar.token_exchange.verify: none of its filters verifies a token in Authorization: give it a jwt filter", pos)
	}
	ask := &exchangeAsk{id: c.id}
	for i, client := range cfg.Clients {
		from, err := workloads(client.From, c.id)
		if err == nil {
			_, err = scopeWords(client.Scope)
		}
		for _, name := range client.Details {
			if name == txntoken.ContextRoles || name == txntoken.ContextIssuer {
				err = fmt.Errorf("%s is filled from the verified user alone", name)
			}
		}
		if err != nil {
			return r, fmt.Errorf("%s: sidecar.token_exchange.clients[%d]: %w", pos, i, err)
		}
		ask.clients = append(ask.clients, exchangeClient{from, client.Scope, client.Details})
	}
	verify, err := compose.Filters(c.registry, cfg.Verify, env)
	if err != nil {
		return r, err
	}
	first, err := filter.Bind("token_exchange", pos, ask)
	if err != nil {
		return r, err
	}
	last, err := filter.Bind("token_exchange", pos, &exchangeGive{id: c.id})
	if err != nil {
		return r, err
	}
	r.Filters = append(append([]filter.Instance{first}, verify...), last)
	return r, nil
}

// exchangeIsServed refuses an exchange where nobody could ask: without an app
// there is no mesh listener.
func exchangeIsServed(s *config.Snapshot) error {
	if s.Sidecar.TokenExchange != nil && s.Sidecar.App == "" {
		return fmt.Errorf("%s: sidecar.token_exchange: there is no mesh listener without sidecar.app", s.Pos("sidecar.token_exchange"))
	}
	return nil
}

type exchangeClient struct {
	from    txntoken.Patterns
	scope   []string
	details []string
}

// wanted is a request that was read and that its client may make; it waits for
// the user to be verified. It stands in place of the body it was read from, so
// that it comes to the last filter with the exchange and with nothing else.
type wanted struct {
	client  string
	scope   []string
	details map[string]any
	rctx    map[string]any
}

// Read implements io.Reader: of the body nothing is left.
func (*wanted) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (*wanted) Close() error { return nil }

// oauthError is an error of RFC 6749 section 5.2 and RFC 8693 section 2.2.2.
type oauthError struct{ reason, says string }

func (e *oauthError) Error() string { return e.reason + ": " + e.says }

func refuseExchange(reason, format string, args ...any) *exchange.Fault {
	e := &oauthError{reason, fmt.Sprintf(format, args...)}
	return &exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusBadRequest, Code: "token-exchange",
		Title: "No Txn-Token is given", Detail: e.Error(), Err: e}
}

// exchangeAsk reads and judges the request.
type exchangeAsk struct {
	id      *compose.Identity
	clients []exchangeClient
}

// notCredentials are the fields that logs and traces need.
var notCredentials = []string{"User-Agent", "Traceparent", "Tracestate", "X-Request-Id"}

// OnRequest implements filter.RequestFilter.
func (a *exchangeAsk) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Shadow {
		x.NotAsked("the form in the request's body")
		return filter.Next
	}
	x.Identity = nil // for whom the caller speaks otherwise is of no account here
	w, subject, fault := a.read(x)
	if fault != nil {
		return filter.Refuse(fault)
	}
	// The subject_token alone is verified: no cookie or key beside it.
	h := &x.Request.Header
	h.Filter(func(name, _ string) bool {
		return slices.ContainsFunc(notCredentials, func(n string) bool { return exchange.EqualFold(n, name) })
	})
	_ = x.Request.Body.Close()
	x.Request.Body, x.Request.Length = w, 0
	h.Set("Authorization", "Bearer "+subject)
	return filter.Next
}

// read reads the form and checks what can be said before the user is known.
func (a *exchangeAsk) read(x *exchange.Exchange) (w *wanted, subject string, fault *exchange.Fault) {
	n := slices.IndexFunc(a.clients, func(c exchangeClient) bool { return c.from.Match(x.Peer.ID) })
	if n < 0 {
		f := refuseExchange("unauthorized_client", "this workload may not ask for Txn-Tokens")
		f.Err = fmt.Errorf("%s is no client of the token exchange", x.Peer.ID)
		return nil, "", f
	}
	form, fault := readForm(x)
	if fault != nil {
		return nil, "", fault
	}
	switch {
	case form["grant_type"] != grantExchange:
		return nil, "", refuseExchange("unsupported_grant_type", "grant_type must be %s", grantExchange)
	case form["requested_token_type"] != typeTxn:
		return nil, "", refuseExchange("invalid_request", "requested_token_type must be %s", typeTxn)
	case form["audience"] != a.id.TrustDomain:
		return nil, "", refuseExchange("invalid_target", "audience must be the trust domain's name")
	case form["resource"] != "":
		return nil, "", refuseExchange("invalid_target", "a Txn-Token is for the whole trust domain, not for a resource")
	case form["actor_token"] != "" || form["actor_token_type"] != "":
		return nil, "", refuseExchange("invalid_request", "the actor is the TLS client: actor_token is not taken")
	case form["subject_token_type"] != typeAccess && form["subject_token_type"] != typeJWT:
		return nil, "", refuseExchange("invalid_request", "subject_token_type must be %s or %s", typeAccess, typeJWT)
	case !token68(form["subject_token"]):
		return nil, "", refuseExchange("invalid_request", "subject_token is missing, too long or no token")
	}
	w = &wanted{client: strings.Clone(x.Peer.ID), scope: strings.Fields(form["scope"])}
	if len(w.scope) == 0 {
		return nil, "", refuseExchange("invalid_scope", "scope is missing")
	}
	c := &a.clients[n]
	for _, word := range w.scope {
		if !slices.Contains(c.scope, word) {
			return nil, "", refuseExchange("invalid_scope", "this workload may not ask for %.64q", word)
		}
	}
	if w.details, fault = members(form["request_details"], "request_details", c.details); fault != nil {
		return nil, "", fault
	}
	if w.rctx, fault = members(form["request_context"], "request_context", []string{"req_ip"}); fault != nil {
		return nil, "", fault
	}
	if ip, has := w.rctx["req_ip"]; has {
		s, _ := ip.(string)
		if _, err := netip.ParseAddr(s); err != nil {
			return nil, "", refuseExchange("invalid_request", "request_context: req_ip is no address")
		}
	}
	return w, form["subject_token"], nil
}

// readForm reads the parameters; each may stand there once (RFC 6749 section
// 3.2), and those that are not known are ignored.
func readForm(x *exchange.Exchange) (map[string]string, *exchange.Fault) {
	r := &x.Request
	if r.Method != http.MethodPost {
		f := refuseExchange("invalid_request", "the method must be POST")
		f.Status, f.Header = http.StatusMethodNotAllowed, []exchange.Field{{Name: "Allow", Value: "POST"}}
		return nil, f
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.Header.Count("Content-Type") != 1 || !exchange.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") || content.Encoded(&r.Header) || r.Body == nil {
		return nil, refuseExchange("invalid_request", "the body must be application/x-www-form-urlencoded")
	}
	if r.Query != "" {
		return nil, refuseExchange("invalid_request", "parameters belong into the body")
	}
	b, _, err := content.ReadRequest(x, exchangeBytes, exchangeTime)
	if err != nil {
		return nil, content.Unread(err, exchangeBytes, exchangeTime)
	}
	values, err := url.ParseQuery(string(b))
	if err != nil || len(values) > 32 {
		return nil, refuseExchange("invalid_request", "the body is no form, or has too many parameters")
	}
	form := make(map[string]string, len(values))
	for name, list := range values {
		if len(list) > 1 {
			return nil, refuseExchange("invalid_request", "%.40q stands there twice", name)
		}
		form[name] = list[0]
	}
	return form, nil
}

// token68 reports whether s may be shown as a bearer token (RFC 6750 section 2.1).
func token68(s string) bool {
	return s != "" && len(s) <= txntoken.MaxTxnBytes && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
	})
}

// members reads a JSON object of strings, numbers and booleans and keeps those
// that the client may give; others are refused, so that nobody relies on them.
func members(text, of string, may []string) (map[string]any, *exchange.Fault) {
	if text == "" {
		return nil, nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil || d.More() {
		return nil, refuseExchange("invalid_request", "%s is no JSON object", of)
	}
	for name, v := range all {
		if !slices.Contains(may, name) {
			return nil, refuseExchange("invalid_request", "%s: this workload may not give %.40q", of, name)
		}
		switch v := v.(type) {
		case string:
			if len(v) > exchangeWord || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return nil, refuseExchange("invalid_request", "%s: %.40q is too long or has control characters", of, name)
			}
		case bool:
		case json.Number:
			if len(v) > 32 {
				return nil, refuseExchange("invalid_request", "%s: %.40q is too long", of, name)
			}
		default:
			return nil, refuseExchange("invalid_request", "%s: %.40q is no string, number or boolean", of, name)
		}
	}
	return all, nil
}

// OnFault implements filter.FaultFilter: OAuth's clients read OAuth's errors.
// What is wrong here and not with the request stays as it is.
func (a *exchangeAsk) OnFault(x *exchange.Exchange, f *exchange.Fault) bool {
	var e *oauthError
	switch {
	case errors.As(f.Err, &e):
	case f.Code == "token-exchange":
		e = &oauthError{"unauthorized_client", "this workload may not ask for Txn-Tokens"}
	case f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden || f.Status == http.StatusBadRequest:
		e = &oauthError{"invalid_request", "subject_token is not accepted: " + f.Title}
	default:
		return false
	}
	b, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{e.reason, ascii(e.says)})
	if err != nil {
		return false
	}
	status := http.StatusBadRequest
	if f.Status == http.StatusMethodNotAllowed {
		status = f.Status
	}
	x.Answer(status, "application/json", b)
	for _, h := range f.Header {
		if !exchange.EqualFold(h.Name, "WWW-Authenticate") {
			x.Response.Header.Set(h.Name, h.Value)
		}
	}
	x.Response.Header.Set("Cache-Control", "no-store")
	return true
}

// ascii is what an error_description may hold.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '\''
		}
		return r
	}, s)
}

// Explain implements filter.Explainer.
func (a *exchangeAsk) Explain() string {
	return fmt.Sprintf("reads a request for a Txn-Token (RFC 8693); %d clients may ask", len(a.clients))
}

// exchangeGive mints for the user that the filters before it have verified.
type exchangeGive struct{ id *compose.Identity }

// OnRequest implements filter.RequestFilter.
func (g *exchangeGive) OnRequest(x *exchange.Exchange) filter.Verdict {
	if x.Shadow {
		x.NotAsked("whether a Txn-Token is given")
		return filter.Next
	}
	w, ok := x.Request.Body.(*wanted)
	if !ok {
		return refuse(http.StatusInternalServerError, "identity", "A filter of sidecar.token_exchange.verify has taken the request's body", nil)
	}
	user := x.Identity
	if user == nil || user.Subject == "" || user.Method == "txn" {
		return filter.Refuse(refuseExchange("invalid_request", "subject_token names no user"))
	}
	for _, word := range w.scope {
		if !slices.Contains(user.Scope, word) {
			return filter.Refuse(refuseExchange("invalid_scope", "the subject_token's scope lacks %.64q", word))
		}
	}
	if w.rctx == nil {
		w.rctx = map[string]any{}
	}
	w.rctx["authn"] = user.Method
	txn, err := g.id.Minter.Mint(txntoken.MintRequest{Subject: user.Subject, Issuer: user.Issuer, Roles: user.Roles, Scope: strings.Join(w.scope, " "),
		Context: w.details, Rctx: w.rctx, Requester: w.client, Expires: user.Expires})
	switch {
	case errors.Is(err, txntoken.ErrInvalid), errors.Is(err, txntoken.ErrExpired):
		f := refuseExchange("invalid_request", "no Txn-Token can be made for this subject")
		f.Err = errors.Join(f.Err, err)
		return filter.Refuse(f)
	case err != nil:
		return refuse(http.StatusServiceUnavailable, "identity", "Own identity is not in order", nil)
	}
	b, err := json.Marshal(struct {
		TokenType  string `json:"token_type"`
		IssuedType string `json:"issued_token_type"`
		Token      string `json:"access_token"`
	}{"N_A", typeTxn, txn.Token})
	if err != nil {
		return refuse(http.StatusInternalServerError, "identity", "The Txn-Token cannot be written", err)
	}
	txn.Chain = chainOf(x)
	x.Txn = txn // the access log says which transaction began
	x.Answer(http.StatusOK, "application/json", b)
	x.Response.Header.Set("Cache-Control", "no-store")
	return filter.Answered
}
