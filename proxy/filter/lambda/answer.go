package lambda

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter/ask"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// maxAnswer bounds what a function may answer, in bytes. API Gateway's own limit
// on a policy is 8 KiB.
const maxAnswer = 64 << 10

// errUnauthorized is a function's saying that it does not know the caller.
var errUnauthorized = errors.New("the function says Unauthorized")

// badAnswer is a function's failure, or an answer that says nothing.
type badAnswer struct{ why string }

func (e badAnswer) Error() string { return e.why }

func bad(format string, args ...any) error { return badAnswer{fmt.Sprintf(format, args...)} }

// verdict is what an answer comes to. It is read only: exchanges share it.
type verdict struct {
	policy   []statement
	allowed  bool // a simple answer
	headers  []exchange.Field
	identity *exchange.Identity
	consumer string
}

// read judges what the Lambda service answered.
func (f *Filter) read(a *ask.Answer) (*verdict, error) {
	switch {
	case a.Status != 200:
		return nil, fmt.Errorf("lambda_authorizer: the endpoint answered %d, expected 200", a.Status)
	case a.Cut:
		return nil, bad("the answer is longer than %d bytes", maxAnswer)
	case a.Get("X-Amz-Function-Error") != "":
		return nil, failure(a.Body)
	}
	m, err := object(a.Body)
	if err != nil {
		return nil, bad("the answer: %s", err)
	}
	v := &verdict{}
	values, err := contextValues(m["context"])
	if err != nil {
		return nil, err
	}
	if f.Simple {
		// Anything but true or false is a mistake, and no no.
		if err := json.Unmarshal(m["isAuthorized"], &v.allowed); err != nil || string(m["isAuthorized"]) == "null" {
			return nil, bad("isAuthorized: expected true or false")
		}
	} else if v.policy, err = parsePolicy(m["policyDocument"]); err != nil {
		return nil, bad("%s", err)
	}
	for _, key := range []string{"principalId", "usageIdentifierKey"} {
		text := ""
		if raw := m[key]; len(raw) > 0 && string(raw) != "null" {
			if err := json.Unmarshal(raw, &text); err != nil || !ask.Plain(text) {
				return nil, bad("%s: expected a string", key)
			}
		}
		if text != "" {
			values[key] = text // wins over the context's
		} else {
			delete(values, key)
		}
	}
	if _, named := values["principalId"]; !named && !f.Simple {
		return nil, bad("principalId is missing")
	}
	f.means(v, values)
	return v, nil
}

// failure reads the error that a function ended with.
func failure(body []byte) error {
	message := ""
	if m, err := object(body); err == nil {
		_ = json.Unmarshal(m["errorMessage"], &message)
	}
	if message == "Unauthorized" {
		return errUnauthorized
	}
	return bad("the function failed") // what it says may hold what it was given
}

// contextValues reads those that may be handed on: strings, numbers and booleans,
// as API Gateway has it. They are what a function made of what a client sent, so
// nothing in them may end a line.
func contextValues(raw json.RawMessage) (map[string]any, error) {
	values := map[string]any{}
	if len(raw) == 0 || string(raw) == "null" {
		return values, nil
	}
	m, err := object(raw)
	if err != nil {
		return nil, bad("context: %s", err)
	}
	for key, raw := range m {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, bad("context.%q: %s", key, "malformed")
		}
		switch t := v.(type) {
		case nil:
			continue
		case string:
			if !ask.Plain(t) {
				return nil, bad("context.%q: has control characters", key)
			}
		case float64:
			if i, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
				v = i
			}
		case bool:
		default:
			return nil, bad("context.%q: expected a string, a number, true or false", key)
		}
		values[key] = v
	}
	return values, nil
}

// means makes headers and an identity of the values.
func (f *Filter) means(v *verdict, values map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		if s, ok := text(values[f.Headers[name]]); ok {
			v.headers = append(v.headers, exchange.Field{Name: name, Value: s})
		}
	}
	if f.Prefix != "" {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			name := f.Prefix + "-" + key
			if key == "usageIdentifierKey" || !isName(name) || f.given(name) {
				continue // a secret, or no header's name, or said better by context_headers
			}
			if s, ok := text(values[key]); ok {
				v.headers = append(v.headers, exchange.Field{Name: name, Value: s})
			}
		}
	}
	m := &f.Identity
	if name, ok := text(values[m.Consumer]); ok {
		v.consumer = f.consumers[name]
	}
	subject, _ := text(values[m.Subject])
	if subject == "" {
		return
	}
	claims := maps.Clone(values)
	delete(claims, "usageIdentifierKey")
	claims["iss"], claims["sub"] = m.Issuer, subject
	v.identity = &exchange.Identity{Method: "lambda_authorizer", Issuer: m.Issuer, Subject: subject,
		Roles: words(values[m.Roles], ","), Scope: words(values[m.Scope], ", "), Claims: claims}
}

func (f *Filter) given(name string) bool {
	for other := range f.Headers {
		if exchange.EqualFold(other, name) {
			return true
		}
	}
	return false
}

func isName(name string) bool {
	_, err := firewall.NewSet(name)
	return err == nil && !strings.Contains(name, "*")
}

func words(v any, separators string) []string {
	s, _ := text(v)
	var out []string
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
