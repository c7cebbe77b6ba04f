package jwt

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// rules are what the claims of one issuer's tokens must satisfy.
type rules struct {
	all       *Config // what holds for every issuer
	own       Issuer
	anyIssuer bool
}

// check judges the registered claims (RFC 7519 section 4.1). It runs before the
// signature is verified, because it is cheap, and decides nothing in favour of
// a token by itself.
func (r *rules) check(claims map[string]any, now time.Time) *refusal {
	issuer, isText := claims["iss"].(string)
	if _, has := claims["iss"]; has && !isText {
		return badToken("claim iss is not a string", nil)
	}
	if !r.anyIssuer && !slices.Contains(r.own.Iss, issuer) {
		return badToken("claim iss is not an accepted issuer", nil)
	}
	if ref := r.checkAudience(claims); ref != nil {
		return ref
	}
	leeway := int64(r.all.Leeway / time.Second)
	exp, has, err := seconds(claims, "exp")
	switch {
	case err != nil:
		return badToken("claim exp is not a date", err)
	case !has && !r.all.AllowNoExpiry:
		return badToken("claim exp is missing", nil)
	case has && now.Unix() >= exp+leeway:
		ref := badToken("the token has expired", nil)
		ref.code = "token-expired"
		return ref
	}
	nbf, has, err := seconds(claims, "nbf")
	switch {
	case err != nil:
		return badToken("claim nbf is not a date", err)
	case has && now.Unix() < nbf-leeway:
		ref := badToken("the token is not valid yet", nil)
		ref.code = "token-not-yet-valid"
		return ref
	}
	if _, _, err := seconds(claims, "iat"); err != nil {
		return badToken("claim iat is not a date", err)
	}
	return nil
}

func (r *rules) checkAudience(claims map[string]any) *refusal {
	var audiences []string
	switch v := claims["aud"].(type) {
	case nil:
	case string:
		audiences = []string{v}
	case []any:
		for _, m := range v {
			s, ok := m.(string)
			if !ok {
				return badToken("claim aud is not a string or a list of strings", nil)
			}
			audiences = append(audiences, s)
		}
	default:
		return badToken("claim aud is not a string or a list of strings", nil)
	}
	if len(r.own.Audiences) > 0 && !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(r.own.Audiences, a) }) {
		return badToken("claim aud names no accepted audience", nil)
	}
	return nil
}

// admit makes of verified claims the identity and what else is remembered, or
// says what they lack.
func (r *rules) admit(claims map[string]any) (*verified, *refusal) {
	subject, ok := exchange.Claim(claims, r.own.Identity.Subject)
	id := &exchange.Identity{Method: "jwt", Claims: claims}
	if id.Subject, _ = text(subject); !ok || id.Subject == "" || printable(id.Subject) != id.Subject {
		return nil, badToken("the subject claim is missing or not plain text", nil)
	}
	id.Issuer, _ = claims["iss"].(string)
	if v, ok := exchange.Claim(claims, r.own.Identity.Roles); ok {
		id.Roles = texts(v)
	}
	scope, ok := exchange.Claim(claims, r.own.Identity.Scope)
	if !ok && r.own.Identity.Scope == "scope" {
		scope = claims["scp"]
	}
	id.Scope = words(scope)
	out := &verified{identity: id, until: latest}
	out.jti, _ = claims["jti"].(string)
	if r.all.Confirmation != "ignore" {
		var ref *refusal
		if out.bound, ref = confirmation(claims, r.all.Confirmation == "require"); ref != nil {
			return nil, ref
		}
	}
	if exp, has, _ := seconds(claims, "exp"); has {
		out.until = exp
		id.Expires = time.Unix(exp, 0)
	}
	for _, want := range r.all.Scopes {
		if !slices.Contains(id.Scope, want) {
			return nil, &refusal{status: http.StatusForbidden, code: "insufficient-scope", oauth: "insufficient_scope", text: "the token lacks a required scope"}
		}
	}
	for _, required := range [...]map[string][]string{r.all.RequiredClaims, r.own.RequiredClaims} {
		for path, allowed := range required {
			v, ok := exchange.Claim(claims, path)
			if !ok || len(allowed) > 0 && !slices.ContainsFunc(texts(v), func(s string) bool { return slices.Contains(allowed, s) }) {
				return nil, &refusal{status: http.StatusForbidden, code: "claim-refused", oauth: "insufficient_scope", text: "a claim of the token is not one that is allowed here"}
			}
		}
	}
	if v, ok := exchange.Claim(claims, r.own.Identity.Consumer); ok && r.own.Identity.Consumer != "" {
		out.consumer, _ = text(v)
	}
	for name, path := range r.all.ClaimsToHeaders {
		if v, ok := exchange.Claim(claims, path); ok {
			if s := headerValue(v); s != "" {
				out.headers = append(out.headers, exchange.Field{Name: name, Value: s})
			}
		}
	}
	slices.SortFunc(out.headers, func(a, b exchange.Field) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// headerValue writes a claim as a header value: control characters dropped,
// lists joined by commas. A member that holds a comma itself is left out: it
// would pass for two.
func headerValue(v any) string {
	if s, ok := text(v); ok {
		return strings.TrimSpace(printable(s))
	}
	var members []string
	for _, s := range texts(v) {
		if s = strings.TrimSpace(printable(s)); s != "" && !strings.Contains(s, ",") {
			members = append(members, s)
		}
	}
	return strings.Join(members, ",")
}

// printable drops what would end a header line or upset its reader: ASCII
// control characters. Bytes above 0x7f are data to HTTP.
func printable(s string) string {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if control(r) {
			return -1
		}
		return r
	}, s)
}
