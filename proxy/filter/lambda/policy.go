package lambda

import (
	"encoding/json"
	"fmt"
	"strings"
)

// statement is one of an IAM policy document.
type statement struct {
	allow        bool
	actions      []string // lower case: actions have none
	resources    []string
	exceptAction bool // NotAction
	exceptARN    bool // NotResource
}

// action is what a client of an API does.
const action = "execute-api:invoke"

// parsePolicy reads a policy document. What it cannot judge is an error, never
// left out: leaving out a condition would let more pass.
func parsePolicy(raw json.RawMessage) ([]statement, error) {
	doc, err := object(raw)
	if err != nil {
		return nil, fmt.Errorf("policyDocument: %w", err)
	}
	list, err := many(doc["Statement"])
	if err != nil {
		return nil, fmt.Errorf("policyDocument.Statement: %w", err)
	}
	var out []statement
	for i, raw := range list {
		s, err := parseStatement(raw)
		if err != nil {
			return nil, fmt.Errorf("policyDocument.Statement[%d]: %w", i, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func parseStatement(raw json.RawMessage) (s statement, err error) {
	m, err := object(raw)
	if err != nil {
		return s, err
	}
	for key := range m {
		switch key {
		case "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource":
		default:
			return s, fmt.Errorf("%q is not supported", key)
		}
	}
	effect := ""
	if err := json.Unmarshal(m["Effect"], &effect); err != nil || effect != "Allow" && effect != "Deny" {
		return s, fmt.Errorf("Effect: expected Allow or Deny")
	}
	s.allow = effect == "Allow"
	if s.actions, s.exceptAction, err = either(m, "Action", "NotAction"); err != nil {
		return s, err
	}
	for i := range s.actions {
		s.actions[i] = strings.ToLower(s.actions[i])
	}
	s.resources, s.exceptARN, err = either(m, "Resource", "NotResource")
	return s, err
}

// either reads the one of two keys that is there: a string or a list of them.
func either(m map[string]json.RawMessage, yes, no string) (list []string, except bool, err error) {
	raw, has := m[yes]
	other, hasOther := m[no]
	if has == hasOther {
		return nil, false, fmt.Errorf("expected exactly one of %s and %s", yes, no)
	}
	key := yes
	if hasOther {
		raw, except, key = other, true, no
	}
	items, err := many(raw)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", key, err)
	}
	for _, item := range items {
		text := ""
		if err := json.Unmarshal(item, &text); err != nil || text == "" {
			return nil, false, fmt.Errorf("%s: expected a string or a list of strings", key)
		}
		if strings.Contains(text, "${") {
			return nil, false, fmt.Errorf("%s: policy variables are not supported", key)
		}
		list = append(list, text)
	}
	return list, except, nil
}

// object reads one with exactly spelt keys: encoding/json would take effect for
// Effect.
func object(raw json.RawMessage) (map[string]json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return nil, fmt.Errorf("expected an object")
	}
	return m, nil
}

// many reads a list, or one as a list of one.
func many(raw json.RawMessage) ([]json.RawMessage, error) {
	text := strings.TrimSpace(string(raw))
	switch {
	case text == "" || text == "null":
		return nil, fmt.Errorf("is missing")
	case text[0] != '[':
		return []json.RawMessage{raw}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("expected a list")
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("is empty")
	}
	return list, nil
}

// allows evaluates a policy: an explicit Deny wins, then an Allow, and what
// neither speaks of is denied.
func allows(policy []statement, arn string) bool {
	allowed := false
	for i := range policy {
		s := &policy[i]
		if !s.applies(arn) {
			continue
		}
		if !s.allow {
			return false
		}
		allowed = true
	}
	return allowed
}

func (s *statement) applies(arn string) bool {
	acts := false
	for _, a := range s.actions {
		acts = acts || wild(a, action)
	}
	if acts == s.exceptAction {
		return false
	}
	// In what is denied, the wider reading of a pattern counts: for Resource
	// wider is more, for NotResource less.
	wide := s.allow == s.exceptARN
	hit := false
	for _, r := range s.resources {
		hit = hit || arnMatches(r, arn) || wide && wild(r, arn)
	}
	return hit != s.exceptARN
}

// arnMatches compares part by part: a wildcard does not reach over a colon, but
// in the last part, which holds API, stage, method and path, over slashes. Parts
// that a pattern leaves out are any.
func arnMatches(pattern, arn string) bool {
	if pattern == "*" {
		return true
	}
	for range 5 {
		p, restP, more := strings.Cut(pattern, ":")
		a, restA, _ := strings.Cut(arn, ":")
		if !wild(p, a) {
			return false
		}
		if !more {
			return true
		}
		pattern, arn = restP, restA
	}
	return wild(pattern, arn)
}

// wild matches * for any characters and ? for any one.
func wild(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
