package compose

import (
	"testing"

	"lintel.dev/lintel/config"
)

// A route towards the mesh need not say what becomes of Authorization only where
// a filter takes it off.
func TestOnlyAFilterThatLooksIntoAuthorizationConsumesIt(t *testing.T) {
	for text, want := range map[string]bool{
		`jwt: {iss: i, keys: [{secret: s}]}`:                           true,
		`jwt: {iss: i, keys: [{secret: s}], header: X-Token}`:          false,
		`jwt: {iss: i, keys: [{secret: s}], header: "off", cookie: c}`: false,
		`api_key: {}`: false,
		`api_key: {header: authorization, prefix: ApiKey}`: true,
		`client_cert: {}`:                false,
		`any_of: [client_cert, api_key]`: false,
		`any_of: [client_cert, {all_of: [api_key, {jwt: {iss: i, keys: [{secret: s}]}}]}]`: true,
		`any_of: []`: false, `all_of: []`: false, `anonymous: {}`: false, `acl: {}`: false, // of which some are told of elsewhere
		`rate_limit: {requests: 1}`: false,
	} {
		s, err := config.Parse("lintel.yaml", []byte("version: 1\npolicies:\n  p:\n    - "+text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := Authenticates(s.Policies["p"]); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
