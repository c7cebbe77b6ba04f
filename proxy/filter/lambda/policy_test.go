package lambda

import (
	"encoding/json"
	"strings"
	"testing"
)

const arn = "arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/orders/7"

func TestPoliciesAreEvaluatedAsAWSDoes(t *testing.T) {
	st := func(effect, action, resource string) string {
		return `{"Effect":"` + effect + `","Action":` + action + `,"Resource":` + resource + `}`
	}
	invoke := `"execute-api:Invoke"`
	for _, c := range []struct {
		name       string
		statements string
		want       bool
	}{
		{"allow this", st("Allow", invoke, `"`+arn+`"`), true},
		{"allow everything", st("Allow", `"*"`, `"*"`), true},
		{"allow every action of the service", st("Allow", `"execute-api:*"`, `"*"`), true},
		{"actions have no case", st("Allow", `"Execute-API:invoke"`, `"*"`), true},
		{"another action", st("Allow", `"execute-api:ManageConnections"`, `"*"`), false},
		{"another service", st("Allow", `"lambda:*"`, `"*"`), false},
		{"a list of actions", st("Allow", `["s3:Get*",`+invoke+`]`, `"*"`), true},
		{"one statement, no list", st("Allow", invoke, `"*"`), true},
		{"a list of resources", st("Allow", invoke, `["arn:aws:execute-api:eu-west-1:123456789012:other/*","`+arn+`"]`), true},
		{"any stage and method", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/*/*/orders/7"`), true},
		{"star reaches over slashes", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/*"`), true},
		{"question mark is one character", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/orders/?"`), true},
		{"question mark is not two", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/orders/??"`), false},
		{"another method", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/prod/POST/orders/7"`), false},
		{"another stage", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/dev/GET/orders/7"`), false},
		{"another account", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:999999999999:api/*"`), false},
		{"paths have case", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/Orders/*"`), false},
		{"any region and account", st("Allow", invoke, `"arn:aws:execute-api:*:*:api/prod/GET/*"`), true},
		{"parts left out are any", st("Allow", invoke, `"arn:aws:execute-api"`), true},
		{"a star does not reach over a colon in what is allowed", st("Allow", invoke, `"arn:*/orders/7"`), false},
		{"but does in what is denied", st("Allow", invoke, `"*"`) + `,` + st("Deny", invoke, `"arn:*/orders/*"`), false},
		{"a prefix is no match", st("Allow", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/orders"`), false},
		{"deny wins, after", st("Allow", invoke, `"*"`) + `,` + st("Deny", invoke, `"`+arn+`"`), false},
		{"deny wins, before", st("Deny", invoke, `"`+arn+`"`) + `,` + st("Allow", invoke, `"*"`), false},
		{"deny of something else", st("Deny", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/admin*"`) + `,` + st("Allow", invoke, `"*"`), true},
		{"deny alone", st("Deny", invoke, `"arn:aws:execute-api:eu-west-1:123456789012:api/prod/GET/admin"`), false},
		{"all actions but", `{"Effect":"Allow","NotAction":"s3:*","Resource":"*"}`, true},
		{"all actions but this", `{"Effect":"Allow","NotAction":"execute-api:*","Resource":"*"}`, false},
		{"all resources but", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:execute-api:*:*:api/prod/GET/admin"}`, true},
		{"all resources but this", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:execute-api:*:*:api/prod/GET/orders/*"}`, false},
		{"deny all but this", st("Allow", invoke, `"*"`) + `,{"Effect":"Deny","Action":"*","NotResource":"` + arn + `"}`, true},
		{"deny all but another", st("Allow", invoke, `"*"`) + `,{"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::b"}`, false},
	} {
		list := "[" + c.statements + "]"
		if c.name == "one statement, no list" {
			list = c.statements
		}
		p, err := parsePolicy(json.RawMessage(`{"Version":"2012-10-17","Statement":` + list + `}`))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := allows(p, arn); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if allows(nil, arn) {
		t.Error("no policy allows")
	}
}

// What is not understood is never left out.
func TestPoliciesThatCannotBeJudged(t *testing.T) {
	for text, want := range map[string]string{
		`null`: "expected an object", `[]`: "expected an object", `"x"`: "expected an object", `{}`: "Statement: is missing",
		`{"Statement":null}`: "is missing", `{"Statement":[]}`: "is empty", `{"Statement":[7]}`: "Statement[0]: expected an object",
		`{"statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`:                                  "Statement: is missing",
		`{"Statement":[{"effect":"Allow","Action":"*","Resource":"*"}]}`:                                  `"effect" is not supported`,
		`{"Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}`:                                  "expected Allow or Deny",
		`{"Statement":[{"Action":"*","Resource":"*"}]}`:                                                   "expected Allow or Deny",
		`{"Statement":[{"Effect":"Allow","Resource":"*"}]}`:                                               "exactly one of Action and NotAction",
		`{"Statement":[{"Effect":"Allow","Action":"*"}]}`:                                                 "exactly one of Resource and NotResource",
		`{"Statement":[{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}]}`:                  "exactly one of Action",
		`{"Statement":[{"Effect":"Allow","Action":7,"Resource":"*"}]}`:                                    "Action: expected a string",
		`{"Statement":[{"Effect":"Allow","Action":[],"Resource":"*"}]}`:                                   "Action: is empty",
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":[""]}]}`:                                 "Resource: expected a string",
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{}}]}`:                   `"Condition" is not supported`,
		`{"Statement":[{"Effect":"Deny","Action":"*","Resource":"arn:aws:x:::${aws:username}"}]}`:         "policy variables",
		`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Principal":{}}]}`: `Statement[1]: "Principal"`,
	} {
		if p, err := parsePolicy(json.RawMessage(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v, want %s", text, p, err, want)
		}
	}
}

func TestWildcardsAreNotSlow(t *testing.T) {
	if wild(strings.Repeat("*a", 2000)+"b", strings.Repeat("a", 5000)) {
		t.Error("it matches")
	}
}

// FuzzPolicy: whatever a function answers, an explicit Deny of everything wins,
// and nothing panics.
func FuzzPolicy(f *testing.F) {
	f.Add(`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`, arn)
	f.Add(`{"Statement":{"Effect":"Allow","NotAction":["a:*"],"NotResource":["arn:aws:*:?"]}}`, "arn:aws:execute-api:::")
	f.Add(`{"Statement":[{"Effect":"Deny","Action":"execute-api:?nvoke","Resource":["a*b*c"]}]}`, "abc")
	f.Fuzz(func(t *testing.T, text, arn string) {
		p, err := parsePolicy(json.RawMessage(text))
		if err != nil {
			return
		}
		none := allows(p, arn)
		p = append(p, statement{actions: []string{"*"}, resources: []string{"*"}})
		if allows(p, arn) {
			t.Errorf("%s allows %s against a Deny (before: %v)", text, arn, none)
		}
	})
}

// FuzzAnswer: whatever a function answers, what is made of it can be sent.
func FuzzAnswer(f *testing.F) {
	f.Add(policy("Allow", "*", `,"context":{"a":"b","n":1.5,"t":true,"z":null}`))
	f.Add(`{"isAuthorized":true,"context":{"A b":"x"}}`)
	f.Add(`{"principalId":"\r\n","policyDocument":{}}`)
	filters := []*Filter{{Config: Config{Prefix: "X-Ctx", Headers: map[string]string{"X-A": "a"}}}, {Config: Config{Simple: true, Prefix: "X-Ctx"}}}
	for _, one := range filters {
		one.defaults()
	}
	f.Fuzz(func(t *testing.T, text string) { checkAnswer(t, filters, text) })
}
