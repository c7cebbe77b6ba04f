package jwt

import (
	"net/http"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

// refusal is why a token does not pass. Its texts are fixed: nothing that the
// client sent and nothing about keys gets into an answer.
type refusal struct {
	status int
	code   string // fault code
	oauth  string // error code of RFC 6750 section 3.1, "" for none
	text   string
	retry  time.Duration
	err    error // for logs
}

func badToken(text string, err error) *refusal {
	return &refusal{status: http.StatusUnauthorized, code: "bad-token", oauth: "invalid_token", text: text, err: err}
}

func noToken() *refusal {
	return &refusal{status: http.StatusUnauthorized, code: "no-token", text: "a bearer token is required"}
}

func noKeys(retry time.Duration, err error) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, code: "no-keys", text: "the issuer's keys are not available", retry: retry, err: err}
}

// fault shapes the refusal; only 400, 401 and 403 carry a challenge (RFC 6750
// section 3).
func (f *Filter) fault(r *refusal) *exchange.Fault {
	out := &exchange.Fault{Status: r.status, Code: r.code, Detail: r.text, RetryAfter: r.retry, Err: r.err}
	switch r.status {
	case http.StatusServiceUnavailable:
		out.Source, out.Title = exchange.FromSelf, "Token cannot be verified now"
		return out
	case http.StatusForbidden:
		out.Source, out.Title = exchange.FromPolicy, "Not permitted"
	case http.StatusBadRequest:
		out.Source, out.Title = exchange.FromClient, "Ambiguous credentials"
	default:
		out.Source, out.Title = exchange.FromClient, "Not authenticated"
	}
	challenge := `Bearer realm="` + f.realm + `"`
	if r.oauth != "" {
		challenge += `, error="` + r.oauth + `", error_description="` + r.text + `"`
	}
	if r.code == "insufficient-scope" {
		challenge += `, scope="` + f.scopeList + `"`
	}
	out.Header = []exchange.Field{{Name: "WWW-Authenticate", Value: challenge}}
	return out
}
