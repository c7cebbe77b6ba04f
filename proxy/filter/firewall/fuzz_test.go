package firewall

import (
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// envName is what CGI, WSGI and PHP make of a header name between them.
func envName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		if (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') {
			return r
		}
		return '_'
	}, name)
}

// FuzzNoDisguiseSurvives: whatever name comes through is not what an
// application would read as reserved, by a rule written independently of Match.
func FuzzNoDisguiseSurvives(f *testing.F) {
	for _, s := range []string{"X-User-Id", "x_user.id", "Txn-Token", "txn~token", "X-User-Agent", "Accept", "X-User\xc5\xbfid", "hop_token ",
		"Connection", "-txn-token", "X-Lintel", "remote_user", "X-Userinfo", ""} {
		f.Add(s)
	}
	fw, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		x := &exchange.Exchange{}
		x.Request.Header.Add(name, "v")
		fw.OnRequest(x)
		if exchange.EqualFold(name, "X-User-Agent") {
			return
		}
		for left := range x.Request.Header.All() {
			env := envName(left)
			for _, p := range DefaultNames() {
				start, many := strings.CutSuffix(p, "-*")
				start = envName(start)
				if env == start || many && strings.HasPrefix(env, start+"_") {
					t.Fatalf("%q came through, an application reads it as %s", left, p)
				}
			}
		}
	})
}
