package extauthz

import (
	"net/http"
	"testing"
)

func TestCallersThatOnlyTheAuthorizerKnowsAreToldApart(t *testing.T) {
	a := newAuthorizer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Remote-User", r.Header.Get("X-Token"))
		w.Header().Set("Remote-Groups", "g")
	})
	vouched := func(c Config, token string) [32]byte {
		t.Helper()
		c.URL = a.URL
		x := request("GET", "/me", "", "X-Token", token)
		passes(t, newFilter(t, c), x)
		return x.Vouched
	}
	none := [32]byte{}
	for name, c := range map[string]Config{
		"told to the service":      {Request: []string{"X-Token"}, ToService: []string{"Remote-User", "Remote-Groups"}},
		"known to the service too": {Request: []string{"X-Token"}},
	} {
		ada, again, bob := vouched(c, "ada"), vouched(c, "ada"), vouched(c, "bob")
		if ada == none || ada != again || ada == bob {
			t.Errorf("%s: ada %x, again %x, bob %x", name, ada, again, bob)
		}
	}
	// Who has an identity is told apart by it.
	if got := vouched(Config{Request: []string{"X-Token"}, Identity: Mapping{Subject: "Remote-User"}}, "ada"); got != none {
		t.Errorf("with an identity: %x", got)
	}
	// A mere gate, as by address, leaves the answers everybody's.
	if got := vouched(Config{}, "ada"); got != none {
		t.Errorf("told nothing of the caller: %x", got)
	}
}
