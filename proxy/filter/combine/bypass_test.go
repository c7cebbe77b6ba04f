package combine_test

import (
	"testing"
	"time"

	"lintel.dev/lintel/proxy/exchange"
)

const openJWT = `{jwt: {anonymous: allow, iss: i, audiences: a, keys: [{secret: "` + secret + `"}]}}`

func TestACredentialThatAnotherMemberTakesOffIsNotMissingButRefused(t *testing.T) {
	const other = `{jwt: {cookie: also, anonymous: allow, iss: i, audiences: a, keys: [{secret: "` + secret + `"}]}}`
	lines := func(list ...string) *exchange.Exchange {
		x := &exchange.Exchange{}
		for _, l := range list {
			x.Request.Header.Add("Authorization", l)
		}
		return x
	}
	for name, c := range map[string]struct {
		filter string
		x      *exchange.Exchange
	}{
		"two schemes at once": {"    - any_of: [" + openJWT + ", {api_key: {header: Authorization, prefix: ApiKey}}]\n",
			lines("Bearer forged", "ApiKey forged")},
		"all of places that overlap": {"    - all_of: [" + openJWT + ", " + other + "]\n", lines("Bearer " + token(t, time.Hour))},
	} {
		if got := who(made(t, c.filter), c.x); got == "nobody" || got == "jwt" {
			t.Errorf("%s: passes as %s", name, got)
		}
	}
}
